//! What conditions are asked about: the study, what was found, who sent it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde::Serialize;

use crate::findings::{Assessed, Laterality, Severity, State};
use crate::object::StoredObject;
use crate::radiograph::age::age_years;
use crate::spool::Sender;
use crate::vocabulary::{AeTitle, Observation, Priority};

/// The name beside the observations under which "abnormal" stands.
pub(super) const ABNORMAL: &str = "abnormal";

/// Everything that a condition may name but the priority.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// `study`
    pub study: StudyFacts,
    /// `findings`: all 21 observations, and `abnormal`.
    pub findings: BTreeMap<&'static str, FindingFacts>,
    /// `sender`
    pub sender: SenderFacts,
}

/// The study, by the image that it was or would be drafted from. Texts are empty where the object
/// does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct StudyFacts {
    /// Modality (0008,0060).
    pub modality: String,
    /// Body Part Examined (0018,0015).
    pub body_part: String,
    /// View Position (0018,5101).
    pub view: String,
    /// Study Description (0008,1030).
    pub description: String,
    /// Series Description (0008,103E).
    pub series_description: String,
    /// Protocol Name (0018,1030).
    pub protocol: String,
    /// Station Name (0008,1010).
    pub station: String,
    /// Institution Name (0008,0080).
    pub institution: String,
    /// Institutional Department Name (0008,1040).
    pub department: String,
    /// Manufacturer (0008,0070).
    pub manufacturer: String,
    /// Patient's Sex (0010,0040).
    pub patient_sex: String,
    /// The patient's age in years, -1 where it is not known.
    pub patient_age: f64,
    /// Study Instance UID (0020,000D).
    pub uid: String,
    /// How many images the study has here.
    pub images: usize,
    /// Whether a draft was made.
    pub drafted: bool,
    /// Why not; empty where one was made.
    pub reason: String,
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FindingFacts {
    /// `positive`, `uncertain`, `negative`; `absent` where neither text nor score speaks of it.
    pub state: &'static str,
    /// The model's probability; without one, what the text says stands for it: 1 for positive, 0.5
    /// for uncertain, else 0.
    pub score: f64,
    /// How far the state can be relied on; without a score as `score`.
    pub confidence: f64,
    /// `left`, `right`, `bilateral` or empty.
    pub laterality: &'static str,
    /// `minimal`, `small`, `mild`, `moderate`, `large`, `severe` or empty.
    pub severity: &'static str,
    /// Whether text and score say the same, or one of them is silent.
    pub agrees: bool,
}

/// The probability that a study is abnormal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Abnormal {
    /// In [0, 1].
    pub score: f32,
    /// From which one on the model calls a study abnormal; 0.5 where it does not say.
    pub threshold: Option<f32>,
}

impl Abnormal {
    /// Of a model's score, where it gives one, and its thresholds.
    pub fn of(score: Option<f32>, thresholds: &BTreeMap<String, f32>) -> Option<Self> {
        Some(Self { score: score?, threshold: thresholds.get(ABNORMAL).copied() })
    }
}

/// Who sent the study.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct SenderFacts {
    /// Its AE title.
    pub ae_title: String,
    /// The AE title that it called.
    pub called: String,
    /// Its address.
    pub address: String,
}

impl SenderFacts {
    /// Of an association.
    pub fn new(calling: Option<&AeTitle>, called: &AeTitle, address: Option<IpAddr>) -> Self {
        Self {
            ae_title: calling.map(|title| title.as_str().to_owned()).unwrap_or_default(),
            called: called.as_str().to_owned(),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
        }
    }
}

impl From<&Sender> for SenderFacts {
    fn from(sender: &Sender) -> Self {
        Self::new(Some(&sender.calling), &sender.called, Some(sender.address))
    }
}

