//! `phrases.toml` as tables to look phrases up in.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::phrase::{PhraseError, Phrases};
use super::{Laterality, Severity};
use crate::vocabulary::Observation;

/// The rules that the program carries.
#[expect(clippy::expect_used, reason = "the file is compiled in, and every test reads it")]
pub(super) static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    Lexicon::parse(include_str!("phrases.toml")).expect("phrases.toml is well formed")
});

/// All phrases.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    pub(super) names: Phrases<Name>,
    pub(super) distractors: Phrases<()>,
    pub(super) other_abnormal: Phrases<()>,
    /// Subjects of [`Lexicon::parts`], by their index there.
    pub(super) subjects: Phrases<usize>,
    pub(super) parts: Vec<Part>,
    pub(super) marks: Phrases<Meaning>,
    pub(super) starts: Phrases<()>,
    pub(super) verbs: Phrases<()>,
    pub(super) joined: Phrases<()>,
    pub(super) links: Phrases<()>,
    /// Of another time: when, the words that may lead to it, the verbs, and the denials that it
    /// makes void.
    pub(super) times: Phrases<()>,
    pub(super) time_leads: Phrases<()>,
    pub(super) past_verbs: Phrases<()>,
    pub(super) past_denials: Phrases<()>,
    /// Verbs of what did not happen within a time, and is denied with it.
    pub(super) changes: Phrases<()>,
    /// Whole sentences that answer the question before them with no.
    pub(super) denials: Phrases<()>,
    pub(super) sides: Phrases<Laterality>,
    pub(super) severities: Phrases<Severity>,
    /// Words of side or degree that are said of something else.
    pub(super) not_sides: Phrases<()>,
    pub(super) not_degrees: Phrases<()>,
    /// Headings; whether what stands under one is passed over.
    pub(super) headings: Phrases<bool>,
    pub(super) abbreviations: Phrases<()>,
    /// What is said of an observation is said of these too.
    pub(super) also: BTreeMap<Observation, Vec<Observation>>,
}

/// What a name of an observation claims when nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) observation: Observation,
    pub(super) claim: Claim,
}

/// What words say of an observation by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is there.
    Present,
    /// It may be there, unless the report names it elsewhere.
    Hint,
    /// It is not there: "heart size is normal".
    Normal,
    /// Spoken of, and left open: "heart size is stable".
    Unsettled,
    /// The denial of this is what is found: no "acute process" is no finding.
    Contrary,
}

/// A part of the body and the states that may be said of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) observation: Observation,
    pub(super) states: Phrases<Claim>,
}

/// How a phrase bears on the observations around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cue {
    /// Denies.
    Negation,
    /// Leaves open.
    Doubt,
    /// Denies a denial, which leaves open.
    DoubleNegation,
    /// Looks for, recommends, or tells of another time.
    Unasserted,
}

/// What a phrase of the scope rules is; of two in one place the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// A statement ends.
    End,
    /// A cue, and where it acts.
    Cue(Cue, Direction),
    /// Looks like a cue and is none.
    Neutral,
}

/// Where a cue acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Before,
    After,
    /// Backward at the end of a statement, else forward.
    Either,
    /// On both sides.
    Around,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    observation: BTreeMap<Observation, Names>,
    distractors: List,
    part: Vec<PartOfFile>,
    part_states: PartStates,
    no_finding: Whole,
    other_abnormal: List,
    negation: CueOfFile,
    double_negation: CueOfFile,
    uncertainty: CueOfFile,
    unasserted: CueOfFile,
    neutral: List,
    past: Past,
    scope: Scope,
    laterality: BTreeMap<Laterality, Vec<String>>,
    severity: BTreeMap<Severity, Vec<String>>,
    not_side: List,
    not_degree: List,
    sections: Sections,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    phrases: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    named: Vec<String>,
    #[serde(default)]
    hints: Vec<String>,
    #[serde(default)]
    also: Vec<Observation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartOfFile {
    observation: Observation,
    subject: Vec<String>,
    positive: Vec<String>,
    normal: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartStates {
    normal: Vec<String>,
    unsettled: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    normal: Vec<String>,
    abnormal: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CueOfFile {
    #[serde(default)]
    before: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default)]
    around: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    times: Vec<String>,
    leads: Vec<String>,
    verbs: Vec<String>,
    denials: Vec<String>,
    changes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    ends: Vec<String>,
    starts: Vec<String>,
    verbs: Vec<String>,
    joined: Vec<String>,
    links: Vec<String>,
    denials: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    skipped: Vec<String>,
    read: Vec<String>,
    abbreviations: Vec<String>,
}

