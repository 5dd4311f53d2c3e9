//! The figures of a model on labelled studies.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::bootstrap::{Groups, Interval, Ranked};
use super::calibration::{ece, ece_by_chance};
use super::changes::Moved;
use super::f1::Counts;
use super::look::Seen;
use super::table::{Study, Table};
use crate::model::{ABNORMAL, Model};
use crate::vocabulary::Observation;

/// The fewest positives of a finding that counts in the mean AUROC.
pub const LEAST_POSITIVES: usize = 10;

/// An AUROC.
#[derive(Debug, Clone, Serialize)]
pub struct Auroc {
    /// `None` without a positive or without a negative.
    pub value: Option<f64>,
    /// Of the 95% interval.
    pub low: Option<f64>,
    /// Of the 95% interval.
    pub high: Option<f64>,
    /// How many positives there are.
    pub positives: usize,
    /// How many studies have score and label.
    pub images: usize,
}

/// The mean AUROC of the findings with enough positives.
#[derive(Debug, Clone, Serialize)]
pub struct MeanAuroc {
    /// The mean.
    pub value: f64,
    /// Of the 95% interval.
    pub low: Option<f64>,
    /// Of the 95% interval.
    pub high: Option<f64>,
    /// Which findings.
    pub findings: Vec<&'static str>,
}

/// The text that is the same for every study and has the best micro-F1.
#[derive(Debug, Clone, Serialize)]
pub struct ConstantText {
    /// Its micro-F1.
    pub micro: f64,
    /// The findings that it states.
    pub findings: Vec<&'static str>,
}

/// How often the draft states a finding exactly when its score is at or above the threshold.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TextScoreAgreement {
    /// Over findings and studies; `None` for a model without scores or thresholds.
    pub all: Option<f64>,
    /// By finding.
    pub by_finding: BTreeMap<&'static str, f64>,
}

/// How long things took, seconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Times {
    /// All, on the wall clock.
    pub total: f64,
    /// A study on one core, the median: reading, encoding, drafting.
    pub study: f64,
}

/// All figures.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// The model.
    pub model: BTreeMap<&'static str, String>,
    /// Studies measured.
    pub images: usize,
    /// Rows passed over since their image is not there or serves no measurement.
    pub skipped: usize,
    /// What a bootstrap draws: patients or images.
    pub resampled_by: &'static str,
    /// By score.
    pub auroc: BTreeMap<&'static str, Auroc>,
    /// Over the findings with at least [`LEAST_POSITIVES`] positives.
    pub mean_auroc: Option<MeanAuroc>,
    /// By column and value: the AUROC of "abnormal" within.
    pub within: BTreeMap<String, BTreeMap<String, Auroc>>,
    /// Of the positive findings that the drafts state: `micro` and `macro`, without "no finding";
    /// and by observation.
    pub f1: BTreeMap<&'static str, Option<f64>>,
    /// 95% intervals of those.
    pub f1_interval: BTreeMap<&'static str, Option<Interval>>,
    /// What a text that never changes would reach.
    pub constant_text: Option<ConstantText>,
    /// Of draft and scores.
    pub agreement: TextScoreAgreement,
    /// How many different drafts there are.
    pub different_texts: usize,
    /// By score: expected calibration error in ten bins of equally many studies.
    pub ece: BTreeMap<&'static str, f64>,
    /// By score: what that error would be of a model whose probabilities are right.
    pub ece_by_chance: BTreeMap<&'static str, f64>,
    /// How far the score of "abnormal" moves when the images are shown in another way, where asked
    /// for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Moved>>,
    /// How long it took.
    pub seconds: Times,
}

/// The figures of what a model said of the studies; `by` names columns to measure within.
pub fn figures(model: &Model, table: &Table, seen: &[Seen], by: &[String], seed: u64) -> Figures {
    let studies = &table.studies;
    let patients = studies.iter().any(|study| study.column("patient").is_some());
    let groups = Groups::named(studies.iter().map(|study| study.column("patient")));
    // "No finding" is none.
    let positive: Vec<Observation> =
        table.observations.iter().copied().filter(|o| *o != Observation::NoFinding).collect();
    let ranked = ranked(table, seen);
    let auroc = ranked.iter().map(|(name, ranked)| (*name, with_interval(ranked, &groups, seed)));
    let auroc: BTreeMap<_, _> = auroc.collect();
    let counts = counts(table, seen, &positive);
    let all = total(&counts);
    let mut f1 = BTreeMap::from([("micro", all.micro()), ("macro", all.macro_())]);
    let each = total(&self::counts(table, seen, &table.observations));
    f1.extend(table.observations.iter().map(|o| (o.name(), each.one(*o))));
    let f1_interval = BTreeMap::from([
        ("micro", groups.interval(seed, |times| Counts::sum(&counts, times).micro())),
        ("macro", groups.interval(seed, |times| Counts::sum(&counts, times).macro_())),
    ]);
    let labelled = |o| studies.iter().filter(|study| study.truth.contains_key(&o)).count();
    let constant = all.best_constant(labelled).map(|(findings, micro)| ConstantText {
        micro,
        findings: findings.into_iter().map(Observation::name).collect(),
    });
    let texts: BTreeSet<&str> = seen.iter().map(|s| s.text.as_str()).collect();
    let mut seconds: Vec<f64> = seen.iter().map(|s| s.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let name = ("name", model.name().to_owned());
    Figures {
        model: BTreeMap::from([name, ("digest", model.digest().to_owned())]),
        images: studies.len(),
        skipped: table.skipped,
        resampled_by: if patients { "patient" } else { "image" },
        mean_auroc: mean_auroc(&ranked, &groups, seed),
        auroc,
        within: within(studies, seen, by, seed),
        f1,
        f1_interval,
        constant_text: constant,
        agreement: agreement(model, table, seen),
        different_texts: texts.len(),
        ece: of_scores(table, seen, ece),
        ece_by_chance: of_scores(table, seen, |items| ece_by_chance(items, seed)),
        changes: None,
        seconds: Times {
            total: 0.0,
            study: seconds.get(seconds.len() / 2).copied().unwrap_or_default(),
        },
    }
}

/// Score and truth of a study, where known.
pub type Item = (Option<f32>, Option<bool>);

/// Score and truth of each study, by the name of the score: "abnormal" and each label column.
pub fn scored<'a>(table: &'a Table, seen: &'a [Seen]) -> Vec<(&'static str, Vec<Item>)> {
    let pairs = || table.studies.iter().zip(seen);
    let abnormal = pairs().map(|(study, seen)| (seen.abnormal(), study.abnormal)).collect();
    let of = |o: &Observation| {
        let pair = |(study, seen): (&Study, &Seen)| (seen.score(*o), study.truth.get(o).copied());
        (o.name(), pairs().map(pair).collect())
    };
    let all = std::iter::once((ABNORMAL, abnormal)).chain(table.observations.iter().map(of));
    all.filter(|(_, items): &(_, Vec<Item>)| items.iter().any(|i| i.0.is_some())).collect()
}

