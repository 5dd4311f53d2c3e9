//! Single values: read, compared with what is allowed, complained about.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Value;

use super::environment::Environment;
use super::error::{Place, Problem};
use super::file::{Entry, Setting, Settings};
use super::keys::{self, Key, Table};

/// Collects what is wrong while values are read.
pub(super) struct Checker<'a> {
    pub(super) environment: &'a Environment,
    pub(super) problems: Vec<Problem>,
}

/// The keys of one table, with its defaults.
pub(super) struct Keys<'a> {
    table: &'a Table,
    pub(super) written: BTreeMap<&'a str, &'a Setting>,
    /// Where the table begins: the place of what is missing.
    place: Place,
    /// Keys of the table whose value is of another type.
    wrong: &'a [&'static str],
}

impl<'a> Keys<'a> {
    pub(super) fn of_table(settings: &'a Settings, name: &str) -> Option<Self> {
        let table = keys::TABLES.iter().find(|table| table.name == name)?;
        let written = settings.keys.iter().filter_map(|(path, setting)| {
            let (first, key) = path.split_once('.')?;
            (first == name).then_some((key, setting))
        });
        Some(Self { table, written: written.collect(), place: Place::Default, wrong: &[] })
    }

    pub(super) fn of_entry(table: &'a Table, entry: &'a Entry) -> Self {
        let written = entry.keys.iter().map(|(key, setting)| (key.as_str(), setting)).collect();
        Self { table, written, place: entry.place.clone(), wrong: &entry.wrong }
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.table.name)
    }

    pub(super) fn place_of(&self, key: &str) -> Place {
        self.setting(key).map_or_else(|| self.place.clone(), |setting| setting.place)
    }

    /// What was written, else the default.
    pub(super) fn setting(&self, name: &str) -> Option<Setting> {
        if let Some(written) = self.written.get(name) {
            return Some((*written).clone());
        }
        let default = self.table.key(name)?.default?;
        Some(Setting { value: default.parse().ok()?, place: Place::Default })
    }
}

/// What stands for an AE title, and the like: what is allowed, and an example.
pub(super) type Allowed = (&'static str, &'static str);

/// Stands for every AE title.
pub(super) const ANY: &str = "*";

pub(super) const AE_TITLE: Allowed = ("an AE title of 1 to 16 characters", "\"THORASCRIBE\"");
pub(super) const ADDRESS: Allowed =
    ("an IP address and a port", "\"0.0.0.0:11112\" or \"[::]:11112\"");
pub(super) const SIZE: Allowed = ("a size with a unit (B, KiB, MiB, GiB, TiB)", "\"2 GiB\"");
pub(super) const SPAN: Allowed = ("a duration with a unit (ms, s, m, h, d)", "\"30s\"");
pub(super) const RANGE: Allowed = ("an address, or a network in CIDR form", "\"10.0.0.0/8\"");
pub(super) const FINGERPRINT: Allowed = (
    "the SHA-256 of a certificate",
    "what `openssl x509 -noout -fingerprint -sha256` prints after =",
);

impl Checker<'_> {
    pub(super) fn parsed<T>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: Allowed,
    ) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(keys, key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let why = format!("{text:?} is not {}: {error}", allowed.0);
                self.complain(keys, key, &why, &format!("write for example {}", allowed.1));
                None
            }
        }
    }

    pub(super) fn text(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<String> {
        let setting = self.required(keys, key)?;
        setting.value.as_str().map(str::to_owned)
    }

    pub(super) fn flag(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<bool> {
        self.required(keys, key)?.value.as_bool()
    }

    pub(super) fn count(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        least: i64,
        most: i64,
    ) -> Option<usize> {
        let number = self.required(keys, key)?.value.as_integer()?;
        if !(least..=most).contains(&number) {
            let why = format!("{number} is not from {least} to {most}");
            self.complain(keys, key, &why, &format!("write a number from {least} to {most}"));
            return None;
        }
        usize::try_from(number).ok()
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(keys, key)?;
        self.known_words(keys, key, &[text], allowed)?.first().copied()
    }

    pub(super) fn words<T: Clone>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let written = texts(&self.required(keys, key)?.value);
        self.known_words(keys, key, &written, allowed)
    }

    pub(super) fn known_words<T: Clone>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        written: &[String],
        allowed: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let (mut good, mut whole) = (Vec::new(), true);
        for word in written {
            if let Some((_, value)) = allowed.iter().find(|(name, _)| name == word) {
                good.push(value.clone());
                continue;
            }
            let names: Vec<String> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
            let why = format!("{word:?} is unknown; allowed are {}", names.join(", "));
            let remedy = match keys::nearest(word, allowed.iter().map(|(name, _)| *name)) {
                Some(meant) => format!("write {meant:?}"),
                None => "write one of them".to_owned(),
            };
            self.complain(keys, key, &why, &remedy);
            whole = false;
        }
        whole.then_some(good)
    }

    /// `Some(None)` for an empty text. A relative path of a file counts from the file's folder.
    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    pub(super) fn folder(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Option<PathBuf>> {
        let setting = self.required(keys, key)?;
        let text = setting.value.as_str()?;
        if text.is_empty() {
            return Some(None);
        }
        let base = match &setting.place {
            Place::File { path, .. } => path.parent().map_or_else(PathBuf::new, Path::to_owned),
            _ => PathBuf::new(),
        };
        let path = base.join(text);
        Some(Some(std::path::absolute(&path).unwrap_or(path)))
    }

    pub(super) fn required(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Setting> {
        let setting = keys.setting(key);
        if setting.is_none() && !keys.wrong.contains(&key) {
            let kind = keys.table.key(key).map_or("", |key: &Key| key.kind.name());
            let remedy = format!("add {key} to this [[{}]]: {kind}", keys.table.name);
            self.problems.push(Problem {
                place: keys.place.clone(),
                key: keys.path(key),
                message: "this key is missing, and has no default".to_owned(),
                remedy,
            });
        }
        setting
    }

    pub(super) fn complain(&mut self, keys: &Keys<'_>, key: &str, message: &str, remedy: &str) {
        let place = keys.place_of(key);
        self.problems.push(Problem {
            place,
            key: keys.path(key),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
