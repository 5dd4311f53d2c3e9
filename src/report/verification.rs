//! The physician who signs a report, and when.

use serde::{Deserialize, Serialize};

use super::Created;
use crate::vocabulary::person_name;

/// A signature under a report: who takes responsibility for its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The person as DICOM writes names: family, given, middle, prefix, suffix, with `^` between.
    pub name: String,
    /// Whom the person signs for; empty: the institution that the image names.
    pub organization: String,
    /// When.
    pub at: Created,
    /// Whether the text is the person's rather than the model's.
    pub edited: bool,
}

impl Verification {
    /// The name as it is said: given names before the family's.
    pub fn spoken_name(&self) -> String {
        person_name::spoken(&self.name)
    }
}
