//! Statuses of responses (PS3.7 Annex C, PS3.4 Table B.2-1).

use std::fmt;

/// The status of a DIMSE response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u16);

/// What a status means for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusKind {
    /// Done.
    Success,
    /// Done, with a remark: the object is stored.
    Warning,
    /// Not done.
    Failure,
    /// Pending or cancelled: no outcome of a C-STORE.
    Other,
}

impl Status {
    /// Done.
    pub const SUCCESS: Self = Self(0x0000);
    /// Something went wrong in the provider.
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// The SOP instance UID of the command is none.
    pub const INVALID_INSTANCE: Self = Self(0x0117);
    /// The command lacks an element.
    pub const MISSING_ATTRIBUTE: Self = Self(0x0120);
    /// The class of the command is not the presentation context's.
    pub const CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// A command that the provider does not know.
    pub const UNRECOGNIZED_OPERATION: Self = Self(0x0211);
    /// The instance is there already.
    pub const DUPLICATE_INSTANCE: Self = Self(0x0111);
    /// C-STORE: no space.
    pub const OUT_OF_RESOURCES: Self = Self(0xA700);
    /// C-STORE: the data set is not what the command says.
    pub const MISMATCH: Self = Self(0xA900);
    /// C-STORE: the data set cannot be understood.
    pub const CANNOT_UNDERSTAND: Self = Self(0xC000);

    /// What it means for the sender.
    pub const fn kind(self) -> StatusKind {
        match self.0 {
            0x0000 => StatusKind::Success,
            0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => StatusKind::Warning,
            0xFE00 | 0xFF00 | 0xFF01 => StatusKind::Other,
            _ => StatusKind::Failure,
        }
    }

    /// Done, without a remark.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Whether a C-STORE with this status left the object with the peer.
    pub const fn is_stored(self) -> bool {
        matches!(self.kind(), StatusKind::Success | StatusKind::Warning)
    }

    /// The name in the standard's words.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x0000 => "success",
            0x0105 => "no such attribute",
            0x0106 => "invalid attribute value",
            0x0110 => "processing failure",
            0x0111 => "duplicate SOP instance",
            0x0112 => "no such SOP instance",
            0x0117 => "invalid SOP instance",
            0x0118 => "no such SOP class",
            0x0119 => "class-instance conflict",
            0x0120 => "missing attribute",
            0x0122 | 0xA800 => "SOP class not supported",
            0x0124 => "not authorized",
            0x0210 => "duplicate invocation",
            0x0211 => "unrecognized operation",
            0x0212 => "mistyped argument",
            0xA700..=0xA7FF => "out of resources",
            0xA900..=0xA9FF => "data set does not match SOP class",
            0xB000 => "coercion of data elements",
            0xB006 => "elements discarded",
            0xB007 => "data set does not match SOP class (warning)",
            0xC000..=0xCFFF => "cannot understand",
            0xFE00 => "cancel",
            0xFF00 | 0xFF01 => "pending",
            _ => "unknown status",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X} ({})", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_kind() {
        for (code, kind) in [
            (0x0000, StatusKind::Success),
            (0xB007, StatusKind::Warning),
            (0xFF00, StatusKind::Other),
            (0xFE00, StatusKind::Other),
            (0xA700, StatusKind::Failure),
            (0xD123, StatusKind::Failure),
        ] {
            assert_eq!(Status(code).kind(), kind, "{code:04X}");
        }
        assert_eq!(Status::MISMATCH.to_string(), "0xA900 (data set does not match SOP class)");
    }
}
