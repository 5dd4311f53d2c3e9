//! Structured Reports: TID 2000 Basic Diagnostic Imaging Report in the SR classes that
//! destinations take (PS3.3 §A.35, PS3.16).

pub mod check;
mod codes;
mod copied;
mod data_set;
mod document;
mod tree;
mod view;

pub use document::build;

use crate::vocabulary::{InstanceUid, SeriesUid, SopClass};

/// The SR classes that a report is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrClass {
    /// Enhanced SR: what is offered first.
    Enhanced,
    /// Basic Text SR: for destinations that take no other.
    BasicText,
    /// Comprehensive SR: on request.
    Comprehensive,
}

impl SrClass {
    /// All of them, in the order in which destinations are offered them.
    pub const ALL: [Self; 3] = [Self::Enhanced, Self::BasicText, Self::Comprehensive];

    /// Its SOP class.
    pub const fn sop_class(self) -> SopClass {
        match self {
            Self::Enhanced => SopClass::EnhancedSr,
            Self::BasicText => SopClass::BasicTextSr,
            Self::Comprehensive => SopClass::ComprehensiveSr,
        }
    }
}

/// A report as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrFile {
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
