//! Leases on drafting: one worker, one version of a study.
//!
//! A lease is finished by saying how it ended; one that is dropped (a panic, a stop) gives the job
//! back, with the attempt counted. When a person dropped the study meanwhile, how it ended is of
//! no account.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use super::clock::milliseconds;
use super::draft::{Artefact, Drafted, NewArtefact, NewDelivery, PreviousDraft, SpooledObject};
use super::error::Fault;
use super::job::{self, parsed};
use super::orphan::Orphan;
use super::transition::{Change, Transition};
use super::{Sender, Spool, SpoolError, durable, layout};
use super::{adopt, caption, settle};
use crate::vocabulary::{InstanceUid, Priority, StudyUid};

/// A job that ended its process so many times is given up.
pub(super) const MOST_KILLS: u32 = 2;

/// A job that one worker drafts.
#[derive(Debug)]
pub struct DraftLease {
    /// The job's number.
    pub job: i64,
    /// The study.
    pub study: StudyUid,
    /// The version of the study, from 1.
    pub version: u32,
    /// Which attempt this is, from 1.
    pub attempts: u32,
    /// Who sent the newest object.
    pub sender: Sender,
    /// The objects of this version, in the order in which they came.
    pub objects: Vec<SpooledObject>,
    /// The version drafted before, if there is one.
    pub previous: Option<PreviousDraft>,
    guard: Guard,
}

#[derive(Debug)]
struct Guard {
    spool: Spool,
    job: i64,
    /// The lease's own: another study may bear the job's number by now.
    token: i64,
    finished: bool,
}

impl Spool {
    /// The next complete job to draft; nobody else gets it until the lease ends.
    pub fn lease_draft(&self) -> Result<Option<DraftLease>, SpoolError> {
        self.give_orphans_back()?;
        self.write("lease a job", |change| {
            let Some(job) = next(change)? else { return Ok(None) };
            settle::supersede_waiting(change, job)?;
            let token = rand::random();
            seal(change, job, token)?;
            change.record(job, &Transition::new("received", "drafting"))?;
            let lease = change
                .prepare_cached(
                    "SELECT study.uid, version, attempts, study.id FROM job
                     JOIN study ON study.id = job.study WHERE job.id = ?1",
                )?
                .query_row([job], |row| {
                    let study = row.get(3)?;
                    Ok(DraftLease {
                        job,
                        study: parsed(row, 0)?,
                        version: row.get(1)?,
                        attempts: row.get(2)?,
                        sender: sender(change, job)?,
                        objects: objects(self, change, job)?,
                        previous: previous(self, change, study, row.get(1)?)?,
                        guard: Guard { spool: self.clone(), job, token, finished: false },
                    })
                })?;
            Ok(Some(lease))
        })
    }
}

/// The oldest complete job that is due and whose study nobody works on. A suspect comes first, and
/// is drafted alone: should the program end again, it is known by whom.
fn next(change: &Change<'_>) -> rusqlite::Result<Option<i64>> {
    change
        .prepare_cached(
            "SELECT id FROM job WHERE state = 'received' AND complete_at IS NOT NULL
                 AND leased = 0 AND next_attempt_at <= ?1
                 AND NOT EXISTS (SELECT 1 FROM job other
                     WHERE other.study = job.study AND other.leased = 1)
                 AND NOT EXISTS (SELECT 1 FROM job alone
                     WHERE alone.leased = 1 AND alone.suspect = 1)
                 AND CASE suspect
                     WHEN 1 THEN NOT EXISTS (SELECT 1 FROM job busy WHERE busy.leased = 1)
                     ELSE NOT EXISTS (SELECT 1 FROM job first WHERE first.suspect = 1
                         AND first.state = 'received' AND first.complete_at IS NOT NULL
                         AND first.next_attempt_at <= ?1)
                 END
             ORDER BY suspect DESC, complete_at, id LIMIT 1",
        )?
        .query_row([change.now], |row| row.get(0))
        .optional()
}

