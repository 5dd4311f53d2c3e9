//! What becomes of a job whose drafting failed: decided here and nowhere else.

use std::time::Duration;

use crate::model::ModelError;
use crate::radiograph::RadiographError;
use crate::report::ReportError;

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

/// A job may be tried again when the failure can lie outside of it.
pub(super) fn disposition(error: &DraftingError, attempts: u32) -> Disposition {
    const ATTEMPTS: u32 = 3;
    match error {
        DraftingError::Radiograph(RadiographError::Killed(_)) => {
            Disposition::Killed(Duration::from_secs(5))
        }
        DraftingError::Radiograph(error) if !error.is_of_the_decoder() => Disposition::Dead,
        DraftingError::Report(_) => Disposition::Dead,
        DraftingError::Radiograph(_) | DraftingError::Model(_) | DraftingError::Panic => {
            if attempts >= ATTEMPTS {
                Disposition::Dead
            } else {
                Disposition::Retry(Duration::from_secs(u64::from(attempts) * 5))
            }
        }
    }
}
