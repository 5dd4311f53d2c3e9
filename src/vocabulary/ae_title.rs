//! Application entity titles (PS3.5 §6.2, PS3.8 §9.3.2).

use std::fmt;
use std::str::FromStr;

/// The name of a DICOM application: 1 to 16 printable ASCII characters, no backslash, trimmed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AeTitle(String);

/// Why a text is no AE title.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AeTitleError {
    /// Nothing but spaces.
    #[error("an AE title needs at least one character")]
    Empty,
    /// Longer than the field on the wire.
    #[error("an AE title has at most 16 characters, this one has {0}")]
    TooLong(usize),
    /// A control character, a backslash, or something outside ASCII.
    #[error("an AE title holds printable ASCII without backslash, not {0:?}")]
    Character(char),
}

impl AeTitle {
    /// The title without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim_matches([' ', '\0']);
        if trimmed.is_empty() {
            return Err(AeTitleError::Empty);
        }
        if let Some(bad) = trimmed.chars().find(|c| !matches!(c, ' '..='~') || *c == '\\') {
            return Err(AeTitleError::Character(bad));
        }
        if trimmed.len() > 16 {
            return Err(AeTitleError::TooLong(trimmed.len()));
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_and_nonsense_refused() {
        assert_eq!(" CR_ROOM_1\0 ".parse::<AeTitle>().unwrap().as_str(), "CR_ROOM_1");
        assert_eq!("  ".parse::<AeTitle>(), Err(AeTitleError::Empty));
        assert_eq!("A\\B".parse::<AeTitle>(), Err(AeTitleError::Character('\\')));
        assert_eq!("A\nB".parse::<AeTitle>(), Err(AeTitleError::Character('\n')));
        assert_eq!("12345678901234567".parse::<AeTitle>(), Err(AeTitleError::TooLong(17)));
    }
}