/// From its first attempt on, a job keeps the objects that it has.
fn seal(change: &Change<'_>, job: i64, token: i64) -> rusqlite::Result<()> {
    change
        .prepare_cached(
            "INSERT OR IGNORE INTO job_object (job, object)
             SELECT job.id, object.id FROM job JOIN object ON object.study = job.study
             WHERE job.id = ?1 AND job.sealed_at IS NULL AND object.latest
                 AND object.deleted_at IS NULL",
        )?
        .execute([job])?;
    change
        .prepare_cached(
            "UPDATE job SET leased = 1, lease = ?3, attempts = attempts + 1,
                 sealed_at = coalesce(sealed_at, ?2) WHERE id = ?1",
        )?
        .execute(params![job, change.now, token])?;
    Ok(())
}

pub(super) fn sender(change: &rusqlite::Connection, job: i64) -> rusqlite::Result<Sender> {
    change
        .prepare_cached(
            "SELECT calling, called, address FROM object
             WHERE study = (SELECT study FROM job WHERE id = ?1) AND NOT own
             ORDER BY received_at DESC, id DESC LIMIT 1",
        )?
        .query_row([job], |row| {
            Ok(Sender {
                calling: parsed(row, 0)?,
                called: parsed(row, 1)?,
                address: parsed(row, 2)?,
            })
        })
}

pub(super) fn object(spool: &Spool, row: &Row<'_>) -> rusqlite::Result<SpooledObject> {
    Ok(SpooledObject {
        sop_class: job::sop_class(row, 0)?,
        instance: parsed(row, 1)?,
        series: parsed(row, 2)?,
        transfer_syntax: job::transfer_syntax(row, 3)?,
        path: spool.path(&row.get::<_, String>(4)?),
        data_set_offset: row.get::<_, i64>(5)?.unsigned_abs(),
        digest: row.get(6)?,
        own_object: row.get(7)?,
    })
}

pub(super) const OBJECT: &str =
    "object.sop_class, object.instance, object.series, object.transfer_syntax, object.file,
     object.data_set_offset, object.digest, object.own";

pub(super) fn objects(
    spool: &Spool,
    connection: &rusqlite::Connection,
    job: i64,
) -> rusqlite::Result<Vec<SpooledObject>> {
    connection
        .prepare_cached(&format!(
            "SELECT {OBJECT} FROM object JOIN job_object ON job_object.object = object.id
             WHERE job_object.job = ?1 AND object.deleted_at IS NULL ORDER BY object.id"
        ))?
        .query_map([job], |row| object(spool, row))?
        .collect()
}

