//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file: line and column from 1.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In a variable of the environment.
    Variable(String),
    /// A file as a whole.
    WholeFile(PathBuf),
    /// Nowhere: the program's own default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key's path, for example `node.ae_title`; empty where there is none.
    pub key: String,
    /// What was found, and what is allowed.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A default that does not hold by itself.
    pub(super) fn of_default(key: &str, error: &dyn fmt::Display) -> Self {
        Self {
            place: Place::Default,
            key: key.to_owned(),
            message: error.to_string(),
            remedy: format!("set {key}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n    remedy: {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// A single error.
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// In the order of the file; `None` when nothing is wrong.
    pub fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| match &problem.place {
            Place::File { line, column, .. } => (0, *line, *column),
            Place::WholeFile(_) | Place::Variable(_) | Place::Default => (1, 0, 0),
        });
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The single errors.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has an error")?,
            n => write!(f, "the configuration has {n} errors")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
