//! The phrases of `phrases.toml`, compiled once.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::error::DatasetError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sections: SectionWords,
    marks: MarkWords,
    views: Words,
    comparison: Words,
    rest: RestWords,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SectionWords {
    findings: Vec<String>,
    impression: Vec<String>,
    other: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkWords {
    pattern: String,
    needs: String,
    verb: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    sentences: Vec<String>,
    phrases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestWords {
    sentences: Vec<String>,
}

/// What is taken out, whole sentences and parts of them.
#[derive(Debug)]
pub(super) struct Removal {
    /// A sentence that matches one is dropped.
    pub(super) sentences: Vec<Regex>,
    /// What matches is taken out of its sentence.
    pub(super) phrases: Vec<Regex>,
}

/// The compiled phrases.
#[derive(Debug)]
pub(super) struct Phrases {
    /// A heading of findings, of an impression, of anything else; without its colon.
    pub(super) findings: Regex,
    pub(super) impression: Regex,
    pub(super) other: Regex,
    /// A mark of de-identification, what before it needs a word after, what after it one before.
    pub(super) mark: Regex,
    pub(super) needs: Regex,
    pub(super) verb: Regex,
    pub(super) views: Removal,
    pub(super) comparison: Removal,
    /// What is left of a sentence that says nothing any more.
    pub(super) rest: Vec<Regex>,
}

/// The phrases, or what is wrong with their file.
pub(super) fn phrases() -> Result<&'static Phrases, DatasetError> {
    static PHRASES: LazyLock<Result<Phrases, String>> =
        LazyLock::new(|| read(include_str!("phrases.toml")));
    PHRASES.as_ref().map_err(|reason| DatasetError::Phrases(reason.clone()))
}

fn read(text: &str) -> Result<Phrases, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let heading = |words: &[String]| compile(&format!("^(?:{})$", words.join("|")));
    Ok(Phrases {
        findings: heading(&file.sections.findings)?,
        impression: heading(&file.sections.impression)?,
        other: heading(&file.sections.other)?,
        mark: compile(&file.marks.pattern)?,
        needs: compile(&file.marks.needs)?,
        verb: compile(&file.marks.verb)?,
        views: removal(&file.views)?,
        comparison: removal(&file.comparison)?,
        rest: all(&file.rest.sentences)?,
    })
}

fn removal(words: &Words) -> Result<Removal, String> {
    Ok(Removal { sentences: all(&words.sentences)?, phrases: all(&words.phrases)? })
}

fn all(patterns: &[String]) -> Result<Vec<Regex>, String> {
    patterns.iter().map(|pattern| compile(pattern)).collect()
}

/// Without regard to case; patterns are matched against text whose white space is single spaces.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .build()
        .map_err(|error| format!("{pattern}: {error}"))
}
