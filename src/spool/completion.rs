//! When a study is complete: quiet for a while, or waited for long enough.

use rusqlite::params;

use super::clock::milliseconds;
use super::transition::Transition;
use super::{Spool, SpoolError};

impl Spool {
    /// Completes the jobs whose study was quiet for `quiet`, or whose first object came `deadline`
    /// ago; gives their number. A complete job takes later images until its drafting begins.
    pub fn seal_due(&self) -> Result<usize, SpoolError> {
        let quiet = milliseconds(self.settings().quiet);
        let deadline = milliseconds(self.settings().deadline);
        self.write("complete studies", |change| {
            let due = change
                .prepare_cached(
                    "UPDATE job SET complete_at = ?1
                     WHERE state = 'received' AND complete_at IS NULL AND sealed_at IS NULL
                       AND (last_at + ?2 <= ?1 OR first_at + ?3 <= ?1)
                     RETURNING id",
                )?
                .query_map(params![change.now, quiet, deadline], |row| row.get::<_, i64>(0))?
                .collect::<Result<Vec<_>, _>>()?;
            for job in &due {
                change.record(*job, &Transition::new("received", "complete"))?;
            }
            Ok(due.len())
        })
    }
}
