//! What becomes of a job whose drafting failed: decided here and nowhere else.

use std::time::Duration;

use crate::model::ModelError;
use crate::radiograph::RadiographError;
use crate::report::ReportError;
use crate::spool::retry;

/// Why a job was not drafted.
#[derive(Debug, thiserror::Error)]
pub(super) enum DraftingError {
    /// The pixels cannot be read.
    #[error("the image cannot be read")]
    Radiograph(#[source] RadiographError),
    /// The model failed.
    #[error("the model failed")]
    Model(#[source] ModelError),
    /// The report cannot be written.
    #[error("the report cannot be written")]
    Report(#[source] ReportError),
    /// Reading, drafting or writing broke off on this job.
    #[error("a panic while drafting")]
    Panic,
}

impl DraftingError {
    /// A word for metrics.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Radiograph(RadiographError::Killed(_)) => "killed",
            Self::Radiograph(_) => "radiograph",
            Self::Model(_) => "model",
            Self::Report(_) => "report",
            Self::Panic => "panic",
        }
    }
}

/// What the spool is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Later again.
    Retry(Duration),
    /// It ended a process of the node: later again, unless it did so before.
    Killed(Duration),
    /// Never again.
    Dead,
}

/// A job may be tried again when the failure can lie outside of it. One that lies in the system
/// (no process, no file descriptor, a disk that does not read) is waited for as long as the spool
/// allows; the model and a panic have few attempts, since the image may be what they fail at.
pub(super) fn disposition(error: &DraftingError, attempts: u32) -> Disposition {
    const ATTEMPTS: u32 = 3;
    match error {
        DraftingError::Radiograph(RadiographError::Killed(_)) => {
            Disposition::Killed(Duration::from_secs(5))
        }
        DraftingError::Radiograph(error) if error.is_passing() => {
            Disposition::Retry(retry::delay(attempts, &mut rand::rng()))
        }
        DraftingError::Radiograph(_) | DraftingError::Report(_) => Disposition::Dead,
        DraftingError::Model(_) | DraftingError::Panic => {
            if attempts >= ATTEMPTS {
                Disposition::Dead
            } else {
                Disposition::Retry(Duration::from_secs(u64::from(attempts) * 5))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: RadiographError, attempts: u32) -> Disposition {
        disposition(&DraftingError::Radiograph(error), attempts)
    }

    #[test]
    fn what_the_system_refuses_is_waited_for_and_what_the_image_is_ends_its_job() {
        for attempts in [1, 3, 11] {
            let unstarted = RadiographError::Unstarted("no more processes".to_owned());
            let unreadable = RadiographError::Unreadable("too many open files".to_owned());
            for error in [unstarted, unreadable] {
                let Disposition::Retry(after) = of(error, attempts) else {
                    panic!("given up after {attempts} attempts")
                };
                // As long as the pauses of a delivery: a dozen of them span a night.
                let least = [1, 9, 3600][[1, 3, 11].iter().position(|n| *n == attempts).unwrap()];
                assert!(after >= Duration::from_secs(least), "{after:?} after {attempts}");
            }
        }
        assert_eq!(of(RadiographError::NoPixelData, 1), Disposition::Dead);
        let killed = of(RadiographError::Killed("signal 9".to_owned()), 1);
        assert!(matches!(killed, Disposition::Killed(_)));
        assert!(matches!(disposition(&DraftingError::Panic, 1), Disposition::Retry(_)));
        assert_eq!(disposition(&DraftingError::Panic, 3), Disposition::Dead);
    }
}
