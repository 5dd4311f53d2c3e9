//! What a stage does when the store fails: it waits and goes on, since disks fill and empty.

use std::time::Duration;

use rusqlite::ErrorCode;
use tokio_util::sync::CancellationToken;

use super::SpoolError;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How long the next pause is.
#[derive(Debug)]
pub struct Patience {
    stage: &'static str,
    next: Duration,
}

impl Patience {
    /// Of a stage.
    pub fn of(stage: &'static str) -> Self {
        Self { stage, next: FIRST }
    }

    /// The store worked.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Takes note of how a step ended: after a failure it waits, at the longest until `closing`.
    ///
    /// # Errors
    /// As [`Patience::after`].
    pub async fn rest_after(
        &mut self,
        step: Result<(), SpoolError>,
        closing: &CancellationToken,
    ) -> Result<(), SpoolError> {
        let Err(failure) = step else {
            self.reset();
            return Ok(());
        };
        let pause = self.after(failure)?;
        tokio::select! {
            () = closing.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }

    /// How long to wait after this failure, which is logged.
    ///
    /// # Errors
    /// The failure itself, when waiting does not help: a store that is damaged, which the next
    /// start repairs.
    pub fn after(&mut self, error: SpoolError) -> Result<Duration, SpoolError> {
        if error.is_damage() {
            return Err(error);
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        let (stage, error) = (self.stage, &error as &dyn std::error::Error);
        tracing::error!(stage, error, "the store failed; trying again in {} s", pause.as_secs());
        Ok(pause)
    }
}

/// Runs what uses the store on a thread that may wait for it; a panic there is one here.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(lost) => std::panic::resume_unwind(lost.into_panic()),
    }
}

impl SpoolError {
    /// Whether the database is damaged.
    pub fn is_damage(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        let damage = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        source.sqlite_error_code().is_some_and(|code| damage.contains(&code))
    }
}
