//! Every value, and where it came from.

use std::path::Path;

use serde::Serialize;

use super::environment::{self, Environment};
use super::error::{ConfigErrors, Place};
use super::file::{self, Settings};
use super::keys::{self, Key, Table};
use super::{Config, check};

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// For example `node.bind` or `destination[0].port`.
    pub key: String,
    /// As TOML.
    pub value: String,
    /// Where it came from.
    #[serde(flatten)]
    pub source: Source,
    /// What an empty value stands for, where it stands for something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// Nobody set it.
    Default {
        /// The variable that would.
        #[serde(skip)]
        override_by: Option<String>,
    },
    /// A file.
    File {
        /// Its path.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        variable: String,
    },
}

/// Every key with its value, in the order of the documentation, once the whole is right.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn show(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<(Config, Vec<Shown>), ConfigErrors> {
    let mut problems = Vec::new();
    let settings = file::gather(named, environment, &mut problems)?;
    let config = check::check(&settings, environment, problems)?;
    let shown = all(&settings, &config);
    Ok((config, shown))
}

fn all(settings: &Settings, config: &Config) -> Vec<Shown> {
    let mut shown = Vec::new();
    for (table, key) in keys::paths() {
        let path = format!("{}.{}", table.name, key.name);
        let written = settings.keys.get(&path);
        let (value, source) = match written {
            Some(setting) => (setting.value.to_string(), source(&setting.place)),
            None => (
                key.default.unwrap_or_default().to_owned(),
                Source::Default { override_by: Some(environment::variable(table, key)) },
            ),
        };
        let means = match path.as_str() {
            "spool.path" => Some(config.spool.path.display().to_string()),
            "model.path" if config.model.path.is_none() => Some("the embedded model".to_owned()),
            _ => None,
        };
        shown.push(Shown { key: path, value, source, means });
    }
    for table in keys::ARRAYS {
        shown.extend(entries(settings, table));
    }
    shown
}

fn entries(settings: &Settings, table: &Table) -> Vec<Shown> {
    let entries = settings.arrays.get(table.name).map_or(&[][..], Vec::as_slice);
    let numbered = entries.iter().enumerate();
    numbered
        .flat_map(|(number, entry)| {
            table.keys.iter().filter_map(move |key| {
                let written = entry.keys.get(key.name);
                let (value, source) = match written {
                    Some(setting) if is_secret(table, key) => {
                        ("\"(hidden)\"".to_owned(), source(&setting.place))
                    }
                    Some(setting) => (setting.value.to_string(), source(&setting.place)),
                    None => (key.default?.to_owned(), Source::Default { override_by: None }),
                };
                let key = format!("{}[{number}].{}", table.name, key.name);
                Some(Shown { key, value, source, means: None })
            })
        })
        .collect()
}

/// What may be guessed from is not shown.
fn is_secret(table: &Table, key: &Key) -> bool {
    let secrets = [(keys::USER.name, "hash"), (keys::PEER.name, "passcode_hash")];
    secrets.contains(&(table.name, key.name))
}

fn source(place: &Place) -> Source {
    match place {
        Place::File { path, line, .. } => {
            Source::File { file: path.display().to_string(), line: *line }
        }
        Place::WholeFile(path) => Source::File { file: path.display().to_string(), line: 1 },
        Place::Variable(variable) => Source::Variable { variable: variable.clone() },
        Place::Default => Source::Default { override_by: None },
    }
}
