//! What a report's text says of each observation: present, absent or uncertain.
//!
//! Comes in: the text of a report, in English. Goes out: one [`Finding`] an observation that the
//! text speaks of, and how well such labels agree with others. Promises: the rules are phrases in
//! `phrases.toml`; no panic and linear time on any text; line ends make no difference. May use:
//! `vocabulary`.

use serde::{Deserialize, Serialize};

use crate::vocabulary::Observation;

mod agreement;
mod assessed;
mod attribute;
mod label;
pub mod labelled;
mod lexicon;
mod part;
mod past;
mod phrase;
mod scope;
mod sentences;
mod statement;
mod words;

pub use agreement::{Agreement, Rates};
pub use assessed::{Assessed, Score, assess};
pub use label::label;

/// What is said of an observation. Within a report the greater outranks the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is said to be absent.
    Negative,
    /// It may be there.
    Uncertain,
    /// It is there.
    Positive,
}

impl State {
    /// All, the one that outranks the others first.
    pub const ALL: [Self; 3] = [Self::Positive, Self::Negative, Self::Uncertain];

    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Negative => "negative",
            Self::Uncertain => "uncertain",
            Self::Positive => "positive",
        }
    }
}

/// The side of the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Laterality {
    /// The left side.
    Left,
    /// The right side.
    Right,
    /// Both sides.
    Bilateral,
}

impl Laterality {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Bilateral => "bilateral",
        }
    }
}

/// How much of it there is, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A trace.
    Minimal,
    /// Little, of what has a size.
    Small,
    /// Little, of what has a degree.
    Mild,
    /// Between the others.
    Moderate,
    /// Much, of what has a size.
    Large,
    /// Much, of what has a degree.
    Severe,
}

impl Severity {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Small => "small",
            Self::Mild => "mild",
            Self::Moderate => "moderate",
            Self::Large => "large",
            Self::Severe => "severe",
        }
    }
}

/// What a text says of one observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of what.
    pub observation: Observation,
    /// Whether it is there.
    pub state: State,
    /// On which side, where said.
    pub laterality: Option<Laterality>,
    /// How much of it, where said.
    pub severity: Option<Severity>,
    /// The words that it rests on.
    pub text: String,
}

/// What a text says: at most one entry an observation, in the order of [`Observation`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// The entries.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// What is said of an observation; `None` when nothing is.
    pub fn get(&self, observation: Observation) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.observation == observation)
    }

    /// The observations that are there.
    pub fn positive(&self) -> impl Iterator<Item = Observation> {
        self.findings.iter().filter(|f| f.state == State::Positive).map(|f| f.observation)
    }

    /// The state of an observation; `None` when the text does not speak of it.
    pub fn state(&self, observation: Observation) -> Option<State> {
        self.get(observation).map(|finding| finding.state)
    }
}
