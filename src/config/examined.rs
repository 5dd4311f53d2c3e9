//! A configuration as far as it holds, for those who hold it against what it names.

use std::fmt::Display;
use std::path::Path;

use super::environment::Environment;
use super::error::{ConfigErrors, Problem};
use super::file::{self, Settings};
use super::value::Keys;
use super::{Config, check};

/// A configuration, and what is wrong with it so far. Files, models and conditions that it names are
/// for others to look at; what they find goes to the rest, so that all is told at once.
#[derive(Debug)]
pub struct Examined {
    config: Config,
    problems: Vec<Problem>,
    settings: Settings,
}

impl Examined {
    /// Reads and checks as [`Config::load_from`] does.
    ///
    /// # Errors
    /// A file that cannot be read, or is no TOML.
    pub fn read(named: Option<&Path>, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let settings = file::gather(named, environment, &mut problems)?;
        let (config, problems) = check::examine(&settings, environment, problems)?;
        Ok(Self { config, problems, settings })
    }

    /// What it says. Defaults stand in for what is wrong: it is to be looked at, not to run with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What came of a look; errors go to the rest.
    pub fn take<T>(&mut self, looked: Result<T, ConfigErrors>) -> Option<T> {
        match looked {
            Ok(found) => Some(found),
            Err(errors) => {
                self.problems.extend_from_slice(errors.problems());
                None
            }
        }
    }

    /// Something wrong with a key of a `[table]`, at its place.
    pub fn complain(&mut self, table: &str, key: &str, why: &dyn Display, remedy: &str) {
        if let Some(keys) = Keys::of_table(&self.settings, table) {
            self.problems.push(Problem {
                place: keys.place_of(key),
                key: keys.path(key),
                message: why.to_string(),
                remedy: remedy.to_owned(),
            });
        }
    }

    /// The configuration, when nothing is wrong with it.
    ///
    /// # Errors
    /// Everything that is.
    pub fn passed(self) -> Result<Config, ConfigErrors> {
        ConfigErrors::of(self.problems).map_or(Ok(self.config), Err)
    }
}
