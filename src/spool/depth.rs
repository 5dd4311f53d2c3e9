//! How much waits, and for how long.

use std::time::Duration;

use super::{Spool, SpoolError};

/// Work that waits for one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Pieces of work.
    pub count: u64,
    /// How long the oldest of them waits.
    pub oldest: Duration,
}

/// What waits for drafting and for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Versions of studies, those that are not complete yet included.
    pub drafting: Waiting,
    /// Objects, each for one destination.
    pub delivery: Waiting,
}

impl Spool {
    /// What waits at present.
    pub fn depth(&self) -> Result<Depth, SpoolError> {
        let now = self.inner.clock.now();
        let of = |count: i64, oldest: Option<i64>| Waiting {
            count: count.unsigned_abs(),
            oldest: Duration::from_millis(
                oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0).unsigned_abs()),
            ),
        };
        self.read("measure the queues", |transaction| {
            let drafting = transaction
                .prepare_cached("SELECT count(*), min(first_at) FROM job WHERE state = 'received'")?
                .query_row([], |row| Ok(of(row.get(0)?, row.get(1)?)))?;
            let delivery = transaction
                .prepare_cached(
                    "SELECT count(*), min(job.drafted_at) FROM delivery
                     JOIN job ON job.id = delivery.job WHERE delivery.state = 'waiting'",
                )?
                .query_row([], |row| Ok(of(row.get(0)?, row.get(1)?)))?;
            Ok(Depth { drafting, delivery })
        })
    }
}
