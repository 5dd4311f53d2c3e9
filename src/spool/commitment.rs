//! Storage commitment: what a destination acknowledged is asked for again, until it commits to
//! keep it.
//!
//! A delivery that wants a commitment is `sent` until the destination reports on it. The request's
//! transaction UID is on the disk before the request goes out, so a report is understood whenever
//! it comes: at once, after a restart, twice, or after a later request.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::{Builder, Uuid};

use super::clock::milliseconds;
use super::error::Fault;
use super::job::{parsed, sop_class};
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, retry, settle};
use crate::vocabulary::{InstanceUid, SopClass, StudyUid, Uid};

/// A request that is about to go out.
#[derive(Debug, Clone)]
pub struct Commitment {
    /// The study.
    pub study: StudyUid,
    /// Names it in the destination's report.
    pub transaction: Uid,
    /// Which request for these objects this is, from 1.
    pub attempts: u32,
    /// Class and instance of each object.
    pub objects: Vec<(SopClass, InstanceUid)>,
    job: i64,
    destination: String,
}

/// What a report was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The destination that was asked.
    pub destination: String,
    /// Objects that are committed by it now.
    pub committed: usize,
    /// Objects that go out again.
    pub lost: usize,
}

const GROUP: &str = "job = ?1 AND destination = ?2 AND state = 'sent' AND commitment = 1";
/// Another study may bear the job's number by now, but nobody else was asked in that transaction.
const ASKED: &str = "EXISTS (SELECT 1 FROM commitment
    WHERE commitment.uid = ?3 AND commitment.job = ?1 AND commitment.destination = ?2)";

impl Spool {
    /// The next job whose objects are all with a destination and wait for its commitment. Unless
    /// more is said of it, the next request for them is due after `patience`.
    pub fn next_commitment(
        &self,
        destination: &str,
        patience: Duration,
    ) -> Result<Option<Commitment>, SpoolError> {
        let most = self.settings().max_attempts;
        self.write("ask for a commitment", |change| {
            loop {
                let Some((job, attempts)) = due(change, destination)? else { return Ok(None) };
                if attempts >= most {
                    let why = format!("no storage commitment after {attempts} requests");
                    give_up(change, job, destination, &why)?;
                    continue;
                }
                return request(change, job, destination, attempts + 1, patience).map(Some);
            }
        })
    }

    /// The destination took the request: asked again when nothing is heard for `patience`.
    pub fn commitment_awaited(
        &self,
        asked: &Commitment,
        patience: Duration,
    ) -> Result<(), SpoolError> {
        self.put_off(asked, patience, "its storage commitment is awaited")
    }

    /// The request failed: again after a while.
    pub fn commitment_failed(
        &self,
        asked: &Commitment,
        after: Duration,
        reason: &str,
    ) -> Result<(), SpoolError> {
        self.put_off(asked, after, reason)
    }

    fn put_off(&self, asked: &Commitment, by: Duration, why: &str) -> Result<(), SpoolError> {
        self.write("put a commitment off", |change| {
            let at = change.now.saturating_add(milliseconds(by));
            let uid = asked.transaction.as_str();
            let put_off = change.execute(
                &format!(
                    "UPDATE delivery SET commit_at = ?4, reason = ?5 WHERE {GROUP} AND {ASKED}"
                ),
                params![asked.job, asked.destination, uid, at, why],
            )?;
            if put_off == 0 {
                return Ok(());
            }
            let step = Transition::new("sent", "sent").to(&asked.destination).because(why);
            Ok(change.record(asked.job, &step)?)
        })
    }

    /// The destination will never commit; only `queue retry` tries again.
    pub fn commitment_refused(&self, asked: &Commitment, why: &str) -> Result<(), SpoolError> {
        self.write("give a commitment up", |change| {
            if is_open(change, asked)? {
                give_up(change, asked.job, &asked.destination, why)?;
            }
            Ok(())
        })
    }

    /// A destination reports: what it keeps is committed, though it was given up meanwhile; what it
    /// lost goes out again. `None` for a transaction that nobody asked for. Of an object that no longer waits nothing changes.
    pub fn commitment_reported(
        &self,
        transaction: &Uid,
        committed: &[InstanceUid],
        lost: &[(InstanceUid, String)],
    ) -> Result<Option<Reported>, SpoolError> {
        let most = self.settings().max_attempts;
        self.write("note a commitment", |change| {
            let asked: Option<(i64, String)> = change
                .prepare_cached("SELECT job, destination FROM commitment WHERE uid = ?1")?
                .query_row([transaction.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((job, destination)) = asked else { return Ok(None) };
            let mut reported = Reported { destination, committed: 0, lost: 0 };
            let destination = reported.destination.clone();
            for instance in committed {
                reported.committed += change.execute(
                    "UPDATE delivery SET state = 'committed', reason = NULL
                         WHERE job = ?1 AND destination = ?2 AND commitment = 1
                             AND state IN ('sent', 'failed') AND sent_instance = ?3",
                    params![job, destination, instance.as_str()],
                )?;
            }
            if reported.committed > 0 {
                let note = format!("{} objects", reported.committed);
                let step = Transition::new("sent", "committed").to(&destination).because(&note);
                change.record(job, &step)?;
            }
            for (instance, why) in lost {
                reported.lost += send_again(change, (job, &destination), instance, why, most)?;
            }
            settle::settle(change, job)?;
            Ok(Some(reported))
        })
    }

    /// Whether anything that was asked for in a transaction still waits.
    pub fn is_commitment_open(&self, asked: &Commitment) -> Result<bool, SpoolError> {
        self.read("look for a commitment", |transaction| is_open(transaction, asked))
    }

    /// Only these destinations are asked to commit: what was sent to any other is done. The others
    /// for which something waited, and how many objects.
    pub fn waive_commitments_but(
        &self,
        asked: &[String],
    ) -> Result<Vec<(String, usize)>, SpoolError> {
        self.write("waive commitments", |change| {
            let waited_for: Vec<String> = change
                .prepare_cached(
                    "SELECT DISTINCT destination FROM delivery
                     WHERE state = 'sent' AND commitment = 1",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut waived = Vec::new();
            for destination in waited_for.into_iter().filter(|name| !asked.contains(name)) {
                let count = waive(change, &destination)?;
                waived.push((destination, count));
            }
            Ok(waived)
        })
    }
}

fn is_open(connection: &Connection, asked: &Commitment) -> rusqlite::Result<bool> {
    let uid = asked.transaction.as_str();
    connection
        .prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM delivery WHERE {GROUP} AND {ASKED})"
        ))?
        .query_row(params![asked.job, asked.destination, uid], |row| row.get(0))
}

