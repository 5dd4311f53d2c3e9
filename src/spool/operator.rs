//! What a person does to a study: `queue retry`, `queue drop`.

use rusqlite::{OptionalExtension, params};

use super::error::Fault;
use super::retention::doom_objects;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, settle};
use crate::vocabulary::StudyUid;

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retried {
    /// Jobs that are drafted anew.
    pub jobs: usize,
    /// Deliveries that are made anew, or at once instead of later.
    pub deliveries: usize,
}

impl Spool {
    /// Tries again, at once and with all attempts, what failed, waits for another attempt, or was
    /// skipped, as long as the objects are there.
    pub fn retry_study(&self, study: &StudyUid) -> Result<Retried, SpoolError> {
        self.write("retry a study", |change| {
            let study = find(change, study)?;
            let jobs: Vec<(i64, String)> = change
                .prepare(
                    "SELECT id, state FROM job WHERE study = ?1 AND leased = 0
                         AND sealed_at IS NOT NULL AND (state = 'received'
                             OR state = 'failed' AND outcome IS NULL
                             OR outcome = 'skipped' AND version =
                                 (SELECT max(version) FROM job WHERE study = ?1))
                         AND EXISTS (SELECT 1 FROM job_object
                             JOIN object ON object.id = job_object.object
                             WHERE job_object.job = job.id AND object.deleted_at IS NULL)",
                )?
                .query_map([study], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (job, state) in &jobs {
                change.execute(
                    "UPDATE job SET state = 'received', outcome = NULL, attempts = 0, reason = NULL,
                         failure = NULL, suspect = 0, kills = 0, unforwarded = 0, next_attempt_at = ?2
                     WHERE id = ?1",
                    params![job, change.now],
                )?;
                change.record(*job, &Transition::new(state, "received").because("retry"))?;
            }
            Ok(Retried { jobs: jobs.len(), deliveries: retry_deliveries(change, study)? })
        })
    }

    /// Forgets a study: jobs, deliveries, objects and files. Its version count stays, so that a
    /// study that comes again is a later version.
    pub fn drop_study(&self, study: &StudyUid) -> Result<(), SpoolError> {
        self.write("drop a study", |change| {
            let id = find(change, study)?;
            doom_objects(change, id)?;
            change.execute(
                "INSERT OR IGNORE INTO doomed (file) SELECT file FROM artefact
                 JOIN job ON job.id = artefact.job WHERE job.study = ?1",
                [id],
            )?;
            change.execute("DELETE FROM job WHERE study = ?1", [id])?;
            change.execute("DELETE FROM object WHERE study = ?1", [id])?;
            change.execute("DELETE FROM event WHERE study = ?1", [id])?;
            change.execute("DELETE FROM caption WHERE study = ?1", [id])?;
            tracing::info!(study = study.as_str(), "a study was dropped");
            Ok(())
        })?;
        self.unlink_doomed()
    }
}

fn find(change: &Change<'_>, study: &StudyUid) -> Result<i64, Fault> {
    let found: Option<i64> = change
        .query_row(
            "SELECT id FROM study WHERE uid = ?1
                 AND EXISTS (SELECT 1 FROM job WHERE job.study = study.id)",
            [study.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.ok_or_else(|| SpoolError::UnknownStudy(study.clone()))?)
}

fn retry_deliveries(change: &Change<'_>, study: i64) -> Result<usize, Fault> {
    let deliveries: Vec<(i64, i64, String, String)> = change
        .prepare(
            "SELECT delivery.id, job.id, delivery.destination, delivery.state FROM delivery
             JOIN job ON job.id = delivery.job
             WHERE job.study = ?1 AND delivery.leased = 0
                 AND (delivery.state = 'failed'
                     OR delivery.state = 'waiting' AND delivery.next_attempt_at > ?2)",
        )?
        .query_map(params![study, change.now], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    for (delivery, job, destination, state) in &deliveries {
        change.execute(
            "UPDATE delivery SET state = 'waiting', attempts = 0, reason = NULL,
                 unreachable = 0, commit_attempts = 0, next_attempt_at = ?2 WHERE id = ?1",
            params![delivery, change.now],
        )?;
        let step = Transition::new(state, "waiting").to(destination).because("retry");
        change.record(*job, &step)?;
        settle::settle(change, *job)?;
    }
    // What waits for a commitment is asked for at once.
    let asked = change.execute(
        "UPDATE delivery SET commit_attempts = 0, commit_at = ?2 WHERE state = 'sent'
             AND commitment = 1 AND job IN (SELECT id FROM job WHERE study = ?1)",
        params![study, change.now],
    )?;
    Ok(deliveries.len() + asked)
}
