//! Findings and impression as one paragraph, as the paper's interactive summaries are.

use std::collections::BTreeSet;

use super::clean::{Removed, clean};
use super::error::DatasetError;
use super::sections::Sections;

/// A cleaned report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// The findings that are left; empty when none are.
    pub findings: String,
    /// The impression that is left.
    pub impression: String,
    /// Both as one paragraph, what is said twice once.
    pub summary: String,
    /// What was taken out.
    pub removed: Removed,
}

/// Cleans both sections and joins them by rules alone.
pub fn summarise(sections: &Sections) -> Result<Cleaned, DatasetError> {
    let (findings, mut removed) = clean(&sections.findings)?;
    let (impression, more) = clean(&sections.impression)?;
    removed += more;
    let mut said = BTreeSet::new();
    let mut summary = Vec::new();
    for sentence in findings.iter().chain(&impression) {
        if said.insert(key(sentence)) {
            summary.push(sentence.as_str());
        }
    }
    let summary = if findings.is_empty() { String::new() } else { summary.join(" ") };
    Ok(Cleaned { findings: findings.join(" "), impression: impression.join(" "), summary, removed })
}

/// The words of a sentence, so that case and punctuation make no second one.
fn key(sentence: &str) -> String {
    let words = sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
