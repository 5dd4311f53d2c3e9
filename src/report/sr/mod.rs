//! Structured Reports: TID 2000 Basic Diagnostic Imaging Report in the SR classes that
//! destinations take (PS3.3 §A.35, PS3.16).

pub mod check;
pub(in crate::report) mod codes;
pub(in crate::report) mod copied;
pub(in crate::report) mod data_set;
pub(in crate::report) mod document;
pub(in crate::report) mod tree;
mod verified;
pub(in crate::report) mod view;

pub use crate::report::ObjectFile as SrFile;
pub use document::build;

use crate::vocabulary::SopClass;

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
