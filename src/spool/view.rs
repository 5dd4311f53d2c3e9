//! The jobs as people and scripts see them: rows of `queue list --json` and of the web page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Serialize, Serializer};

use super::caption::{self, Caption};
use super::clock::timestamp;
use super::draft::{Artefact, SpooledObject};
use super::job::{self, parsed};
use super::lease;
use super::{DeliveryState, JobState, Spool, SpoolError};
use crate::vocabulary::{InstanceUid, PatientText, Priority, StudyUid};

/// A row of `queue list --json`.
#[derive(Debug, Clone, Serialize)]
pub struct JobView {
    /// The study.
    #[serde(serialize_with = "display")]
    pub study: StudyUid,
    /// Where the job stands.
    pub state: JobState,
    /// The version of the study, from 1.
    pub version: u32,
    /// How soon it should be read.
    #[serde(serialize_with = "display")]
    pub priority: Priority,
    /// How often drafting was begun.
    pub attempts: u32,
    /// Why it is skipped, failed, or put off.
    pub reason: Option<String>,
    /// What goes where.
    pub deliveries: Vec<DeliveryView>,
    /// When its first object came.
    #[serde(serialize_with = "display")]
    pub received_at: Timestamp,
    /// When it was drafted or skipped.
    #[serde(serialize_with = "display_option")]
    pub drafted_at: Option<Timestamp>,
    /// The person who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signature>,
}

/// Who signed a report, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// The person, for people to read.
    pub by: String,
    /// When.
    #[serde(serialize_with = "display")]
    pub at: Timestamp,
}

/// A version in the history of a study.
#[derive(Debug, Clone)]
pub struct VersionView {
    /// The version, from 1.
    pub version: u32,
    /// Where it stands.
    pub state: JobState,
    /// When it was drafted, signed or skipped.
    pub at: Option<Timestamp>,
    /// The person who signed it.
    pub signed: Option<Signature>,
    /// Its text.
    pub text: Option<PatientText>,
}

/// A delivery in a row.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryView {
    /// The destination's name.
    pub destination: String,
    /// `report`, `capture`, `key_object`, or the SOP Instance UID of an image.
    pub object: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it failed, or is put off.
    pub reason: Option<String>,
    /// When it was acknowledged.
    #[serde(serialize_with = "display_option")]
    pub sent_at: Option<Timestamp>,
}

/// A step in the history of a study.
#[derive(Debug, Clone, Serialize)]
pub struct EventView {
    /// When.
    #[serde(serialize_with = "display")]
    pub at: Timestamp,
    /// The version of the study.
    pub version: Option<u32>,
    /// The state before, or empty.
    pub from: String,
    /// The state after.
    pub to: String,
    /// The destination, the reason.
    pub note: Option<String>,
}

/// All about the newest version of a study.
#[derive(Debug, Clone, Serialize)]
pub struct JobDetail {
    /// The row.
    #[serde(flatten)]
    pub row: JobView,
    /// The drafted text.
    #[serde(serialize_with = "text")]
    pub text: Option<PatientText>,
    /// The image that it was drafted from.
    #[serde(serialize_with = "display_option")]
    pub image: Option<InstanceUid>,
    /// What the drafting stage kept.
    pub draft: serde_json::Value,
    /// How long each step of drafting took.
    pub seconds: serde_json::Value,
    /// Every step of every version, the oldest first.
    pub events: Vec<EventView>,
    /// The objects of the study that are still there.
    #[serde(skip)]
    pub objects: Vec<SpooledObject>,
    /// The files of the draft.
    #[serde(skip)]
    pub artefacts: Vec<Artefact>,
    /// The objects of this version that are still there.
    #[serde(skip)]
    pub images: Vec<SpooledObject>,
    /// Who and what it is.
    #[serde(skip)]
    pub caption: Caption,
    /// The version that a signed report of it would be.
    #[serde(skip)]
    pub next_version: u32,
}

