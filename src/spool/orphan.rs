//! Leases whose holder is gone without saying how the work ended: given back, now or as soon as the
//! store can be written again.

use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::params;

use super::clock::milliseconds;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError};

/// How long work rests whose lease was dropped.
const PAUSE: Duration = Duration::from_secs(1);

/// A lease without a holder.
#[derive(Debug, Clone)]
pub(super) enum Orphan {
    /// On drafting a job.
    Draft { job: i64, token: i64 },
    /// On a delivery of a job.
    Delivery { delivery: i64, job: i64, token: i64, destination: String },
}

impl Orphan {
    fn give_back(&self, change: &Change<'_>) -> rusqlite::Result<()> {
        let again = change.now.saturating_add(milliseconds(PAUSE));
        let (table, id, job, token) = match self {
            Self::Draft { job, token } => ("job", job, job, token),
            Self::Delivery { delivery, job, token, .. } => ("delivery", delivery, job, token),
        };
        let released = change.execute(
            &format!(
                "UPDATE {table} SET leased = 0, next_attempt_at = ?2
                 WHERE id = ?1 AND leased = 1 AND lease = ?3"
            ),
            params![id, again, token],
        )?;
        if released == 0 {
            return Ok(());
        }
        let step = match self {
            Self::Draft { .. } => Transition::new("drafting", "received"),
            Self::Delivery { destination, .. } => {
                Transition::new("sending", "waiting").to(destination)
            }
        };
        change.record(*job, &step.because("interrupted"))
    }
}

impl Spool {
    /// Gives a lease back; where the store does not take that, with the next one that is asked for.
    pub(super) fn orphaned(&self, orphan: Orphan) {
        let given_back = self.write("give a lease back", |change| Ok(orphan.give_back(change)?));
        if let Err(error) = given_back {
            tracing::error!(%error, "a dropped lease is given back later");
            self.orphans().push(orphan);
        }
    }

    /// Gives back what could not be given back before.
    pub(super) fn give_orphans_back(&self) -> Result<(), SpoolError> {
        // Taken, not looked at: another stage may come for them at the same time.
        let orphans = std::mem::take(&mut *self.orphans());
        if orphans.is_empty() {
            return Ok(());
        }
        let given_back = self.write("give leases back", |change| {
            for orphan in &orphans {
                orphan.give_back(change)?;
            }
            Ok(())
        });
        if given_back.is_err() {
            self.orphans().extend(orphans);
        }
        given_back
    }

    fn orphans(&self) -> std::sync::MutexGuard<'_, Vec<Orphan>> {
        self.inner.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
