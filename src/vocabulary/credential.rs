//! A password as it is kept: its argon2 hash.

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};

/// The least characters of a new password.
pub const SHORTEST: usize = 8;

/// Stands in for the password of a name that nobody has, so that both take the same time.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$7wJ1baVhQfl6nd6dPnsPXA$\
                      ZDoPHbLhqt9/W4VM7xF/g9+zqiDN7rHRsS787U/rStw";

/// An argon2 line of the configuration; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

/// Why there is no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not what `thorascribe user hash` prints.
    #[error("not an argon2 line such as $argon2id$v=19$m=19456,t=2,p=1$…")]
    Form,
    /// A password that is guessed soon.
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    /// The system gave no random salt.
    #[error("no salt could be made: {0}")]
    Salt(String),
}

impl Credential {
    /// Hashes a new password with a random salt (argon2id, 19 MiB, two passes).
    ///
    /// # Errors
    /// A password that is too short; a system without randomness.
    pub fn of(password: &str) -> Result<Self, CredentialError> {
        if password.chars().count() < SHORTEST {
            return Err(CredentialError::Short);
        }
        let hash: PasswordHash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|error| CredentialError::Salt(error.to_string()))?;
        Ok(Self(hash.to_string()))
    }

    /// Whether this is the password; takes some ten milliseconds on purpose.
    pub fn is_of(&self, password: &str) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// What the password of a name that nobody has is held against.
    pub fn of_nobody() -> Self {
        Self(NOBODY.to_owned())
    }

    /// The line itself, for the configuration: never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Credential {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let hash = PasswordHash::new(text).map_err(|_unparsed| CredentialError::Form)?;
        let known = hash.algorithm.as_str().starts_with("argon2");
        let whole = hash.salt.is_some() && hash.hash.is_some() && Params::try_from(&hash).is_ok();
        (known && whole).then(|| Self(text.to_owned())).ok_or(CredentialError::Form)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[credential]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_knows_its_password_and_shows_nothing() {
        let credential = Credential::of("correct horse").unwrap();
        let read: Credential = credential.reveal().parse().unwrap();
        assert!(read.is_of("correct horse") && !read.is_of("correct hors"));
        assert_eq!(format!("{read:?}"), "[credential]");
        assert_ne!(Credential::of("correct horse").unwrap(), credential, "the salt is random");
        assert_eq!(Credential::of("short"), Err(CredentialError::Short));
        assert_eq!(NOBODY.parse(), Ok(Credential::of_nobody()));
        for wrong in ["", "correct horse", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", "$5$abc"] {
            assert_eq!(wrong.parse::<Credential>(), Err(CredentialError::Form), "{wrong}");
        }
    }
}
