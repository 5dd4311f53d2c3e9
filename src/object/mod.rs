//! A stored DICOM object: the only door to a peer's bytes.
//!
//! Comes in: a Part 10 file, or the bytes of a data set and their transfer syntax. Goes out: a
//! [`StoredObject`], which exists only when the structure scan passed, with every element's exact
//! bytes. Promises: no recursion, no panic and bounded memory on any input; a value is never
//! longer than the bytes that are there. May use: `vocabulary`.

pub mod charset;
mod data_set;
mod index;
mod item;
pub mod meta;
mod pixel;
mod scan;
mod stored;
mod turns;

use dicom_core::Tag;

pub use data_set::DataSet;
pub use item::{Item, PersonName, RawElement};
pub use pixel::PixelData;
pub(crate) use scan::has_short_form;
pub use scan::{Limits, Malformed, Reason};
pub use stored::StoredObject;
pub use turns::{Turn, Turns};

use crate::vocabulary::UidError;

/// Why bytes are no object that the node can work with.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a Part 10 file, or its file meta information cannot be read.
    #[error(transparent)]
    Meta(#[from] meta::MetaError),
    /// The transfer syntax is none that the node takes.
    #[error("the transfer syntax {0} is not one that this node takes")]
    TransferSyntax(String),
    /// The deflated data set cannot be inflated.
    #[error("the deflated data set cannot be inflated: {0}")]
    Inflate(&'static str),
    /// The structure of the data set is broken.
    #[error("the data set is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// An attribute that every composite object has is missing.
    #[error("the data set has no {name} {tag}")]
    Missing {
        /// Its keyword.
        name: &'static str,
        /// Its tag.
        tag: Tag,
    },
    /// A UID that every composite object has is not one.
    #[error("{name} {tag} is no UID: {source}")]
    BadUid {
        /// Its keyword.
        name: &'static str,
        /// Its tag.
        tag: Tag,
        /// The rule that it breaks.
        source: UidError,
    },
}
