//! How good a model's scores and drafts are on labelled radiographs.

use serde_json::{Value, json};

use super::data::Radiograph;
use super::error::TrainError;
use super::label::{ABNORMAL, FINDINGS, LabelSet, score_names};
use super::workers::Workers;
use crate::evaluate::auroc::auroc;
use crate::evaluate::f1::Counts;
use crate::findings;
use crate::model::{DraftRequest, Model};
use crate::vocabulary::Observation;

/// Figures of a model on one split.
#[derive(Debug, Clone, Default)]
pub struct Assessment {
    /// Radiographs looked at.
    pub studies: usize,
    /// By score: its AUROC and how many positives there are.
    pub auroc: Vec<(&'static str, Option<f64>, usize)>,
    /// Over the fourteen findings, positives pooled: F1 of what the drafts name.
    pub micro_f1: f64,
    /// The same for the best text that is the same for every radiograph.
    pub constant_f1: f64,
    /// By finding and radiograph: how often draft and score at its threshold say the same.
    pub agreement: f64,
    /// How many different drafts there are.
    pub texts: usize,
}

impl Assessment {
    /// The AUROC of "abnormal".
    pub fn abnormal(&self) -> Option<f64> {
        self.auroc.iter().find(|row| row.0 == ABNORMAL).and_then(|row| row.1)
    }

    /// The mean AUROC of the findings with at least so many positives.
    pub fn mean_of_findings(&self, least: usize) -> Option<f64> {
        let rows = self.auroc.iter().filter(|row| row.0 != ABNORMAL && row.2 >= least);
        let known: Vec<f64> = rows.filter_map(|row| row.1).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "studies": self.studies,
            "abnormal": self.abnormal(),
            "mean_of_findings": self.mean_of_findings(1),
            "micro_f1": self.micro_f1,
            "constant_f1": self.constant_f1,
            "agreement": self.agreement,
            "texts": self.texts,
        })
    }
}

struct Seen {
    truth: LabelSet,
    /// By score, in the order of [`score_names`].
    scores: Vec<f32>,
    called: LabelSet,
    said: LabelSet,
    text: String,
}

/// Drafts for every radiograph and compares with the labels.
pub fn assess(
    model: &Model,
    studies: &[Radiograph],
    workers: &Workers,
) -> Result<Assessment, TrainError> {
    let all: Vec<usize> = (0..studies.len()).collect();
    let parts = workers.map(&all, |part| {
        part.iter().filter_map(|i| studies.get(*i)).map(|study| see(model, study)).collect()
    })?;
    let parts: Vec<Vec<Seen>> = parts;
    let seen: Vec<Seen> = parts.into_iter().flatten().collect();
    let auroc = score_names().into_iter().enumerate().map(|(score, name)| {
        let truth: Vec<bool> = seen.iter().map(|s| s.truth.contains(score)).collect();
        let scores: Vec<f32> = seen.iter().filter_map(|s| s.scores.get(score).copied()).collect();
        (name, auroc(&scores, &truth), truth.iter().filter(|t| **t).count())
    });
    let counts = counts(&seen);
    let cases = seen.iter().flat_map(|s| (0..FINDINGS.len()).map(move |f| (s, f)));
    let agree = cases.filter(|(s, f)| s.said.contains(*f) == s.called.contains(*f)).count();
    let mut texts: Vec<&str> = seen.iter().map(|s| s.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    Ok(Assessment {
        studies: seen.len(),
        auroc: auroc.collect(),
        micro_f1: counts.micro().unwrap_or_default(),
        constant_f1: counts.best_constant(|_| seen.len()).map_or(0.0, |(_, f1)| f1),
        agreement: agree as f64 / (seen.len() * FINDINGS.len()).max(1) as f64,
        texts: texts.len(),
    })
}

fn see(model: &Model, study: &Radiograph) -> Result<Seen, TrainError> {
    let draft = model.draft(&study.image, &DraftRequest::default())?;
    let known = draft.scores.iter().map(|(name, score)| (name.as_str(), *score));
    let known: Vec<_> = known.chain(draft.abnormal.map(|score| (ABNORMAL, score))).collect();
    let score = |name: &str| known.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, s)| *s);
    let scores: Vec<f32> = score_names().into_iter().map(score).collect();
    let thresholds = model.manifest().scores.as_ref().map(|s| &s.thresholds);
    let called = score_names().into_iter().zip(&scores).map(|(name, score)| {
        thresholds.and_then(|t| t.get(name)).is_some_and(|threshold| score >= threshold)
    });
    Ok(Seen {
        truth: study.labels,
        called: LabelSet::from_flags(called),
        said: said(&draft.text),
        text: draft.text,
        scores,
    })
}

/// The findings that a text says are there.
fn said(text: &str) -> LabelSet {
    let said: Vec<Observation> = findings::label(text).positive().collect();
    LabelSet::from_flags(FINDINGS.iter().map(|finding| said.contains(&finding.observation)))
}

/// What was said of each radiograph against what is so, summed.
fn counts(seen: &[Seen]) -> Counts {
    let one = |s: &Seen| {
        let (said, truth) = (s.said, s.truth);
        let named = FINDINGS.iter().enumerate();
        Counts::of(named.map(|(at, finding)| {
            (finding.observation, said.contains(at), Some(truth.contains(at)))
        }))
    };
    Counts::sum(&seen.iter().map(one).collect::<Vec<_>>(), &vec![1; seen.len()])
}
