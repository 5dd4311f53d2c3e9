//! Triage priority of a study.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How soon a study should be read; orders from least to most urgent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// In its turn.
    #[default]
    Routine,
    /// Before the others.
    Urgent,
    /// At once.
    Stat,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routine => "routine",
            Self::Urgent => "urgent",
            Self::Stat => "stat",
        })
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "routine" => Ok(Self::Routine),
            "urgent" => Ok(Self::Urgent),
            "stat" => Ok(Self::Stat),
            other => Err(format!("a priority is stat, urgent or routine, not {other:?}")),
        }
    }
}
