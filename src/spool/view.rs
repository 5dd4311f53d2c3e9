//! The jobs as people and scripts see them: rows of `queue list --json` and of the web page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params_from_iter};
use serde::{Serialize, Serializer};

use super::clock::timestamp;
use super::draft::{Artefact, SpooledObject};
use super::job::{self, parsed};
use super::lease;
use super::{DeliveryState, JobState, Spool, SpoolError};
use crate::vocabulary::{InstanceUid, PatientText, Priority, StudyUid};

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only these.
    pub state: Option<JobState>,
    /// Only these.
    pub priority: Option<Priority>,
    /// Only those whose study UID, sender or draft holds this text.
    pub q: Option<String>,
    /// No more than these.
    pub limit: Option<usize>,
}

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

const ROW: &str = "SELECT job.id, study.uid, job.state, job.version, job.priority, job.attempts,
        coalesce(job.failure, job.reason), job.first_at, job.drafted_at
    FROM job JOIN study ON study.id = job.study";

fn row(transaction: &Transaction<'_>, row: &Row<'_>) -> rusqlite::Result<(i64, JobView)> {
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
    };
    Ok((job, view))
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
    /// The jobs, the newest first.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, SpoolError> {
        let mut wanted = vec!["job.state != 'merged'".to_owned()];
        let mut values: Vec<String> = Vec::new();
        if let Some(state) = filter.state {
            values.push(state.to_string());
            wanted.push(format!("job.state = ?{}", values.len()));
        }
        if let Some(priority) = filter.priority {
            wanted.push(format!("job.priority = {}", job::rank(priority)));
        }
        if let Some(q) = &filter.q {
            values.push(q.clone());
            let n = values.len();
            wanted.push(format!(
                "(instr(study.uid, ?{n}) OR instr(lower(coalesce(job.draft, '')), lower(?{n}))
                    OR EXISTS (SELECT 1 FROM object WHERE object.study = study.id
                        AND instr(lower(object.calling), lower(?{n}))))"
            ));
        }
        let limit = filter.limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1);
        let query =
            format!("{ROW} WHERE {} ORDER BY job.id DESC LIMIT {limit}", wanted.join(" AND "));
        self.read("list jobs", |transaction| {
            let rows = transaction
                .prepare_cached(&query)?
                .query_map(params_from_iter(values), |found| row(transaction, found))?
                .map(|found| found.map(|(_, view)| view))
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
    }

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
                "SELECT text, object.instance, draft, seconds FROM job
                 LEFT JOIN object ON object.id = job.image WHERE job.id = ?1",
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
                    })
                },
            )?;
            Ok(Some(detail))
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
