//! Drafts and the objects that carry them: the text of a model becomes a Structured Report.
//!
//! Comes in: a draft, the radiograph it was drafted from, the images of its job. Goes out: SR
//! objects, pictures of where the model looked and key-object selections as Part 10 bytes, and the
//! violations that a check of a report finds. Promises:
//! the same draft gives the same bytes; one UID never names two contents; patient, study and
//! request attributes are the source's bytes in the source's character set; model text never
//! holds what that set cannot. May use: `vocabulary`, `object`, `radiograph`, `model` for where it
//! looked, `dimse` for the names of this implementation alone.

pub mod capture;
pub mod draft;
pub mod font;
mod heading;
pub mod identity;
pub mod key_object;
mod maker;
pub(crate) mod picture;
pub(crate) mod read_back;
pub mod sr;
mod text;
pub mod verification;

pub use draft::{CodedFinding, Created, Draft, ModelIdentity, NodeIdentity, Predecessor};
pub use identity::{Evidence, is_own};
pub use verification::Verification;

use crate::vocabulary::{InstanceUid, PatientText, SeriesUid, SopClass};

/// An object as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFile {
    /// SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// A Part 10 file in Explicit VR Little Endian.
    pub bytes: Vec<u8>,
    /// Where its data set starts.
    pub data_set_offset: u64,
}

/// Why no report could be made of a draft.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Nothing to report.
    #[error("the draft holds no text; draft the study again or try another model")]
    EmptyText,
    /// The source image is not one of the images of the job.
    #[error("the image drafted from, {0}, is not among the images of its job")]
    NotInEvidence(InstanceUid),
    /// Letters of a text to be signed are not in the set that the image's names are in.
    #[error(
        "the character set of this study ({}) has no letter {}; write it with others",
        if set.is_empty() { "none stated, so ASCII" } else { set },
        letters.reveal()
    )]
    NotInSet {
        /// What the set lacks.
        letters: PatientText,
        /// The image's Specific Character Set.
        set: String,
    },
    /// The library that encodes data sets refused one.
    #[error("the SR could not be encoded: {0}")]
    Encoding(String),
}
