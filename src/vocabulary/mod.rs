//! The words of the field as types, parsed once at the border.
//!
//! Comes in: text and bytes from peers, files and configuration. Goes out: values that cannot be
//! wrong. Promises: no I/O, no panic on any input. May use: nothing of this crate.

mod ae_title;
mod attempts;
pub mod credential;
mod excerpt;
mod fingerprint;
mod hexadecimal;
mod observation;
pub mod patient_text;
pub mod person_name;
pub mod priority;
pub mod size;
pub mod sop_class;
pub mod transfer_syntax;
mod uid;

pub use ae_title::{AeTitle, AeTitleError};
pub use attempts::Attempts;
pub use credential::{Credential, CredentialError};
pub use excerpt::Excerpt;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use hexadecimal::hexadecimal;
pub use observation::{Observation, UnknownObservation};
pub use patient_text::PatientText;
pub use priority::Priority;
pub use size::{ByteSize, Span, UnitError};
pub use sop_class::{SopClass, SopKind};
pub use transfer_syntax::TransferSyntax;
pub use uid::{InstanceUid, SeriesUid, StudyUid, Uid, UidError};
