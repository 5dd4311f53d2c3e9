//! Who may sign in to the pages.

use std::collections::BTreeMap;

use super::error::Place;
use super::file::Settings;
use super::keys;
use super::value::{Checker, Keys};
use crate::vocabulary::{Credential, person_name};

/// `[[user]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What is typed to sign in; unique.
    pub name: String,
    /// The person as DICOM writes names: family, given, middle, prefix, suffix, with `^` between.
    pub display_name: String,
    /// Whom the person signs for; empty: the institution that the image names.
    pub organization: String,
    /// What the password is held against.
    pub hash: Credential,
    /// What the person may do.
    pub role: Role,
}

/// What a user may do; everybody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing but read.
    Reader,
    /// Sign reports.
    Radiologist,
    /// Retry and drop studies.
    Admin,
}

impl Role {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Radiologist => "radiologist",
            Self::Admin => "admin",
        }
    }

    /// Whether reports are signed in this role. An administrator is no physician.
    pub const fn signs(self) -> bool {
        matches!(self, Self::Radiologist)
    }

    /// Whether studies are retried and dropped in this role.
    pub const fn administers(self) -> bool {
        matches!(self, Self::Admin)
    }
}

impl User {
    /// The name as it is said: given names before the family's.
    pub fn spoken_name(&self) -> String {
        person_name::spoken(&self.display_name)
    }
}

impl Checker<'_> {
    pub(super) fn users(&mut self, settings: &Settings) -> Option<Vec<User>> {
        let entries = settings.arrays.get("user").map_or(&[][..], Vec::as_slice);
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let (mut all, mut whole) = (Vec::new(), true);
        for entry in entries {
            let keys = Keys::of_entry(&keys::USER, entry);
            match self.user(&keys) {
                Some(user) => {
                    if let Some(first) = seen.insert(user.name.clone(), entry.place.clone()) {
                        let why = format!("{:?} names a user already, at {first}", user.name);
                        self.complain(&keys, "name", &why, "give each user a name of their own");
                    }
                    all.push(user);
                }
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    fn user(&mut self, keys: &Keys<'_>) -> Option<User> {
        let name = self.user_name(keys);
        let display_name = self.line(keys, "display_name", "\"Doe^Jane^^Dr.\"");
        let display_name = display_name.filter(|name| self.is_person(keys, name));
        let organization = self.line(keys, "organization", "\"General Hospital\"");
        let hash = self.hash(keys);
        let roles = [Role::Reader, Role::Radiologist, Role::Admin].map(|role| (role.name(), role));
        let role = self.word(keys, "role", &roles);
        Some(User {
            name: name?,
            display_name: display_name?,
            organization: organization?,
            hash: hash?,
            role: role?,
        })
    }

    fn user_name(&mut self, keys: &Keys<'_>) -> Option<String> {
        let name = self.text(keys, "name")?;
        let good = (1..=64).contains(&name.chars().count())
            && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if !good {
            let why = format!("{name:?} is no name to sign in with: 1 to 64 characters, no spaces");
            self.complain(keys, "name", &why, "write a short name, for example \"jdoe\"");
        }
        good.then_some(name)
    }

    /// A text that an attribute of VR LO or a component group of a PN can hold.
    fn line(&mut self, keys: &Keys<'_>, key: &'static str, example: &str) -> Option<String> {
        let text = self.text(keys, key)?.trim().to_owned();
        let good = text.chars().count() <= 64 && !text.chars().any(|c| c.is_control() || c == '\\');
        if !good {
            let why = format!("{text:?} has more than 64 characters, a backslash or a control one");
            self.complain(keys, key, &why, &format!("write for example {example}"));
        }
        good.then_some(text)
    }

    fn is_person(&mut self, keys: &Keys<'_>, name: &str) -> bool {
        let parts = name.split('^').count();
        let family = name.split('^').next().is_some_and(|family| !family.trim().is_empty());
        let good = family && parts <= 5 && !name.contains('=');
        if !good {
            let why = format!("{name:?} is no person name: family, given, middle, prefix, suffix");
            self.complain(keys, "display_name", &why, "write for example \"Doe^Jane^^Dr.\"");
        }
        good
    }

    fn hash(&mut self, keys: &Keys<'_>) -> Option<Credential> {
        match self.text(keys, "hash")?.parse() {
            Ok(hash) => Some(hash),
            Err(error) => {
                let why = format!("this is {error}");
                self.complain(keys, "hash", &why, "write what `thorascribe user hash` prints");
                None
            }
        }
    }
}
