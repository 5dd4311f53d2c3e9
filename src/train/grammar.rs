//! The summary grammar: a label set in, a one-paragraph summary of a radiograph out.
//!
//! The phrases stand in `phrases.toml`. A summary names every positive finding in its place and
//! again in the impression, denies some of those absent, and says nothing that the labels do not
//! hold. The same labels and seed give the same text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::chance::Chance;
use super::error::TrainError;
use super::label::{FINDINGS, Finding, LabelSet};

/// The grammar with its phrases.
#[derive(Debug)]
pub struct Grammar {
    phrases: Phrases,
    /// The entry of each of [`FINDINGS`], in their order.
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrases {
    lungs: Section,
    pleura: Section,
    heart: Section,
    mediastinum: Section,
    bones: Section,
    devices: Section,
    impression: Impression,
    finding: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    clear: Vec<String>,
    #[serde(default)]
    many: Vec<String>,
    #[serde(default)]
    absent: Vec<String>,
}

/// From so many findings of one part on they share a sentence: one each would be tiring to read.
const MANY: usize = 4;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Impression {
    opening: Vec<String>,
    normal: Vec<String>,
    unnamed: Vec<String>,
    findings: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    place: Place,
    name: String,
    present: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Lungs,
    Pleura,
    Heart,
    Mediastinum,
}

impl Grammar {
    /// The project's grammar.
    pub fn embedded() -> Result<Self, TrainError> {
        Self::parse(include_str!("phrases.toml"))
    }

    fn parse(text: &str) -> Result<Self, TrainError> {
        let phrases: Phrases = toml::from_str(text)
            .map_err(|source| TrainError::Grammar { reason: source.to_string() })?;
        let entry = |finding: &Finding| {
            phrases.finding.get(finding.observation.name()).cloned().ok_or_else(|| {
                TrainError::Grammar {
                    reason: format!("[finding.{}] is missing", finding.observation.name()),
                }
            })
        };
        let entries = FINDINGS.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { phrases, entries })
    }

    /// The words by which a summary names this finding of [`FINDINGS`].
    pub fn name(&self, index: usize) -> Option<&str> {
        self.entries.get(index).map(|entry| entry.name.as_str())
    }

    /// The labels that a summary of this grammar states, by its impression. Of "abnormal" without
    /// a finding it knows the phrases of the grammar.
    pub fn read(&self, summary: &str) -> LabelSet {
        let openings = &self.phrases.impression.opening;
        let impression = openings.iter().find_map(|o| summary.split_once(o.as_str()));
        let impression = impression.map_or("", |(_, rest)| rest).to_lowercase();
        let named = |entry: &Entry| impression.contains(&entry.name);
        let unnamed = |p: &String| impression.contains(&p.to_lowercase());
        let abnormal = self.phrases.impression.unnamed.iter().any(unnamed);
        LabelSet::from_flags(self.entries.iter().map(named).chain([abnormal]))
    }

    /// Writes the summary of a study with these labels.
    pub fn write(&self, labels: LabelSet, seed: u64) -> String {
        let mut writer = Writer { grammar: self, labels, chance: Chance::new(seed), out: vec![] };
        writer.place(Place::Lungs, &self.phrases.lungs);
        writer.place(Place::Pleura, &self.phrases.pleura);
        writer.place(Place::Heart, &self.phrases.heart);
        writer.place(Place::Mediastinum, &self.phrases.mediastinum);
        writer.say(&self.phrases.bones.clear, &[]);
        writer.say(&self.phrases.devices.clear, &[]);
        writer.impression(&self.phrases.impression);
        writer.out.join(" ")
    }
}

struct Writer<'a> {
    grammar: &'a Grammar,
    labels: LabelSet,
    chance: Chance,
    out: Vec<String>,
}

impl Writer<'_> {
    /// The sentences of one part of the chest.
    fn place(&mut self, place: Place, section: &Section) {
        let grammar = self.grammar;
        let here = || grammar.entries.iter().enumerate().filter(|(_, e)| e.place == place);
        let (present, absent): (Vec<_>, Vec<_>) =
            here().partition(|(index, _)| self.labels.contains(*index));
        if present.is_empty() {
            self.say(&section.clear, &[]);
            return;
        }
        if present.len() >= MANY && !section.many.is_empty() {
            let names: Vec<&str> = present.iter().map(|(_, e)| e.name.as_str()).collect();
            self.say(&section.many, &[joined(&names, "and")]);
        } else {
            for (_, entry) in present {
                self.say(&entry.present, &[]);
            }
        }
        if section.absent.is_empty() || absent.is_empty() {
            return;
        }
        // The pleura denies all that is absent; of the lungs' many findings two are enough.
        let keep = if place == Place::Lungs { 2 } else { absent.len() };
        let mut chosen = self.chance.shuffled(absent.len());
        chosen.truncate(keep);
        chosen.sort_unstable();
        let names: Vec<&str> =
            chosen.iter().filter_map(|i| absent.get(*i)).map(|(_, e)| e.name.as_str()).collect();
        self.say(&section.absent, &[joined(&names, "or")]);
    }

    fn impression(&mut self, phrases: &Impression) {
        self.say(&phrases.opening, &[]);
        let grammar = self.grammar;
        let names: Vec<&str> = (0..FINDINGS.len())
            .filter(|index| self.labels.contains(*index))
            .filter_map(|index| grammar.name(index))
            .collect();
        if !names.is_empty() {
            self.say(&phrases.findings, &[joined(&names, "and")]);
        } else if self.labels.is_abnormal() {
            self.say(&phrases.unnamed, &[]);
        } else {
            self.say(&phrases.normal, &[]);
        }
    }

    /// One of the phrases, its `{list}` filled in.
    fn say(&mut self, phrases: &[String], list: &[String]) {
        if let Some(phrase) = self.chance.pick(phrases) {
            let list = list.first().map_or("", String::as_str);
            let said = phrase.replace("{list}", list);
            self.out.push(if phrase.starts_with("{list}") { capitalised(&said) } else { said });
        }
    }
}

/// "a", "a or b", "a, b, or c".
fn joined(names: &[&str], word: &str) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} {word} {two}"),
        [start @ .., last] => format!("{}, {word} {last}", start.join(", ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
}
