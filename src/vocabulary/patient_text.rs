//! Text about a patient, which must not reach a log by accident.

use std::fmt;

/// A name, an identifier or report text of a patient; `Debug` shows `[patient]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct PatientText(String);

impl PatientText {
    /// Wraps text that came from a patient's object or report.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a report, a page or a destination: never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PatientText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[patient]")
    }
}
