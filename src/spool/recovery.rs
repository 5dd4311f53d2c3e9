//! What a start does about the end before it.

use std::fs;

use rusqlite::params;

use super::error::Fault;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, durable, lease, settle};

const STOPPED: &str = "the node stopped while it worked on this";
const ALONE: &str = "the node stopped while it drafted this study and no other";

impl Spool {
    /// Removes objects in the making (nobody was told that they are kept), and gives back every
    /// lease: only the node that holds the lock can have had one.
    pub(super) fn recover(&self) -> Result<(), SpoolError> {
        let scratch = self.scratch();
        let unfinished = fs::read_dir(&scratch).map_err(SpoolError::io("list", &scratch))?;
        for entry in unfinished {
            let path = entry.map_err(SpoolError::io("list", &scratch))?.path();
            durable::remove(&path).map_err(SpoolError::io("remove", &path))?;
        }
        self.recall_the_clock()?;
        let attempts = self.settings().max_attempts;
        self.write("give leases back", |change| {
            give_jobs_back(change, attempts)?;
            give_deliveries_back(change, attempts)
        })?;
        self.unlink_doomed()
    }
}

fn give_jobs_back(change: &Change<'_>, max_attempts: u32) -> Result<(), Fault> {
    let leased: Vec<(i64, u32, u32)> = change
        .prepare("SELECT id, attempts, kills + suspect FROM job WHERE leased = 1")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (job, attempts, kills) in leased {
        if attempts >= max_attempts {
            lease::dead(change, job, &format!("given up after {attempts} attempts: {STOPPED}"))?;
            continue;
        }
        // One of those that were drafted at the same time may have done it; a suspect was alone.
        change.execute(
            "UPDATE job SET leased = 0, kills = kills + suspect, suspect = 1 WHERE id = ?1",
            [job],
        )?;
        if kills >= lease::MOST_KILLS {
            let reason = format!("given up, since this happened {kills} times: {ALONE}");
            lease::dead(change, job, &reason)?;
            continue;
        }
        change.record(job, &Transition::new("drafting", "received").because(STOPPED))?;
    }
    Ok(())
}

fn give_deliveries_back(change: &Change<'_>, max_attempts: u32) -> Result<(), Fault> {
    let leased: Vec<(i64, i64, u32, String)> = change
        .prepare("SELECT id, job, attempts, destination FROM delivery WHERE leased = 1")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    for (delivery, job, attempts, destination) in leased {
        let (state, reason) = if attempts >= max_attempts {
            ("failed", format!("given up after {attempts} attempts: {STOPPED}"))
        } else {
            ("waiting", STOPPED.to_owned())
        };
        change.execute(
            "UPDATE delivery SET leased = 0, state = ?2, reason = ?3 WHERE id = ?1",
            params![delivery, state, reason],
        )?;
        let step = Transition::new("sending", state).to(&destination).because(&reason);
        change.record(job, &step)?;
        settle::settle(change, job)?;
    }
    Ok(())
}
