//! Leases on deliveries: one object, or one report, to one destination.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::clock::milliseconds;
use super::error::Fault;
use super::job::{self, ArtefactKind, parsed};
use super::orphan::Orphan;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, lease, settle};
use crate::vocabulary::{InstanceUid, Priority, SopClass, StudyUid, TransferSyntax};

/// A file as C-STORE needs it.
#[derive(Debug, Clone)]
pub struct SendableFile {
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// The Part 10 file.
    pub path: PathBuf,
    /// Where the data set starts in the file, in bytes.
    pub data_set_offset: u64,
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub enum DeliveryObject {
    /// The report in each SR class that was built, in that order: one of them goes.
    Report(Vec<SendableFile>),
    /// An image.
    Image(SendableFile),
    /// Another file that drafting made.
    Made(SendableFile),
}

/// A delivery that one worker makes.
#[derive(Debug)]
pub struct DeliveryLease {
    /// The job's number.
    pub job: i64,
    /// The study.
    pub study: StudyUid,
    /// Which attempt this is, from 1.
    pub attempts: u32,
    /// The study's priority.
    pub priority: Priority,
    /// What is to be sent.
    pub object: DeliveryObject,
    guard: Guard,
}

#[derive(Debug)]
struct Guard {
    spool: Spool,
    delivery: i64,
    job: i64,
    destination: String,
    /// The lease's own: another delivery may bear the number by now.
    token: i64,
    finished: bool,
}

impl Spool {
    /// The most urgent delivery that is due for a destination: by priority, then by age, images
    /// before the report that refers to them.
    pub fn lease_delivery(&self, destination: &str) -> Result<Option<DeliveryLease>, SpoolError> {
        self.give_orphans_back()?;
        self.write("lease a delivery", |change| {
            let due: Option<(i64, i64, Option<i64>, Option<String>)> = change
                .prepare_cached(
                    "SELECT delivery.id, job.id, delivery.object, artefact FROM delivery
                     JOIN job ON job.id = delivery.job
                     WHERE destination = ?1 AND delivery.state = 'waiting'
                         AND delivery.leased = 0 AND delivery.next_attempt_at <= ?2
                     ORDER BY job.priority DESC, job.id, delivery.object IS NULL, delivery.id
                     LIMIT 1",
                )?
                .query_row(params![destination, change.now], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((delivery, job, object, artefact)) = due else { return Ok(None) };
            let token: i64 = rand::random();
            change.execute(
                "UPDATE delivery SET leased = 1, lease = ?2, attempts = attempts + 1
                 WHERE id = ?1",
                [delivery, token],
            )?;
            change.record(job, &Transition::new("waiting", "sending").to(destination))?;
            let object = match (object, artefact.as_deref()) {
                (Some(object), _) => DeliveryObject::Image(image(self, change, object)?),
                (None, None | Some("report")) => {
                    DeliveryObject::Report(made(self, change, job, ArtefactKind::Report)?)
                }
                (None, Some(kind)) => {
                    let kind = kind.parse().map_err(|why| job::wrong(3, why))?;
                    let file = made(self, change, job, kind)?.into_iter().next();
                    DeliveryObject::Made(file.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
                }
            };
            let lease = change.query_row(
                "SELECT study.uid, delivery.attempts, priority FROM delivery
                 JOIN job ON job.id = delivery.job JOIN study ON study.id = job.study
                 WHERE delivery.id = ?1",
                [delivery],
                |row| {
                    Ok(DeliveryLease {
                        job,
                        study: parsed(row, 0)?,
                        attempts: row.get(1)?,
                        priority: job::priority(row, 2)?,
                        object,
                        guard: Guard {
                            spool: self.clone(),
                            delivery,
                            job,
                            destination: destination.to_owned(),
                            token,
                            finished: false,
                        },
                    })
                },
            )?;
            Ok(Some(lease))
        })
    }

    /// The destinations that deliveries of a study wait for, and how many each.
    pub fn waiting_destinations(&self, study: &StudyUid) -> Result<Vec<(String, u64)>, SpoolError> {
        self.read("count deliveries", |transaction| {
            waiting(
                transaction,
                "JOIN job ON job.id = delivery.job JOIN study ON study.id = job.study
                 WHERE study.uid = ?1 AND",
                [study.as_str()],
            )
        })
    }

    /// Only these destinations are configured: what waits for any other says so instead of what
    /// became of its last attempt, and is due should that one be configured again. The others, and
    /// how many deliveries wait for each; they would wait for ever.
    pub fn unclaimed_deliveries(
        &self,
        configured: &[String],
    ) -> Result<Vec<(String, u64)>, SpoolError> {
        self.write("note unclaimed deliveries", |change| {
            let mut unclaimed = waiting(change, "WHERE", [])?;
            unclaimed.retain(|(destination, _)| !configured.contains(destination));
            for (destination, _) in &unclaimed {
                change
                    .prepare_cached(
                        "UPDATE delivery SET reason = ?2, unreachable = 0,
                             next_attempt_at = min(next_attempt_at, ?3)
                         WHERE destination = ?1 AND state = 'waiting' AND leased = 0
                             AND reason IS NOT ?2",
                    )?
                    .execute(params![destination, NOT_CONFIGURED, change.now])?;
            }
            Ok(unclaimed)
        })
    }
}

/// Why a delivery waits that nobody makes.
const NOT_CONFIGURED: &str = "the destination is not configured";

/// The destinations that such deliveries wait for, and how many each.
fn waiting(
    connection: &Connection,
    which: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<(String, u64)>> {
    connection
        .prepare_cached(&format!(
            "SELECT destination, count(*) FROM delivery {which} delivery.state = 'waiting'
             GROUP BY destination ORDER BY destination"
        ))?
        .query_map(values, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
        .collect()
}

/// The files of one kind that drafting made.
fn made(
    spool: &Spool,
    change: &Change<'_>,
    job: i64,
    kind: ArtefactKind,
) -> rusqlite::Result<Vec<SendableFile>> {
    let artefacts = lease::artefacts(spool, change, job)?;
    Ok(artefacts
        .into_iter()
        .filter(|artefact| artefact.kind == kind)
        .map(|artefact| SendableFile {
            sop_class: artefact.sop_class,
            instance: artefact.instance,
            transfer_syntax: TransferSyntax::ExplicitLittle,
            path: artefact.path,
            data_set_offset: artefact.data_set_offset,
        })
        .collect())
}

fn image(spool: &Spool, change: &Change<'_>, object: i64) -> rusqlite::Result<SendableFile> {
    let object = change.query_row(
        &format!("SELECT {} FROM object WHERE id = ?1", lease::OBJECT),
        [object],
        |row| lease::object(spool, row),
    )?;
    Ok(SendableFile {
        sop_class: object.sop_class,
        instance: object.instance,
        transfer_syntax: object.transfer_syntax,
        path: object.path,
        data_set_offset: object.data_set_offset,
    })
}

impl DeliveryLease {
    /// The destination acknowledged the object (of a report: the one of its files that it took).
    pub fn sent(self, instance: &InstanceUid) -> Result<(), SpoolError> {
        self.sent_with(instance, None, None)
    }

    /// The same, with what the destination remarked; with a class, the destination is to commit to
    /// keep the object.
    pub fn sent_with(
        self,
        instance: &InstanceUid,
        remark: Option<&str>,
        commit: Option<SopClass>,
    ) -> Result<(), SpoolError> {
        self.finish("note a delivery", |change, lease| {
            change.execute(
                "UPDATE delivery SET state = 'sent', reason = ?6, sent_instance = ?2,
                     sent_at = ?3, commitment = ?4, sent_class = ?5, commit_at = ?3 WHERE id = ?1",
                params![
                    lease.guard.delivery,
                    instance.as_str(),
                    change.now,
                    commit.is_some(),
                    commit.map(SopClass::uid),
                    remark,
                ],
            )?;
            // The destination is back: what waited for that is due, the most urgent first.
            change.execute(
                "UPDATE delivery SET next_attempt_at = ?2, unreachable = 0
                 WHERE destination = ?1 AND state = 'waiting' AND unreachable = 1",
                params![lease.guard.destination, change.now],
            )?;
            let step = Transition::new("sending", "sent").to(&lease.guard.destination);
            Ok(change.record(lease.job, &step)?)
        })
    }

    /// The destination cannot be reached: the attempt counts for everything that was due there, and
    /// all of it waits for the same moment, so that the most urgent is first when the destination
    /// is back. What had its last attempt is given up.
    pub fn unreachable(self, after: Duration, reason: &str) -> Result<(), SpoolError> {
        let most = self.guard.spool.settings().max_attempts;
        self.finish("put a destination off", |change, lease| {
            let at = change.now.saturating_add(milliseconds(after));
            let destination = &lease.guard.destination;
            let given_up = format!("given up after {} attempts: {reason}", lease.attempts);
            let (state, why) = if lease.attempts >= most {
                ("failed", given_up.as_str())
            } else {
                ("waiting", reason)
            };
            lease.unsent(change, state, at, why)?;
            change.execute(
                "UPDATE delivery SET attempts = attempts + 1, reason = ?2
                 WHERE destination = ?1 AND state = 'waiting' AND leased = 0 AND id != ?3
                     AND next_attempt_at <= ?4",
                params![destination, reason, lease.guard.delivery, change.now],
            )?;
            change.execute(
                "UPDATE delivery SET next_attempt_at = ?2, unreachable = 1
                 WHERE destination = ?1 AND state = 'waiting' AND leased = 0
                     AND (id = ?3 OR next_attempt_at <= ?4)",
                params![destination, at, lease.guard.delivery, change.now],
            )?;
            give_up(change, destination, most, reason)
        })
    }

    /// This attempt failed: again after a while, or given up when it was the last one.
    pub fn retry(self, after: Duration, reason: &str) -> Result<(), SpoolError> {
        if self.attempts >= self.guard.spool.settings().max_attempts {
            let reason = format!("given up after {} attempts: {reason}", self.attempts);
            return self.dead(&reason);
        }
        self.finish("put a delivery off", |change, lease| {
            let at = change.now.saturating_add(milliseconds(after));
            lease.unsent(change, "waiting", at, reason)
        })
    }

    /// Given up; only `queue retry` tries again.
    pub fn dead(self, reason: &str) -> Result<(), SpoolError> {
        self.finish("give a delivery up", |change, lease| {
            lease.unsent(change, "failed", change.now, reason)
        })
    }

    /// What a newer version replaced while it was on its way is not tried again; images are.
    fn unsent(&self, change: &Change<'_>, state: &str, at: i64, why: &str) -> Result<(), Fault> {
        let made = !matches!(self.object, DeliveryObject::Image(_));
        let outdated = made && settle::is_outdated(change, self.job)?;
        let state = if outdated { "superseded" } else { state };
        change.execute(
            "UPDATE delivery SET state = ?2, next_attempt_at = ?3, reason = ?4 WHERE id = ?1",
            params![self.guard.delivery, state, at, why],
        )?;
        let step = Transition::new("sending", state).to(&self.guard.destination).because(why);
        Ok(change.record(self.job, &step)?)
    }

    fn finish(
        mut self,
        what: &'static str,
        work: impl FnOnce(&Change<'_>, &Self) -> Result<(), Fault>,
    ) -> Result<(), SpoolError> {
        let spool = self.guard.spool.clone();
        spool.write(what, |change| {
            let released = change.execute(
                "UPDATE delivery SET leased = 0 WHERE id = ?1 AND leased = 1 AND lease = ?2",
                params![self.guard.delivery, self.guard.token],
            )?;
            if released == 0 {
                tracing::info!(job = self.job, "the job was dropped while it was delivered");
                return Ok(());
            }
            work(change, &self)?;
            settle::settle(change, self.job)
        })?;
        self.guard.finished = true;
        Ok(())
    }
}

/// Ends what had its last attempt because its destination could not be reached.
fn give_up(change: &Change<'_>, destination: &str, most: u32, reason: &str) -> Result<(), Fault> {
    let ended: Vec<i64> = change
        .prepare_cached(
            "UPDATE delivery SET state = 'failed',
                 reason = 'given up after ' || attempts || ' attempts: ' || ?3
             WHERE destination = ?1 AND state = 'waiting' AND leased = 0 AND unreachable = 1
                 AND attempts >= ?2
             RETURNING job",
        )?
        .query_map(params![destination, most, reason], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for job in ended {
        let step = Transition::new("waiting", "failed").to(destination).because(reason);
        change.record(job, &step)?;
        settle::settle(change, job)?;
    }
    Ok(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let Self { delivery, job, token, ref destination, .. } = *self;
        let destination = destination.clone();
        self.spool.orphaned(Orphan::Delivery { delivery, job, token, destination });
    }
}