/// Why the rules cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LexiconError {
    #[error("phrases.toml is not as it should be")]
    Form(#[from] toml::de::Error),
    #[error("phrases.toml has a phrase that cannot be looked up")]
    Phrase(#[from] PhraseError),
}

impl Lexicon {
    fn parse(text: &str) -> Result<Self, LexiconError> {
        let file: File = toml::from_str(text)?;
        let mut lexicon = Self {
            distractors: list(&file.distractors.phrases)?,
            other_abnormal: list(&file.other_abnormal.phrases)?,
            not_sides: list(&file.not_side.phrases)?,
            not_degrees: list(&file.not_degree.phrases)?,
            starts: list(&file.scope.starts)?,
            verbs: list(&file.scope.verbs)?,
            joined: list(&file.scope.joined)?,
            links: list(&file.scope.links)?,
            denials: list(&file.scope.denials)?,
            times: list(&file.past.times)?,
            time_leads: list(&file.past.leads)?,
            past_verbs: list(&file.past.verbs)?,
            past_denials: list(&file.past.denials)?,
            changes: list(&file.past.changes)?,
            abbreviations: list(&file.sections.abbreviations)?,
            ..Self::default()
        };
        lexicon.add_names(&file)?;
        lexicon.add_parts(&file)?;
        lexicon.add_marks(&file)?;
        for (side, phrases) in &file.laterality {
            add_all(&mut lexicon.sides, phrases, *side)?;
        }
        for (severity, phrases) in &file.severity {
            add_all(&mut lexicon.severities, phrases, *severity)?;
        }
        add_all(&mut lexicon.headings, &file.sections.skipped, true)?;
        add_all(&mut lexicon.headings, &file.sections.read, false)?;
        Ok(lexicon)
    }

    fn add_names(&mut self, file: &File) -> Result<(), PhraseError> {
        let mut add = |observation, phrases: &[String], claim| {
            add_all(&mut self.names, phrases, Name { observation, claim })
        };
        for (observation, names) in &file.observation {
            add(*observation, &names.named, Claim::Present)?;
            add(*observation, &names.hints, Claim::Hint)?;
        }
        add(Observation::NoFinding, &file.no_finding.normal, Claim::Present)?;
        add(Observation::NoFinding, &file.no_finding.abnormal, Claim::Contrary)?;
        let also = file.observation.iter().map(|(of, names)| (*of, names.also.clone()));
        self.also = also.collect();
        Ok(())
    }

    fn add_parts(&mut self, file: &File) -> Result<(), PhraseError> {
        for part in &file.part {
            add_all(&mut self.subjects, &part.subject, self.parts.len())?;
            let mut states = Phrases::default();
            add_all(&mut states, &part.positive, Claim::Present)?;
            let normal = part.normal.as_ref().unwrap_or(&file.part_states.normal);
            add_all(&mut states, normal, Claim::Normal)?;
            if !part.positive.is_empty() {
                add_all(&mut states, &file.part_states.unsettled, Claim::Unsettled)?;
            }
            self.parts.push(Part { observation: part.observation, states });
        }
        Ok(())
    }

    fn add_marks(&mut self, file: &File) -> Result<(), PhraseError> {
        let cues = [
            (Cue::Negation, &file.negation),
            (Cue::DoubleNegation, &file.double_negation),
            (Cue::Doubt, &file.uncertainty),
            (Cue::Unasserted, &file.unasserted),
        ];
        let marks = &mut self.marks;
        for (cue, phrases) in cues {
            for phrase in &phrases.before {
                let either = phrases.after.contains(phrase);
                let direction = if either { Direction::Either } else { Direction::Before };
                marks.add(phrase, Meaning::Cue(cue, direction))?;
            }
            let after = phrases.after.iter().filter(|phrase| !phrases.before.contains(phrase));
            for phrase in after {
                marks.add(phrase, Meaning::Cue(cue, Direction::After))?;
            }
            add_all(marks, &phrases.around, Meaning::Cue(cue, Direction::Around))?;
        }
        add_all(marks, &file.neutral.phrases, Meaning::Neutral)?;
        add_all(marks, &file.scope.ends, Meaning::End)
    }
}

fn list(phrases: &[String]) -> Result<Phrases<()>, PhraseError> {
    let mut list = Phrases::default();
    add_all(&mut list, phrases, ())?;
    Ok(list)
}

fn add_all<T: Copy>(
    to: &mut Phrases<T>,
    phrases: &[String],
    meaning: T,
) -> Result<(), PhraseError> {
    phrases.iter().try_for_each(|phrase| to.add(phrase, meaning))
}
