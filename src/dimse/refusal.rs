//! Why a peer takes less than it was offered.

use std::fmt;

use dicom_ul::pdu::PresentationContextResultReason;

/// Why a peer does not accept a context (PS3.8 Table 9-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It does not say.
    Unsaid,
    /// It does not take the class.
    AbstractSyntax,
    /// It takes the class, but in none of the transfer syntaxes.
    TransferSyntaxes,
}

impl Refusal {
    pub(super) const fn of(reason: &PresentationContextResultReason) -> Self {
        match reason {
            PresentationContextResultReason::AbstractSyntaxNotSupported => Self::AbstractSyntax,
            PresentationContextResultReason::TransferSyntaxesNotSupported => Self::TransferSyntaxes,
            _ => Self::Unsaid,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsaid => "it does not say why",
            Self::AbstractSyntax => "it does not take the SOP class",
            Self::TransferSyntaxes => "it takes the SOP class, but not in this transfer syntax",
        })
    }
}