fn display<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn display_option<S: Serializer>(
    value: &Option<impl ToString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn text<S: Serializer>(value: &Option<PatientText>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(PatientText::reveal).serialize(serializer)
}

pub(super) const ROW: &str =
    "SELECT job.id, study.uid, job.state, job.version, job.priority, job.attempts,
        coalesce(job.failure, job.reason), job.first_at, job.drafted_at, job.signer, job.signed_at
    FROM job JOIN study ON study.id = job.study";

pub(super) fn row(
    transaction: &Transaction<'_>,
    row: &Row<'_>,
) -> rusqlite::Result<(i64, JobView)> {
    let job = row.get(0)?;
    let view = JobView {
        study: parsed(row, 1)?,
        state: parsed(row, 2)?,
        version: row.get(3)?,
        priority: job::priority(row, 4)?,
        attempts: row.get(5)?,
        reason: row.get(6)?,
        deliveries: deliveries(transaction, job)?,
        received_at: timestamp(row.get(7)?),
        drafted_at: row.get::<_, Option<i64>>(8)?.map(timestamp),
        signed: signature(row, 9)?,
    };
    Ok((job, view))
}

/// The signature in two columns, the first at `at`.
fn signature(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Signature>> {
    let (by, when) = (row.get::<_, Option<String>>(at)?, row.get::<_, Option<i64>>(at + 1)?);
    Ok(by.zip(when).map(|(by, when)| Signature { by, at: timestamp(when) }))
}

fn deliveries(transaction: &Transaction<'_>, job: i64) -> rusqlite::Result<Vec<DeliveryView>> {
    transaction
        .prepare_cached(
            "SELECT destination, coalesce(object.instance, artefact), state, attempts, reason, sent_at
             FROM delivery LEFT JOIN object ON object.id = delivery.object
             WHERE job = ?1 ORDER BY delivery.id",
        )?
        .query_map([job], |row| {
            Ok(DeliveryView {
                destination: row.get(0)?,
                object: row.get(1)?,
                state: parsed(row, 2)?,
                attempts: row.get(3)?,
                reason: row.get(4)?,
                sent_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
            })
        })?
        .collect()
}

impl Spool {
    /// The newest version of a study, with its text and the study's history.
    pub fn job(&self, study: &StudyUid) -> Result<Option<JobDetail>, SpoolError> {
        self.read("show a study", |transaction| {
            let newest = transaction
                .prepare_cached(&format!(
                    "{ROW} WHERE study.uid = ?1 AND job.state != 'merged'
                     ORDER BY job.version DESC LIMIT 1"
                ))?
                .query_row([study.as_str()], |found| row(transaction, found))
                .optional()?;
            let Some((id, view)) = newest else { return Ok(None) };
            let detail = transaction.query_row(
                &format!(
                    "SELECT text, object.instance, draft, seconds, study.versions + 1, {}
                     FROM job JOIN study ON study.id = job.study
                     LEFT JOIN object ON object.id = job.image
                     LEFT JOIN caption ON caption.study = job.study WHERE job.id = ?1",
                    caption::COLUMNS
                ),
                [id],
                |found| {
                    let image = found.get::<_, Option<String>>(1)?;
                    Ok(JobDetail {
                        row: view,
                        text: found.get::<_, Option<String>>(0)?.map(PatientText::new),
                        image: if image.is_some() { Some(parsed(found, 1)?) } else { None },
                        draft: job::json(found, 2)?,
                        seconds: job::json(found, 3)?,
                        events: events(transaction, study)?,
                        objects: objects(self, transaction, study)?,
                        artefacts: lease::artefacts(self, transaction, id)?,
                        images: lease::objects(self, transaction, id)?,
                        next_version: found.get(4)?,
                        caption: caption::of(found, 5)?,
                    })
                },
            )?;
            Ok(Some(detail))
        })
    }

    /// Every version of a study but those that changed nothing, the newest first.
    pub fn versions(&self, study: &StudyUid) -> Result<Vec<VersionView>, SpoolError> {
        self.read("list versions", |transaction| {
            transaction
                .prepare_cached(
                    "SELECT version, state, drafted_at, signer, signed_at, text FROM job
                     JOIN study ON study.id = job.study
                     WHERE study.uid = ?1 AND state != 'merged' ORDER BY version DESC",
                )?
                .query_map([study.as_str()], |row| {
                    Ok(VersionView {
                        version: row.get(0)?,
                        state: parsed(row, 1)?,
                        at: row.get::<_, Option<i64>>(2)?.map(timestamp),
                        signed: signature(row, 3)?,
                        text: row.get::<_, Option<String>>(5)?.map(PatientText::new),
                    })
                })?
                .collect()
        })
    }

    /// The files of one version of a study.
    pub fn artefacts(&self, study: &StudyUid, version: u32) -> Result<Vec<Artefact>, SpoolError> {
        self.read("find files", |transaction| {
            let job: Option<i64> = transaction
                .prepare_cached(
                    "SELECT job.id FROM job JOIN study ON study.id = job.study
                     WHERE study.uid = ?1 AND version = ?2",
                )?
                .query_row(params![study.as_str(), version], |row| row.get(0))
                .optional()?;
            job.map_or(Ok(Vec::new()), |job| lease::artefacts(self, transaction, job))
        })
    }

    /// How many jobs are in each state, those with none included.
    pub fn counts(&self) -> Result<BTreeMap<JobState, u64>, SpoolError> {
        self.read("count jobs", |transaction| {
            let mut counts: BTreeMap<_, _> = JobState::ALL.iter().map(|s| (*s, 0)).collect();
            let mut query =
                transaction.prepare_cached("SELECT state, count(*) FROM job GROUP BY state")?;
            let found = query.query_map([], |row| {
                Ok((parsed::<JobState>(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            for entry in found {
                let (state, count) = entry?;
                counts.insert(state, count);
            }
            Ok(counts)
        })
    }
}

fn events(transaction: &Transaction<'_>, study: &StudyUid) -> rusqlite::Result<Vec<EventView>> {
    transaction
        .prepare_cached(
            "SELECT at, version, before, after, note FROM event
             JOIN study ON study.id = event.study WHERE study.uid = ?1 ORDER BY event.id",
        )?
        .query_map([study.as_str()], |row| {
            Ok(EventView {
                at: timestamp(row.get(0)?),
                version: row.get(1)?,
                from: row.get(2)?,
                to: row.get(3)?,
                note: row.get(4)?,
            })
        })?
        .collect()
}

fn objects(
    spool: &Spool,
    transaction: &Transaction<'_>,
    study: &StudyUid,
) -> rusqlite::Result<Vec<SpooledObject>> {
    transaction
        .prepare_cached(&format!(
            "SELECT {} FROM object JOIN study ON study.id = object.study
             WHERE study.uid = ?1 AND latest AND deleted_at IS NULL ORDER BY object.id",
            lease::OBJECT
        ))?
        .query_map([study.as_str()], |row| lease::object(spool, row))?
        .collect()
}
