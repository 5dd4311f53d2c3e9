//! What deliveries make of their job, and a new version of the older ones.

use rusqlite::{OptionalExtension, params};

use super::draft::{NewDelivery, NewDeliveryObject};
use super::error::{Fault, SpoolError};
use super::job::ArtefactKind;
use super::transition::{Change, Transition};
use crate::vocabulary::StudyUid;

/// Adds deliveries of the objects of one job (and its study) to a job of that study. What a destination already has, or is just getting, from another
/// version of the study is not sent twice.
pub(super) fn add_deliveries(
    change: &Change<'_>,
    (from, study): (i64, &StudyUid),
    job: i64,
    deliveries: &[NewDelivery],
) -> Result<(), Fault> {
    for delivery in deliveries {
        let object = match &delivery.object {
            NewDeliveryObject::Report
            | NewDeliveryObject::Capture
            | NewDeliveryObject::KeyObject => None,
            NewDeliveryObject::Image(instance) => {
                let object: Option<i64> = change
                    .prepare_cached(
                        "SELECT object.id FROM object
                         JOIN job_object ON job_object.object = object.id
                         WHERE job_object.job = ?1 AND object.instance = ?2",
                    )?
                    .query_row(params![from, instance.as_str()], |row| row.get(0))
                    .optional()?;
                let study = study.clone();
                let instance = instance.to_string();
                Some(object.ok_or(SpoolError::UnknownImage { study, instance })?)
            }
        };
        if let Some(object) = object
            && has(change, &delivery.destination, object)?
        {
            continue;
        }
        change
            .prepare_cached(
                // Where the destination is known to be down, with what waits for it already.
                "INSERT INTO delivery (job, destination, object, state, next_attempt_at, artefact)
                 VALUES (?1, ?2, ?3, 'waiting', coalesce((SELECT min(next_attempt_at) FROM delivery
                     WHERE destination = ?2 AND state = 'waiting' AND unreachable = 1
                         AND next_attempt_at > ?4), ?4), ?5)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                job,
                delivery.destination,
                object,
                change.now,
                delivery.object.kind().map(ArtefactKind::as_str),
            ])?;
    }
    Ok(())
}

fn has(change: &Change<'_>, destination: &str, object: i64) -> rusqlite::Result<bool> {
    change
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delivery WHERE destination = ?1 AND object = ?2
                 AND (leased = 1 OR state IN ('sent', 'committed')))",
        )?
        .query_row(params![destination, object], |row| row.get(0))
}

/// A version that still waits for its draft gives way to a newer one, which has all of its images.
pub(super) fn supersede_waiting(change: &Change<'_>, job: i64) -> Result<(), Fault> {
    supersede_undrafted(change, job, "state = 'received'")
}

fn supersede_undrafted(change: &Change<'_>, job: i64, which: &str) -> Result<(), Fault> {
    let older = ids(
        change,
        &format!(
            "SELECT old.id FROM job old JOIN job new ON new.study = old.study
             WHERE new.id = ?1 AND old.version < new.version AND old.outcome IS NULL
                 AND old.leased = 0 AND old.{which}"
        ),
        job,
    )?;
    for old in older {
        change
            .execute("UPDATE job SET state = 'superseded', unforwarded = 0 WHERE id = ?1", [old])?;
        change.record(old, &Transition::new("received", "superseded"))?;
    }
    Ok(())
}

/// After a draft: deliveries of older drafts that are not sent yet go no more; what a person
/// signed goes in any case, and so do the pictures of a draft that was signed. Images stay on
/// their way unless the new version sends the same instance to the same destination.
pub(super) fn supersede_older(change: &Change<'_>, job: i64) -> Result<(), Fault> {
    supersede_undrafted(change, job, "state = 'failed'")?;
    let older = ids(
        change,
        "SELECT old.id FROM job old JOIN job new ON new.study = old.study
         WHERE new.id = ?1 AND old.version < new.version AND old.signed_at IS NULL
             AND (old.outcome IS NOT NULL
                 OR EXISTS (SELECT 1 FROM delivery WHERE delivery.job = old.id))",
        job,
    )?;
    for old in older {
        let superseded = change
            .prepare_cached(
                "UPDATE delivery SET state = 'superseded', reason = NULL
                 WHERE job = ?1 AND state IN ('waiting', 'failed') AND leased = 0
                     AND (artefact = 'report'
                         OR object IS NULL AND (SELECT signed_at IS NULL FROM job WHERE id = ?2)
                         OR EXISTS (
                         SELECT 1 FROM delivery later
                         JOIN object ours ON ours.id = delivery.object
                         JOIN object theirs ON theirs.id = later.object
                         WHERE later.job = ?2 AND later.destination = delivery.destination
                             AND theirs.instance = ours.instance))
                 RETURNING destination",
            )?
            .query_map([old, job], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        for destination in superseded {
            change.record(old, &Transition::new("waiting", "superseded").to(&destination))?;
        }
        settle(change, old)?;
    }
    Ok(())
}

fn ids(change: &Change<'_>, query: &str, job: i64) -> rusqlite::Result<Vec<i64>> {
    change.prepare_cached(query)?.query_map([job], |row| row.get(0))?.collect()
}

/// Whether a newer version of the job's study was drafted.
pub(super) fn is_outdated(change: &Change<'_>, job: i64) -> rusqlite::Result<bool> {
    change
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM job old JOIN job new ON new.study = old.study
                 WHERE old.id = ?1 AND new.version > old.version AND new.outcome = 'drafted'
                     AND old.signed_at IS NULL)",
        )?
        .query_row([job], |row| row.get(0))
}

/// Sets the state that follows from a job's deliveries.
pub(super) fn settle(change: &Change<'_>, job: i64) -> Result<(), Fault> {
    let (before, outcome): (String, Option<String>) = change
        .prepare_cached("SELECT state, outcome FROM job WHERE id = ?1")?
        .query_row([job], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(base) = outcome else { return Ok(()) };
    let (waiting, sent, failed): (i64, i64, i64) = change
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'waiting' OR state = 'sent' AND commitment = 1),
                    count(*) FILTER (WHERE state IN ('sent', 'committed')),
                    count(*) FILTER (WHERE state = 'failed')
             FROM delivery WHERE job = ?1",
        )?
        .query_row([job], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let after = if waiting > 0 {
        base.as_str()
    } else if failed > 0 {
        "failed"
    } else if base == "drafted" && sent > 0 {
        "delivered"
    } else if base == "drafted" && is_outdated(change, job)? {
        "superseded"
    } else {
        base.as_str()
    };
    let failure: Option<String> = change
        .prepare_cached(
            "SELECT destination || ': ' || coalesce(reason, '') FROM delivery
             WHERE job = ?1 AND state = 'failed' ORDER BY id LIMIT 1",
        )?
        .query_row([job], |row| row.get(0))
        .optional()?;
    change
        .prepare_cached("UPDATE job SET state = ?2, failure = ?3 WHERE id = ?1")?
        .execute(params![job, after, failure])?;
    if before != after {
        change.record(job, &Transition::new(&before, after))?;
    }
    Ok(())
}
