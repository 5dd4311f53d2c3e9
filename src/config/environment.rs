//! Variables of the environment: `THORASCRIBE_A__B` overrides `a.b`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Value;

use super::error::{Place, Problem};
use super::file::{Setting, Settings};
use super::keys::{self, Key, Kind, Table};

/// A copy of the environment, so that it is read once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What this process was started with.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Nothing at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// These variables.
    pub fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
        Self(variables.into_iter().map(own).collect())
    }

    /// These variables, with the spool at `path`.
    #[must_use]
    pub fn with_spool(mut self, path: &Path) -> Self {
        self.0.insert("THORASCRIBE_SPOOL__PATH".into(), path.as_os_str().to_owned());
        self
    }

    /// A variable that holds a path; empty counts as not set.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(&OsString::from(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The configuration file that it names.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.path("THORASCRIBE_CONFIG")
    }

    /// Whether it names a configuration file.
    pub fn names_file(&self) -> bool {
        self.file().is_some()
    }

    fn ours(&self) -> impl Iterator<Item = (String, &OsString)> {
        self.0.iter().filter_map(|(name, value)| {
            let name = name.to_str()?;
            name.starts_with(PREFIX).then(|| (name.to_owned(), value))
        })
    }
}

const PREFIX: &str = "THORASCRIBE_";

/// The variable that overrides a key.
pub(super) fn variable(table: &Table, key: &Key) -> String {
    format!("{PREFIX}{}__{}", table.name.to_ascii_uppercase(), key.name.to_ascii_uppercase())
}

/// Overrides `settings` by what the environment says.
pub(super) fn apply(
    environment: &Environment,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in environment.ours() {
        let known = keys::paths().find(|(table, key)| variable(table, key) == name);
        let place = Place::Variable(name.clone());
        let Some((table, key)) = known else {
            problems.extend(unknown(&name, place));
            continue;
        };
        let path = format!("{}.{}", table.name, key.name);
        match value.to_str().ok_or("is not Unicode".to_owned()).and_then(|v| parse(v, key.kind)) {
            Ok(value) => {
                settings.keys.insert(path, Setting { value, place });
            }
            Err(why) => problems.push(Problem {
                place,
                key: path,
                message: format!("the value {why}; allowed is {}", key.kind.name()),
                remedy: format!("set {name} to {}", key.kind.name()),
            }),
        }
    }
}

/// Names with `__` are meant for the configuration; of the others only those that are a key but
/// for the second underscore.
fn unknown(name: &str, place: Place) -> Option<Problem> {
    let names: Vec<String> = keys::paths().map(|(table, key)| variable(table, key)).collect();
    if !name.contains("__") {
        let meant = names.iter().find(|known| known.replacen("__", "_", 1) == name)?;
        return Some(Problem {
            place,
            key: String::new(),
            message: "this name overrides no key: table and key are joined by two underscores"
                .to_owned(),
            remedy: format!("write {meant}"),
        });
    }
    if let Some(array) = keys::ARRAYS.iter().find(|array| is_within(name, array)) {
        return Some(Problem {
            place,
            key: array.name.to_owned(),
            message: format!("[[{}]] is a list, and no variable sets one", array.name),
            remedy: format!("write it into the file, and unset {name}"),
        });
    }
    let remedy = match keys::nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("write {meant}, or unset {name}"),
        None => format!("unset {name}"),
    };
    let message = "this name overrides no key of the configuration".to_owned();
    Some(Problem { place, key: String::new(), message, remedy })
}

/// Whether a name would be that of a key of such a table.
fn is_within(name: &str, table: &Table) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__"));
    rest.is_some_and(|(first, _)| first.eq_ignore_ascii_case(table.name))
}

fn parse(text: &str, kind: Kind) -> Result<Value, String> {
    let wrong = || format!("{text:?} does not fit");
    let integer = || text.trim().parse::<i64>().ok().map(Value::Integer);
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Integer => integer().ok_or_else(wrong),
        Kind::IntegerOrText => Ok(integer().unwrap_or_else(|| Value::String(text.to_owned()))),
        Kind::Flag => text.trim().parse().map(Value::Boolean).ok().ok_or_else(wrong),
        // As TOML writes it, or the bare words with commas between.
        Kind::Texts if text.trim_start().starts_with('[') => {
            text.trim().parse::<Value>().ok().ok_or_else(wrong)
        }
        Kind::Texts => {
            let word = |word: &str| Value::String(word.trim().to_owned());
            Ok(Value::Array(text.split(',').map(word).collect()))
        }
    }
}