/// Those of [`scored`] that have both.
pub fn known(items: &[Item]) -> Vec<(f32, bool)> {
    items.iter().filter_map(|(score, truth)| Some(((*score)?, (*truth)?))).collect()
}

fn ranked(table: &Table, seen: &[Seen]) -> Vec<(&'static str, Ranked)> {
    scored(table, seen).into_iter().map(|(name, items)| (name, Ranked::new(items))).collect()
}

fn once(items: usize) -> Vec<u32> {
    vec![1; items]
}

/// An AUROC with its interval; groups and items are those of all studies.
fn with_interval(ranked: &Ranked, groups: &Groups, seed: u64) -> Auroc {
    let interval = groups.interval(seed, |times| ranked.auroc(times));
    Auroc {
        value: ranked.auroc(&once(groups.items())),
        low: interval.map(|i| i.low),
        high: interval.map(|i| i.high),
        positives: ranked.positives(),
        images: ranked.known(),
    }
}

fn mean_auroc(ranked: &[(&'static str, Ranked)], groups: &Groups, seed: u64) -> Option<MeanAuroc> {
    let enough = |(name, ranked): &&(&str, Ranked)| {
        *name != ABNORMAL && ranked.positives() >= LEAST_POSITIVES
    };
    let chosen: Vec<_> = ranked.iter().filter(enough).collect();
    let mean = |times: &[u32]| {
        let all: Vec<f64> = chosen.iter().filter_map(|(_, r)| r.auroc(times)).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let interval = groups.interval(seed, mean);
    Some(MeanAuroc {
        value: mean(&once(groups.items()))?,
        low: interval.map(|i| i.low),
        high: interval.map(|i| i.high),
        findings: chosen.iter().map(|(name, _)| *name).collect(),
    })
}

fn within(
    studies: &[Study],
    seen: &[Seen],
    by: &[String],
    seed: u64,
) -> BTreeMap<String, BTreeMap<String, Auroc>> {
    let mut columns = BTreeMap::new();
    for column in by {
        let values: BTreeSet<&str> = studies.iter().filter_map(|s| s.column(column)).collect();
        let part = |value: &str| {
            let chosen: Vec<(&Study, &Seen)> =
                studies.iter().zip(seen).filter(|(s, _)| s.column(column) == Some(value)).collect();
            let groups = Groups::named(chosen.iter().map(|(study, _)| study.column("patient")));
            let ranked = Ranked::new(chosen.iter().map(|(s, seen)| (seen.abnormal(), s.abnormal)));
            with_interval(&ranked, &groups, seed)
        };
        let parts = values.into_iter().map(|value| (value.to_owned(), part(value)));
        columns.insert(column.clone(), parts.collect());
    }
    columns
}

fn counts(table: &Table, seen: &[Seen], observations: &[Observation]) -> Vec<Counts> {
    let case = |(study, seen): (&Study, &Seen)| {
        Counts::of(observations.iter().map(|o| {
            let truth = study.truth.get(o).copied();
            (*o, seen.said.contains(o), truth)
        }))
    };
    table.studies.iter().zip(seen).map(case).collect()
}

fn total(counts: &[Counts]) -> Counts {
    Counts::sum(counts, &once(counts.len()))
}

fn agreement(model: &Model, table: &Table, seen: &[Seen]) -> TextScoreAgreement {
    let thresholds = model.thresholds();
    let mut by_finding = BTreeMap::new();
    for observation in &table.observations {
        let Some(threshold) = thresholds.get(observation.name()) else { continue };
        let scored: Vec<(&Seen, f32)> =
            seen.iter().filter_map(|s| Some((s, s.score(*observation)?))).collect();
        let agree = scored
            .iter()
            .filter(|(s, score)| s.said.contains(observation) == (score >= threshold))
            .count();
        if !scored.is_empty() {
            by_finding.insert(observation.name(), agree as f64 / scored.len() as f64);
        }
    }
    let many = by_finding.len() as f64;
    let all = (many > 0.0).then(|| by_finding.values().sum::<f64>() / many);
    TextScoreAgreement { all, by_finding }
}

fn of_scores(
    table: &Table,
    seen: &[Seen],
    error: impl Fn(&[(f32, bool)]) -> Option<f64>,
) -> BTreeMap<&'static str, f64> {
    let scores = scored(table, seen).into_iter();
    scores.filter_map(|(name, items)| Some((name, error(&known(&items))?))).collect()
}
