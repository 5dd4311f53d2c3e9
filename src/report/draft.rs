//! What a model said about a study, and who it was: all that a report is built from, beside the
//! image.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

use super::Verification;
use crate::findings::{Assessed, Laterality, Severity, State};
use crate::vocabulary::{
    AeTitle, InstanceUid, Observation, PatientText, Priority, SeriesUid, StudyUid, Uid,
};

/// A drafted report. Stored with its job, so that a report built again is the same object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The model's text as it came.
    #[serde(with = "patient_text")]
    pub text: PatientText,
    /// The model that wrote it.
    pub model: ModelIdentity,
    /// The prompt that it was given.
    pub prompt: String,
    /// How tokens were chosen, in words that change when the choice does.
    pub sampling: String,
    /// The version of the study's draft, from 1.
    pub version: u32,
    /// When the text was drafted.
    pub created: Created,
    /// The reports of the version before, one an SR class; empty for the first version.
    #[serde(default)]
    pub predecessors: Vec<Predecessor>,
    /// Findings that are stated as codes too.
    #[serde(default)]
    pub findings: Vec<CodedFinding>,
    /// How soon the study should be read.
    #[serde(default)]
    pub priority: Priority,
    /// The version of this program.
    pub program_version: String,
    /// Who signed; nobody, as long as it is a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// The model behind a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Its name.
    pub name: String,
    /// The digest of its manifest, hexadecimal.
    pub digest: String,
}

/// A report that a new version stands in for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// SOP Class UID.
    #[serde(with = "as_text")]
    pub sop_class: Uid,
    /// SOP Instance UID.
    #[serde(with = "as_text")]
    pub instance: InstanceUid,
    /// Study Instance UID.
    #[serde(with = "as_text")]
    pub study: StudyUid,
    /// Series Instance UID.
    #[serde(with = "as_text")]
    pub series: SeriesUid,
}

/// A finding that the text states as present or possible, for the coded part of a report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CodedFinding {
    /// What.
    pub observation: Observation,
    /// Only possible: the text says so, or the model's score speaks against it.
    pub possible: bool,
    /// On which side, where the text says so.
    pub laterality: Option<Laterality>,
    /// How much of it, where the text says so.
    pub severity: Option<Severity>,
    /// The model's probability, where it gives one.
    pub score: Option<f32>,
}

impl CodedFinding {
    /// Of what is known of an observation. What is absent has no code, since a reader that does not
    /// know the modifier would take it for present; nor has what the text does not state.
    pub fn of(found: &Assessed) -> Option<Self> {
        let stated = found.state != State::Negative && !found.text.is_empty();
        stated.then(|| Self {
            observation: found.observation,
            possible: found.state == State::Uncertain || found.agrees == Some(false),
            laterality: found.laterality,
            severity: found.severity,
            score: found.score,
        })
    }
}

/// A moment as a clock on the wall shows it, with the offset from UTC of that clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    local: DateTime,
    offset: Offset,
}

impl Created {
    /// The present moment in this machine's time zone.
    pub fn now() -> Self {
        let now = jiff::ZonedDateTime::now();
        Self { local: now.datetime(), offset: now.offset() }
    }

    /// A moment of a clock that is `offset_minutes` ahead of UTC; `None` beyond a day.
    pub fn new(local: DateTime, offset_minutes: i16) -> Option<Self> {
        let offset = Offset::from_seconds(i32::from(offset_minutes) * 60).ok()?;
        Some(Self { local, offset })
    }

    /// The same moment on a clock with the offset `&ZZXX` of a DICOM object (PS3.5 §6.2, DT);
    /// itself when `zone` is none.
    #[must_use]
    pub fn in_zone(self, zone: &str) -> Self {
        let moved = || {
            let offset = offset(zone)?;
            let utc = self.offset.to_timestamp(self.local).ok()?;
            Some(Self { local: offset.to_datetime(utc), offset })
        };
        moved().unwrap_or(self)
    }

    /// DA: `20261123`.
    pub fn date(self) -> String {
        self.local.strftime("%Y%m%d").to_string()
    }

    /// TM: `102030.123000`.
    pub fn time(self) -> String {
        self.local.strftime("%H%M%S%.6f").to_string()
    }

    /// DT: `20261123102030.123000+0100`.
    pub fn date_time(self) -> String {
        format!("{}{}{}", self.date(), self.time(), zone(self.offset))
    }
}

/// `+0100`.
fn zone(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, minutes) = if seconds < 0 { ('-', -seconds / 60) } else { ('+', seconds / 60) };
    format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

fn offset(zone: &str) -> Option<Offset> {
    let (sign, digits) = zone.trim().split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: i32 = digits.parse().ok()?;
    Offset::from_seconds(sign * (digits / 100 * 3600 + digits % 100 * 60)).ok()
}

impl Serialize for Created {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}{}", self.local, zone(self.offset)))
    }
}

impl<'de> Deserialize<'de> for Created {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parse = || {
            let (local, zone) = text.split_at_checked(text.len().checked_sub(5)?)?;
            Some(Self { local: local.parse().ok()?, offset: offset(zone)? })
        };
        parse().ok_or_else(|| serde::de::Error::custom(format!("no moment: {text:?}")))
    }
}

/// What a report says about the node that built it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's AE title.
    pub ae_title: AeTitle,
    /// Station Name (0008,1010).
    pub station_name: String,
    /// Manufacturer (0008,0070) of node and models.
    pub manufacturer: String,
}

