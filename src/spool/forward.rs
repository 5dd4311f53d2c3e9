//! What is to be sent of a job that gets no draft: known when its drafting is given up, also by a
//! start, which knows no destinations. So it is noted, and done by the drafting stage.

use rusqlite::{OptionalExtension, params};

use super::draft::SpooledObject;
use super::job::parsed;
use super::{NewDelivery, Sender, Spool, SpoolError, lease, settle};
use crate::vocabulary::StudyUid;

/// A job whose deliveries are still to be added.
#[derive(Debug, Clone)]
pub struct Unforwarded {
    /// The study.
    pub study: StudyUid,
    /// The version of the study, from 1.
    pub version: u32,
    /// Whether it is a signed report; else a job that was given up.
    pub signed: bool,
    /// Why it was given up.
    pub reason: String,
    /// Who sent the newest object.
    pub sender: Sender,
    /// Its objects that are still there.
    pub objects: Vec<SpooledObject>,
    job: i64,
}

impl Spool {
    /// One such job, the oldest.
    pub fn unforwarded(&self) -> Result<Option<Unforwarded>, SpoolError> {
        self.read("look for what goes without a draft", |transaction| {
            let found: Option<(i64, StudyUid, u32, bool, Option<String>)> = transaction
                .prepare_cached(
                    "SELECT job.id, study.uid, version, signed_at IS NOT NULL, reason FROM job
                     JOIN study ON study.id = job.study
                     WHERE unforwarded = 1 AND EXISTS (SELECT 1 FROM job_object
                         JOIN object ON object.id = job_object.object
                         WHERE job_object.job = job.id AND NOT own AND deleted_at IS NULL)
                     ORDER BY job.id LIMIT 1",
                )?
                .query_row([], |row| {
                    Ok((row.get(0)?, parsed(row, 1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()?;
            let Some((job, study, version, signed, reason)) = found else { return Ok(None) };
            Ok(Some(Unforwarded {
                study,
                version,
                signed,
                reason: reason.unwrap_or_default(),
                sender: lease::sender(transaction, job)?,
                objects: lease::objects(self, transaction, job)?,
                job,
            }))
        })
    }

    /// Adds its deliveries, unless somebody else did, or it is another job by now.
    pub fn forward(&self, job: &Unforwarded, deliveries: &[NewDelivery]) -> Result<(), SpoolError> {
        self.write("send on what has no draft", |change| {
            let noted = change.execute(
                "UPDATE job SET unforwarded = 0 WHERE id = ?1 AND unforwarded = 1
                     AND version = ?2 AND study = (SELECT id FROM study WHERE uid = ?3)",
                params![job.job, job.version, job.study.as_str()],
            )?;
            if noted == 0 {
                return Ok(());
            }
            settle::add_deliveries(change, (job.job, &job.study), job.job, deliveries)?;
            settle::settle(change, job.job)
        })
    }
}