fn waive(change: &Change<'_>, destination: &str) -> Result<usize, Fault> {
    let jobs: Vec<i64> = change
        .prepare_cached(
            "UPDATE delivery SET commitment = 0, reason = NULL
             WHERE destination = ?1 AND state = 'sent' AND commitment = 1 RETURNING job",
        )?
        .query_map([destination], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for job in &jobs {
        let step = Transition::new("sent", "sent").to(destination);
        change.record(*job, &step.because("no longer asked to commit to it"))?;
        settle::settle(change, *job)?;
    }
    Ok(jobs.len())
}

/// The job that waits longest, and how often its objects were asked for.
fn due(change: &Change<'_>, destination: &str) -> rusqlite::Result<Option<(i64, u32)>> {
    change
        .prepare_cached(
            "SELECT job, max(commit_attempts) FROM delivery
             WHERE destination = ?1 AND state = 'sent' AND commitment = 1 AND commit_at <= ?2
                 AND NOT EXISTS (SELECT 1 FROM delivery other WHERE other.job = delivery.job
                     AND other.destination = ?1 AND other.state = 'waiting')
             GROUP BY job ORDER BY min(commit_at), job LIMIT 1",
        )?
        .query_row(params![destination, change.now], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn request(
    change: &Change<'_>,
    job: i64,
    destination: &str,
    attempts: u32,
    patience: Duration,
) -> Result<Commitment, Fault> {
    // Random, so that only who was asked can answer.
    let transaction = Uid::from_uuid(random());
    change.execute(
        "INSERT INTO commitment (uid, job, destination, asked_at) VALUES (?1, ?2, ?3, ?4)",
        params![transaction.as_str(), job, destination, change.now],
    )?;
    let at = change.now.saturating_add(milliseconds(patience));
    change.execute(
        &format!("UPDATE delivery SET commit_at = ?3, commit_attempts = ?4 WHERE {GROUP}"),
        params![job, destination, at, attempts],
    )?;
    let objects = change
        .prepare_cached(&format!(
            "SELECT sent_class, sent_instance FROM delivery WHERE {GROUP} ORDER BY id"
        ))?
        .query_map(params![job, destination], |row| Ok((sop_class(row, 0)?, parsed(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let study = change.query_row(
        "SELECT study.uid FROM job JOIN study ON study.id = job.study WHERE job.id = ?1",
        [job],
        |row| parsed(row, 0),
    )?;
    let destination = destination.to_owned();
    Ok(Commitment { study, transaction, attempts, objects, job, destination })
}

fn random() -> Uuid {
    Builder::from_random_bytes(rand::random()).into_uuid()
}

fn give_up(change: &Change<'_>, job: i64, destination: &str, why: &str) -> Result<(), Fault> {
    change.execute(
        &format!("UPDATE delivery SET state = 'failed', reason = ?3 WHERE {GROUP}"),
        params![job, destination, why],
    )?;
    change.record(job, &Transition::new("sent", "failed").to(destination).because(why))?;
    settle::settle(change, job)
}

/// An object that the destination does not keep goes out again, unless it had its last attempt.
fn send_again(
    change: &Change<'_>,
    (job, destination): (i64, &str),
    instance: &InstanceUid,
    why: &str,
    most: u32,
) -> Result<usize, Fault> {
    let lost: Vec<(i64, u32)> = change
        .prepare_cached(&format!(
            "SELECT id, attempts FROM delivery WHERE {GROUP} AND sent_instance = ?3"
        ))?
        .query_map(params![job, destination, instance.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    for (delivery, attempts) in &lost {
        let (state, why) = if *attempts >= most {
            ("failed", format!("given up after {attempts} attempts: {why}"))
        } else {
            ("waiting", why.to_owned())
        };
        let pause = milliseconds(retry::delay(*attempts, &mut rand::rng()));
        change.execute(
            "UPDATE delivery SET state = ?2, reason = ?3, next_attempt_at = ?4 WHERE id = ?1",
            params![delivery, state, why, change.now.saturating_add(pause)],
        )?;
        let step = Transition::new("sent", state).to(destination).because(&why);
        change.record(job, &step)?;
    }
    Ok(lost.len())
}
