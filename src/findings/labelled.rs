//! Texts whose findings are known: a JSON object a line, `{"text": …, "findings": {"edema":
//! "positive right mild"}}`. The words of a label are a state, and a side and a severity where the
//! text says them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Agreement, Findings, Laterality, Severity, State};
use crate::vocabulary::Observation;

/// A text and what is true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// A sentence or a report.
    pub text: String,
    /// All that the text says; an observation that is not here is not spoken of.
    pub expected: BTreeMap<Observation, Label>,
}

/// What is true of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Whether it is there.
    pub state: State,
    /// On which side, where said.
    pub laterality: Option<Laterality>,
    /// How much of it, where said.
    pub severity: Option<Severity>,
}

/// Why a set of labelled texts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// A line is not of the form above.
    #[error("line {line} is no labelled text: {source}")]
    Form {
        /// Counted from 1.
        line: usize,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A label that is not made of the words for it.
    #[error("line {line}: {label:?} is no label; write a state, then side and severity")]
    Label {
        /// Counted from 1.
        line: usize,
        /// The label as written.
        label: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    findings: BTreeMap<Observation, String>,
}

/// The cases of a set, in its order; empty lines are passed over.
pub fn parse(set: &str) -> Result<Vec<Case>, LabelledError> {
    let mut cases = Vec::new();
    for (at, text) in set.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let line = at + 1;
        let raw: Line =
            serde_json::from_str(text).map_err(|source| LabelledError::Form { line, source })?;
        let mut expected = BTreeMap::new();
        for (observation, label) in raw.findings {
            let parsed = parse_label(&label).ok_or(LabelledError::Label { line, label })?;
            expected.insert(observation, parsed);
        }
        cases.push(Case { text: raw.text, expected });
    }
    Ok(cases)
}

fn parse_label(label: &str) -> Option<Label> {
    let mut words = label.split_whitespace();
    let mut parsed = Label { state: word(words.next()?)?, laterality: None, severity: None };
    for text in words {
        match (word(text), word(text)) {
            (Some(side), _) if parsed.laterality.is_none() => parsed.laterality = Some(side),
            (_, Some(severity)) if parsed.severity.is_none() => parsed.severity = Some(severity),
            _ => return None,
        }
    }
    Some(parsed)
}

fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

impl Case {
    /// Counts how well what was found agrees with what is true.
    pub fn compare(&self, found: &Findings, agreement: &mut Agreement) {
        for observation in Observation::ALL {
            let expected = self.expected.get(&observation).map(|label| label.state);
            agreement.add(observation, expected, found.state(observation));
        }
    }
}
