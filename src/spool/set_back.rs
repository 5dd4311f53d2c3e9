//! A clock that was set back: what waits for a time that is far again would wait for ever.

use std::sync::atomic::Ordering;

use rusqlite::{OptionalExtension, params};

use super::transition::Change;
use super::{Spool, SpoolError};

/// Steps that a time service makes, and that nobody notices.
const UNNOTICED: i64 = 1_000;

impl Spool {
    /// Notes the present time; when an earlier transaction saw a later one, what waits becomes due.
    pub(super) fn mind_the_clock(&self, change: &Change<'_>) -> rusqlite::Result<()> {
        let latest = self.inner.latest.swap(change.now, Ordering::SeqCst);
        if change.now >= latest.saturating_sub(UNNOTICED) {
            self.inner.latest.fetch_max(latest, Ordering::SeqCst);
            return Ok(());
        }
        set_back(change)
    }

    /// The same at the start, against what the node before it noted last.
    pub(super) fn recall_the_clock(&self) -> Result<(), SpoolError> {
        self.write("look at the clock", |change| {
            let last: Option<i64> = change
                .query_row("SELECT at FROM event ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
                .optional()?;
            if last.is_some_and(|last| change.now < last.saturating_sub(UNNOTICED)) {
                set_back(change)?;
            }
            Ok(())
        })
    }
}

fn set_back(change: &Change<'_>) -> rusqlite::Result<()> {
    tracing::warn!("the clock was set back: what waits is tried now");
    for update in [
        "UPDATE job SET first_at = min(first_at, ?1), last_at = min(last_at, ?1),
             next_attempt_at = min(next_attempt_at, ?1),
             drafted_at = min(drafted_at, ?1), complete_at = min(complete_at, ?1)
         WHERE max(first_at, last_at, next_attempt_at, coalesce(drafted_at, 0),
             coalesce(complete_at, 0)) > ?1",
        "UPDATE delivery SET next_attempt_at = min(next_attempt_at, ?1), sent_at = min(sent_at, ?1),
             commit_at = min(commit_at, ?1)
         WHERE max(next_attempt_at, coalesce(sent_at, 0), commit_at) > ?1",
        "UPDATE object SET received_at = ?1 WHERE received_at > ?1",
    ] {
        change.execute(update, params![change.now])?;
    }
    Ok(())
}