pub(super) fn artefacts(
    spool: &Spool,
    connection: &rusqlite::Connection,
    job: i64,
) -> rusqlite::Result<Vec<Artefact>> {
    connection
        .prepare_cached(
            "SELECT kind, sop_class, instance, series, file, data_set_offset FROM artefact
             WHERE job = ?1 ORDER BY id",
        )?
        .query_map([job], |row| {
            Ok(Artefact {
                kind: parsed(row, 0)?,
                sop_class: job::sop_class(row, 1)?,
                instance: parsed(row, 2)?,
                series: parsed(row, 3)?,
                path: spool.path(&row.get::<_, String>(4)?),
                data_set_offset: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        })?
        .collect()
}

fn previous(
    spool: &Spool,
    change: &Change<'_>,
    study: i64,
    version: u32,
) -> rusqlite::Result<Option<PreviousDraft>> {
    change
        .prepare_cached(
            "SELECT job.id, version, object.instance, object.digest, draft FROM job
             LEFT JOIN object ON object.id = job.image
             WHERE job.study = ?1 AND version < ?2 AND outcome = 'drafted'
             ORDER BY version DESC LIMIT 1",
        )?
        .query_row(params![study, version], |row| {
            let image = row.get::<_, Option<String>>(2)?;
            Ok(PreviousDraft {
                version: row.get(1)?,
                image: if image.is_some() { Some(parsed(row, 2)?) } else { None },
                image_digest: row.get(3)?,
                draft: job::json(row, 4)?,
                artefacts: artefacts(spool, change, row.get(0)?)?,
                sent: sent(change, row.get(0)?)?,
            })
        })
        .optional()
}

fn sent(change: &Change<'_>, job: i64) -> rusqlite::Result<Vec<InstanceUid>> {
    change
        .prepare_cached(
            "SELECT DISTINCT sent_instance FROM delivery
             WHERE job = ?1 AND artefact = 'report' AND sent_instance IS NOT NULL",
        )?
        .query_map([job], |row| parsed(row, 0))?
        .collect()
}

impl DraftLease {
    /// The draft is kept: files first, then, in one transaction, their rows, the deliveries, and
    /// what becomes of older versions.
    #[expect(clippy::needless_pass_by_value, reason = "the draft is handed over whole")]
    pub fn drafted(self, drafted: Drafted) -> Result<(), SpoolError> {
        let spool = self.guard.spool.clone();
        let mut files = Vec::with_capacity(drafted.artefacts.len());
        for artefact in &drafted.artefacts {
            let kind = artefact.kind.as_str();
            let file = layout::artefact(self.study.as_str(), self.version, kind, &artefact.bytes);
            let path = spool.path(&file);
            durable::write(&path, &spool.scratch(), &artefact.bytes)
                .map_err(|e| spool.file_error("keep", &path, e))?;
            files.push(file);
        }
        let kept = self.finish("keep a draft", |change, lease| {
            adopt::keep_artefacts(change, lease.job, &drafted.artefacts, &files)?;
            change.execute(
                "UPDATE job SET state = 'drafted', outcome = 'drafted', priority = ?2, text = ?3,
                     draft = ?4, seconds = ?5, drafted_at = ?6, reason = NULL, failure = NULL,
                     image = (SELECT object.id FROM object
                         JOIN job_object ON job_object.object = object.id
                         WHERE job_object.job = ?1 AND object.instance = ?7)
                 WHERE id = ?1",
                params![
                    lease.job,
                    job::rank(drafted.priority),
                    drafted.text.reveal(),
                    drafted.draft.to_string(),
                    drafted.seconds.to_string(),
                    change.now,
                    drafted.image.as_str(),
                ],
            )?;
            if let Some(caption) = &drafted.caption {
                caption::keep_drafted(change, lease.job, caption)?;
            }
            change.record(lease.job, &Transition::new("drafting", "drafted"))?;
            let from = (lease.job, &lease.study);
            settle::add_deliveries(change, from, lease.job, &drafted.deliveries)?;
            settle::supersede_older(change, lease.job)?;
            settle::settle(change, lease.job)
        })?;
        if kept { Ok(()) } else { spool.discard(&files) }
    }

    /// No draft is made of this study; its images may still go somewhere.
    pub fn skipped(
        self,
        reason: &str,
        priority: Priority,
        deliveries: &[NewDelivery],
    ) -> Result<(), SpoolError> {
        self.finish("skip a job", |change, lease| {
            skip(change, lease, reason, priority, deliveries)
        })?;
        Ok(())
    }

    /// What came since the version before changes nothing in its draft: this version is closed,
    /// and the deliveries of images are added to the version before.
    pub fn unchanged(self, deliveries: &[NewDelivery]) -> Result<(), SpoolError> {
        self.finish("merge a job", |change, lease| {
            let Some(previous) = &lease.previous else {
                let routine = Priority::Routine;
                return skip(change, lease, "nothing to draft from", routine, deliveries);
            };
            let target: i64 = change.query_row(
                "SELECT id FROM job WHERE version = ?2
                     AND study = (SELECT study FROM job WHERE id = ?1)",
                params![lease.job, previous.version],
                |row| row.get(0),
            )?;
            change.execute(
                "UPDATE job SET state = 'merged', outcome = NULL WHERE id = ?1",
                [lease.job],
            )?;
            change.record(lease.job, &Transition::new("drafting", "merged"))?;
            settle::add_deliveries(change, (lease.job, &lease.study), target, deliveries)?;
            settle::settle(change, target)
        })?;
        Ok(())
    }

    /// This attempt failed: again after a while, or given up when it was the last one.
    pub fn retry(self, after: Duration, reason: &str) -> Result<(), SpoolError> {
        if self.attempts >= self.guard.spool.settings().max_attempts {
            let reason = format!("given up after {} attempts: {reason}", self.attempts);
            return self.dead(&reason);
        }
        self.finish("put a job off", |change, lease| {
            change.execute(
                "UPDATE job SET next_attempt_at = ?2, reason = ?3 WHERE id = ?1",
                params![lease.job, change.now.saturating_add(milliseconds(after)), reason],
            )?;
            let step = Transition::new("drafting", "received").because(reason);
            Ok(change.record(lease.job, &step)?)
        })?;
        Ok(())
    }

    /// Drafting it ended a process of the node: again after a while, or given up when it did so
    /// before.
    pub fn killed(self, after: Duration, reason: &str) -> Result<(), SpoolError> {
        if self.attempts >= self.guard.spool.settings().max_attempts {
            return self.retry(after, reason);
        }
        self.finish("count a killed process", |change, lease| {
            let kills = change.query_row(
                "UPDATE job SET kills = kills + 1, next_attempt_at = ?2, reason = ?3
                 WHERE id = ?1 RETURNING kills",
                params![lease.job, change.now.saturating_add(milliseconds(after)), reason],
                |row| row.get::<_, u32>(0),
            )?;
            if kills >= MOST_KILLS {
                let reason = format!("given up, since this happened {kills} times: {reason}");
                return Ok(dead(change, lease.job, &reason)?);
            }
            let step = Transition::new("drafting", "received").because(reason);
            Ok(change.record(lease.job, &step)?)
        })?;
        Ok(())
    }

    /// Given up; only `queue retry` tries again.
    pub fn dead(self, reason: &str) -> Result<(), SpoolError> {
        self.finish("give a job up", |change, lease| Ok(dead(change, lease.job, reason)?))?;
        Ok(())
    }

    /// Ends the lease; false when the job is gone.
    fn finish(
        mut self,
        what: &'static str,
        work: impl FnOnce(&Change<'_>, &Self) -> Result<(), Fault>,
    ) -> Result<bool, SpoolError> {
        let spool = self.guard.spool.clone();
        let kept = spool.write(what, |change| {
            let released = change.execute(
                "UPDATE job SET leased = 0 WHERE id = ?1 AND leased = 1 AND lease = ?2",
                params![self.job, self.guard.token],
            )?;
            if released == 0 {
                tracing::info!(job = self.job, "the job was dropped while it was drafted");
                return Ok(false);
            }
            work(change, &self)?;
            Ok(true)
        })?;
        self.guard.finished = true;
        Ok(kept)
    }
}

fn skip(
    change: &Change<'_>,
    lease: &DraftLease,
    reason: &str,
    priority: Priority,
    deliveries: &[NewDelivery],
) -> Result<(), Fault> {
    change.execute(
        "UPDATE job SET state = 'skipped', outcome = 'skipped', reason = ?2, drafted_at = ?3,
             priority = ?4 WHERE id = ?1",
        params![lease.job, reason, change.now, job::rank(priority)],
    )?;
    change.record(lease.job, &Transition::new("drafting", "skipped").because(reason))?;
    settle::add_deliveries(change, (lease.job, &lease.study), lease.job, deliveries)?;
    settle::settle(change, lease.job)
}

/// Marks a job as given up in drafting; its images still go where images go.
pub(super) fn dead(change: &Change<'_>, job: i64, reason: &str) -> rusqlite::Result<()> {
    change.execute(
        "UPDATE job SET state = 'failed', reason = ?2, leased = 0, unforwarded = 1 WHERE id = ?1",
        params![job, reason],
    )?;
    change.record(job, &Transition::new("drafting", "failed").because(reason))
}

pub(super) fn insert_artefact(
    change: &Change<'_>,
    job: i64,
    artefact: &NewArtefact,
    file: &str,
) -> rusqlite::Result<()> {
    change.execute(
        "INSERT INTO artefact (job, kind, sop_class, instance, series, file, data_set_offset)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            job,
            artefact.kind.as_str(),
            artefact.sop_class.uid(),
            artefact.instance.as_str(),
            artefact.series.as_str(),
            file,
            i64::try_from(artefact.data_set_offset).unwrap_or(i64::MAX),
        ],
    )?;
    Ok(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.spool.orphaned(Orphan::Draft { job: self.job, token: self.token });
    }
}
