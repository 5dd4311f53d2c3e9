//! Drafts and the objects that carry them: the text of a model becomes a Structured Report.
//!
//! Comes in: a draft, the radiograph it was drafted from, the images of its job. Goes out: SR
//! objects as Part 10 bytes, and the violations that a check of such an object finds. Promises:
//! the same draft gives the same bytes; one UID never names two contents; patient, study and
//! request attributes are the source's bytes in the source's character set; model text never
//! holds what that set cannot. May use: `vocabulary`, `object`, `dimse` for the names of this
//! implementation alone.

pub mod draft;
pub mod identity;
pub mod sr;
mod text;

pub use draft::{CodedFinding, Created, Draft, ModelIdentity, NodeIdentity, Predecessor};
pub use identity::{Evidence, is_own};

/// Why no report could be made of a draft.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Nothing to report.
    #[error("the draft holds no text; draft the study again or try another model")]
    EmptyText,
    /// The source image is not one of the images of the job.
    #[error("the image drafted from, {0}, is not among the images of its job")]
    NotInEvidence(crate::vocabulary::InstanceUid),
    /// The library that encodes data sets refused one.
    #[error("the SR could not be encoded: {0}")]
    Encoding(String),
}
