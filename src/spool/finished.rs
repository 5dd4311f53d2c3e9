//! Which studies are done and still have objects: what a deletion is about, for the audit trail.

use std::time::Duration;

use rusqlite::OptionalExtension;

use super::clock::milliseconds;
use super::job::parsed;
use super::retention::finished;
use super::{Spool, SpoolError};
use crate::vocabulary::StudyUid;

/// A deletion begins a little after it is looked what it is about.
const SOON: Duration = Duration::from_secs(1);

impl Spool {
    /// The studies whose objects [`Spool::purge`] deletes now, or would a second later.
    pub fn finished_studies(&self, after: Duration) -> Result<Vec<StudyUid>, SpoolError> {
        let until = self.inner.clock.now().saturating_sub(milliseconds(after.saturating_sub(SOON)));
        self.read("look for what is done", |transaction| {
            let mut uid = transaction.prepare_cached("SELECT uid FROM study WHERE id = ?1")?;
            let ids = finished(transaction, until, usize::MAX)?;
            ids.iter().map(|id| uid.query_row([id], |row| parsed(row, 0))).collect()
        })
    }

    /// Whether objects of a study are still there.
    pub fn has_objects(&self, study: &StudyUid) -> Result<bool, SpoolError> {
        self.read("look for objects", |transaction| {
            let found: Option<i64> = transaction
                .prepare_cached(
                    "SELECT 1 FROM object JOIN study ON study.id = object.study
                     WHERE study.uid = ?1 AND object.deleted_at IS NULL LIMIT 1",
                )?
                .query_row([study.as_str()], |row| row.get(0))
                .optional()?;
            Ok(found.is_some())
        })
    }
}
