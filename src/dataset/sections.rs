//! The sections of a free-text report: what was found, and the impression.

use super::error::DatasetError;
use super::phrases::{Phrases, phrases};

/// A heading is no longer than this, bytes.
const LONGEST_HEADING: usize = 60;

/// What a report says, white space undone. A part is empty where the report has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sections {
    /// What was found.
    pub findings: String,
    /// What it amounts to.
    pub impression: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Findings,
    Impression,
    Other,
}

/// Parts a report at its headings ("FINDINGS:"). Text above the first heading belongs to no
/// section; of a heading that comes twice both texts count.
pub fn sections(report: &str) -> Result<Sections, DatasetError> {
    let phrases = phrases()?;
    let mut parts = Sections::default();
    let mut section = Section::Other;
    for line in report.lines() {
        let mut text = line.trim();
        if let Some((found, rest)) = heading(text, phrases) {
            section = found;
            text = rest;
        }
        let into = match section {
            Section::Findings => &mut parts.findings,
            Section::Impression => &mut parts.impression,
            Section::Other => continue,
        };
        for word in text.split_whitespace() {
            if !into.is_empty() {
                into.push(' ');
            }
            into.push_str(word);
        }
    }
    Ok(parts)
}

/// The section that a line opens, and the text behind its heading.
fn heading<'a>(line: &'a str, phrases: &Phrases) -> Option<(Section, &'a str)> {
    let (name, rest) = line.split_once(':')?;
    let name = name.trim();
    if name.is_empty() || name.len() > LONGEST_HEADING {
        return None;
    }
    let known = [
        (&phrases.findings, Section::Findings),
        (&phrases.impression, Section::Impression),
        (&phrases.other, Section::Other),
    ];
    if let Some((_, section)) = known.into_iter().find(|(words, _)| words.is_match(name)) {
        return Some((section, rest));
    }
    let shouted = name.chars().any(char::is_alphabetic) && !name.chars().any(char::is_lowercase);
    shouted.then_some((Section::Other, rest))
}
