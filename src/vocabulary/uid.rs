//! Unique identifiers (PS3.5 §9.1), tagged by what they name.

use std::fmt;
use std::str::FromStr;

/// Why a text is no UID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// Nothing there.
    #[error("a UID must not be empty")]
    Empty,
    /// Longer than PS3.5 allows.
    #[error("a UID has at most 64 characters, this one has {0}")]
    TooLong(usize),
    /// Something other than digits and dots, or an empty component.
    #[error("a UID holds numbers joined by single dots")]
    Grammar,
}

/// Any unique identifier: numbers joined by dots, at most 64 characters.
///
/// Leading zeroes in a component are tolerated, since objects in the field hold them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(String);

impl Uid {
    /// The identifier without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `2.25.` and the 128-bit number of a UUID in decimal (PS3.5 §B.2).
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("2.25.{}", uuid.as_u128()))
    }
}

impl FromStr for Uid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim_end_matches(['\0', ' ']);
        if trimmed.is_empty() {
            return Err(UidError::Empty);
        }
        if trimmed.len() > 64 {
            return Err(UidError::TooLong(trimmed.len()));
        }
        let component = |c: &str| !c.is_empty() && c.bytes().all(|b| b.is_ascii_digit());
        if !trimmed.split('.').all(component) {
            return Err(UidError::Grammar);
        }
        Ok(Self(trimmed.to_owned()))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! tagged {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uid);

        impl $name {
            /// The identifier without padding.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }
        impl From<Uid> for $name {
            fn from(uid: Uid) -> Self {
                Self(uid)
            }
        }
        impl FromStr for $name {
            type Err = UidError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

tagged!(
    /// Study Instance UID (0020,000D).
    StudyUid
);
tagged!(
    /// Series Instance UID (0020,000E).
    SeriesUid
);
tagged!(
    /// SOP Instance UID (0008,0018).
    InstanceUid
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_held() {
        assert_eq!("1.2.840\0".parse::<Uid>().unwrap().as_str(), "1.2.840");
        for bad in ["", ".", "1..2", "1.2.", "../../x", "1.2a", "1\0.2"] {
            assert!(bad.parse::<Uid>().is_err(), "{bad:?}");
        }
        assert_eq!("1".repeat(65).parse::<Uid>(), Err(UidError::TooLong(65)));
    }
}