impl NodeIdentity {
    /// A node that is known by its AE title alone.
    pub fn new(ae_title: &AeTitle) -> Self {
        Self {
            ae_title: ae_title.clone(),
            station_name: ae_title.as_str().to_owned(),
            manufacturer: "Thorascribe".to_owned(),
        }
    }
}

/// A draft's text as the sections of a report; at least one of them is there for a text that is
/// not blank, and none is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sections {
    pub(crate) findings: Option<String>,
    pub(crate) impression: Option<String>,
}

/// What opens an impression in the middle of a text.
const HEADINGS: [&str; 2] = ["impression:", "conclusion:"];
/// What opens a last sentence that sums up.
const SUMMARIES: [&str; 4] = ["in summary", "overall", "impression", "in conclusion"];

impl Sections {
    /// Parts a text at its heading, else before a last sentence that sums up; else all of it are
    /// findings.
    pub(crate) fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let heading =
            HEADINGS.iter().filter_map(|heading| Some((lower.find(heading)?, heading.len()))).min();
        if let Some((at, length)) = heading {
            let findings = text.get(..at).and_then(section);
            let impression = text.get(at + length..).and_then(section);
            return Self { findings, impression };
        }
        let last = last_sentence(text);
        let sums_up = |at: usize| {
            let sentence = lower.get(at..).unwrap_or_default();
            SUMMARIES.iter().any(|opening| sentence.starts_with(opening))
        };
        match last.filter(|at| sums_up(*at)) {
            Some(at) => Self {
                findings: text.get(..at).and_then(section),
                impression: text.get(at..).and_then(section),
            },
            None => Self { findings: section(text), impression: None },
        }
    }
}

fn section(text: &str) -> Option<String> {
    const LABEL: &str = "findings:";
    let text = text.trim();
    let labelled = text.get(..LABEL.len()).is_some_and(|start| start.eq_ignore_ascii_case(LABEL));
    let text = if labelled { text.get(LABEL.len()..).unwrap_or_default().trim() } else { text };
    (!text.is_empty()).then(|| text.to_owned())
}

/// Where the last of at least two sentences starts.
fn last_sentence(text: &str) -> Option<usize> {
    let text = text.trim_end();
    let body = text.trim_end_matches(['.', '!', '?']);
    let gap = body.rfind(['.', '!', '?', '\n']).filter(|at| {
        // A full stop within a number or a name parts nothing.
        body.get(at + 1..).is_some_and(|rest| rest.starts_with(char::is_whitespace))
            || body.get(*at..).is_some_and(|rest| rest.starts_with('\n'))
    })?;
    let rest = text.get(gap + 1..)?;
    Some(gap + 1 + rest.len() - rest.trim_start().len())
}

mod patient_text {
    use super::{Deserialize, PatientText};

    pub(super) fn serialize<S: serde::Serializer>(
        text: &PatientText,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text.reveal())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<PatientText, D::Error> {
        String::deserialize(from).map(PatientText::new)
    }
}

mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use super::Deserialize;

    pub(super) fn serialize<T: Display, S: serde::Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{self, Score};

    #[test]
    fn what_the_text_states_is_coded_and_doubt_makes_it_possible() {
        let text = "Small left pneumothorax. No pleural effusion. Possible pneumonia. Edema.";
        let score = |observation, value| Score { observation, value, threshold: Some(0.5) };
        let scores = [
            score(Observation::Pneumothorax, 0.9),
            score(Observation::Edema, 0.1),
            score(Observation::Mass, 0.9),
        ];
        let found = findings::assess(&findings::label(text), &scores);
        let coded: Vec<_> = found.iter().filter_map(CodedFinding::of).collect();
        let possible = |coded: &CodedFinding| (coded.observation, coded.possible);
        assert_eq!(
            coded.iter().map(possible).collect::<Vec<_>>(),
            [
                (Observation::Edema, true),
                (Observation::Pneumonia, true),
                (Observation::Pneumothorax, false),
            ]
        );
        assert_eq!(coded[2].laterality, Some(Laterality::Left));
        assert_eq!(coded[2].severity, Some(Severity::Small));
    }

    /// Findings and impression, nothing for a section that is not there.
    fn parted(text: &str) -> [String; 2] {
        let sections = Sections::of(text);
        [sections.findings, sections.impression].map(Option::unwrap_or_default)
    }

    #[test]
    fn a_text_parts_into_findings_and_impression() {
        for (text, wanted) in [
            ("FINDINGS: Clear.\nIMPRESSION: Normal chest.", ["Clear.", "Normal chest."]),
            (
                "Heart 1.5 times. Clear. Overall, normal.",
                ["Heart 1.5 times. Clear.", "Overall, normal."],
            ),
            ("Lungs are clear. Heart is 1.5 cm.", ["Lungs are clear. Heart is 1.5 cm.", ""]),
            ("Overall normal.", ["Overall normal.", ""]),
            ("Impression: Normal.", ["", "Normal."]),
            ("Clear. Impression: ", ["Clear.", ""]),
            (" \n", ["", ""]),
        ] {
            assert_eq!(parted(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_moment_is_the_same_in_another_zone_and_after_storage() {
        let local = jiff::civil::date(2026, 11, 23).at(0, 20, 30, 123_000_000);
        let moment = Created::new(local, 60).unwrap();
        assert_eq!(moment.date_time(), "20261123002030.123000+0100");
        assert_eq!(moment.in_zone("-0330 ").date_time(), "20261122195030.123000-0330");
        assert_eq!(moment.in_zone("Z").date_time(), moment.date_time());
        let stored = serde_json::to_string(&moment).unwrap();
        assert_eq!(serde_json::from_str::<Created>(&stored).unwrap(), moment);
    }
}