impl StudyFacts {
    /// By an object of the study, which has so many images here.
    pub fn of(object: &StoredObject, images: usize) -> Self {
        let text = |tag: Tag| object.text(tag).unwrap_or_default();
        Self {
            modality: text(tags::MODALITY),
            body_part: text(tags::BODY_PART_EXAMINED),
            view: text(tags::VIEW_POSITION),
            description: text(tags::STUDY_DESCRIPTION),
            series_description: text(tags::SERIES_DESCRIPTION),
            protocol: text(tags::PROTOCOL_NAME),
            station: text(tags::STATION_NAME),
            institution: text(tags::INSTITUTION_NAME),
            department: text(tags::INSTITUTIONAL_DEPARTMENT_NAME),
            manufacturer: text(tags::MANUFACTURER),
            patient_sex: text(tags::PATIENT_SEX),
            patient_age: age_years(object).map_or(-1.0, f64::floor),
            uid: object.study_uid().to_string(),
            images,
            drafted: true,
            reason: String::new(),
        }
    }
}

impl Default for FindingFacts {
    fn default() -> Self {
        Self {
            state: "absent",
            score: 0.0,
            confidence: 0.0,
            laterality: "",
            severity: "",
            agrees: true,
        }
    }
}

impl From<&Assessed> for FindingFacts {
    fn from(found: &Assessed) -> Self {
        let by_text = match found.state {
            State::Positive => 1.0,
            State::Uncertain => 0.5,
            State::Negative => 0.0,
        };
        let score = found.score.map_or(by_text, f64::from);
        Self {
            state: found.state.name(),
            score,
            confidence: found.confidence.map_or(score, f64::from),
            laterality: found.laterality.map_or("", Laterality::name),
            severity: found.severity.map_or("", Severity::name),
            agrees: found.agrees.unwrap_or(true),
        }
    }
}

impl Facts {
    /// Of a study with what was found in it and the probability that it is abnormal.
    pub fn new(
        study: StudyFacts,
        found: &[Assessed],
        abnormal: Option<Abnormal>,
        sender: SenderFacts,
    ) -> Self {
        let mut findings: BTreeMap<&'static str, FindingFacts> =
            Observation::ALL.map(|o| (o.name(), FindingFacts::default())).into();
        findings.extend(found.iter().map(|found| (found.observation.name(), found.into())));
        // Without a score a study is abnormal when a finding is there.
        let positive = |found: &&Assessed| {
            found.state == State::Positive
                && !matches!(
                    found.observation,
                    Observation::NoFinding | Observation::SupportDevices
                )
        };
        let by_text = if found.iter().any(|found| positive(&found)) { 1.0 } else { 0.0 };
        let score = abnormal.map_or(by_text, |abnormal| f64::from(abnormal.score));
        let threshold = abnormal.and_then(|abnormal| abnormal.threshold).map_or(0.5, f64::from);
        let state = match (abnormal, found.is_empty()) {
            (None, true) => "absent",
            _ if score >= threshold => "positive",
            _ => "negative",
        };
        let abnormal = FindingFacts { state, score, confidence: score, ..FindingFacts::default() };
        findings.insert(ABNORMAL, abnormal);
        Self { study, findings, sender }
    }

    /// With the model's scores of observations that the text is silent about and that have no
    /// threshold: they stay absent, and conditions can ask for the score.
    #[must_use]
    pub fn with_scores(mut self, scores: &[(String, f32)]) -> Self {
        for (name, score) in scores {
            let silent = self.findings.get_mut(name.as_str()).filter(|f| f.state == "absent");
            if let Some(finding) = silent {
                finding.score = f64::from(*score);
                finding.confidence = finding.score;
            }
        }
        self
    }

    /// As JSON, with the priority so far: the values that a condition sees.
    pub(super) fn values(&self, priority: Priority) -> serde_json::Value {
        let mut values = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = values.as_object_mut() {
            map.insert("priority".to_owned(), priority.to_string().into());
        }
        values
    }
}

impl Default for Facts {
    /// A study of which nothing is known.
    fn default() -> Self {
        let study = StudyFacts { patient_age: -1.0, ..StudyFacts::default() };
        Self::new(study, &[], None, SenderFacts::default())
    }
}
