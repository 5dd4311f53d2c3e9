//! How far probabilities are as frequent as they say, and the temperature that mends it.

use serde::Serialize;

use super::chance::Chance;
use crate::model::{logit, tempered};

/// How many bins of equally many items.
pub const BINS: usize = 10;

/// How many times truth is drawn for [`ece_by_chance`].
const DRAWS: u64 = 200;

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// The mean probability.
    pub said: f64,
    /// How often it was so.
    pub so: f64,
    /// How many items.
    pub items: usize,
}

/// Items by rising probability in bins that hold as many each, as near as can be: equal
/// probabilities stay together, so that the order of the items makes no difference.
pub fn bins(items: &[(f32, bool)]) -> Vec<Bin> {
    let mut sorted = items.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut bins, mut part) = (Vec::new(), Vec::new());
    let mut before = 0;
    for tied in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        part.extend_from_slice(tied);
        let full = (before + part.len()) * BINS >= (bins.len() + 1) * sorted.len();
        if full {
            before += part.len();
            bins.push(bin(&part));
            part.clear();
        }
    }
    bins
}

fn bin(part: &[(f32, bool)]) -> Bin {
    let many = part.len().max(1) as f64;
    Bin {
        said: part.iter().map(|(p, _)| f64::from(*p)).sum::<f64>() / many,
        so: part.iter().filter(|(_, truth)| *truth).count() as f64 / many,
        items: part.len(),
    }
}

/// Expected calibration error: the mean distance of a bin's probability and frequency, by items.
/// `None` without items.
pub fn ece(items: &[(f32, bool)]) -> Option<f64> {
    let distance = |bin: &Bin| (bin.said - bin.so).abs() * bin.items as f64;
    let sum: f64 = bins(items).iter().map(distance).sum();
    (!items.is_empty()).then(|| sum / items.len() as f64)
}

/// The [`ece`] that a perfectly calibrated model with these probabilities would show on as many
/// studies, on average: each study's truth drawn anew by its probability, seeded. What lies above it
/// is the model's; what does not, the small number's. `None` without items.
pub fn ece_by_chance(items: &[(f32, bool)], seed: u64) -> Option<f64> {
    let draw = |index| {
        let mut chance = Chance::of(seed, index);
        ece(&items.iter().map(|(p, _)| (*p, chance.happens(*p))).collect::<Vec<_>>())
    };
    let sum = (0..DRAWS).map(draw).sum::<Option<f64>>()?;
    Some(sum / DRAWS as f64)
}

/// What calibration found of one score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// What its logit is to be divided by.
    pub temperature: f64,
    /// Whether the temperature lies at an end of the range that is searched: the studies set it no
    /// limit.
    pub temperature_at_bound: bool,
    /// On tempered probabilities: the best F1 among those that call between half and three times as
    /// many positive as there are.
    pub threshold: f32,
    /// The same on probabilities as the model gives them.
    pub threshold_as_given: f32,
    /// Expected calibration error as the model gives the score.
    pub ece_before: f64,
    /// The same after the temperature.
    pub ece_after: f64,
    /// Negative log-likelihood a study, before.
    pub nll_before: f64,
    /// The same after.
    pub nll_after: f64,
    /// Studies.
    pub items: usize,
    /// Of them, positive.
    pub positives: usize,
}

/// The highest temperature that is searched; the lowest is one over it.
pub const HOTTEST: f64 = 20.0;

/// The temperature in 1/20 to 20 with the smallest negative log-likelihood. `None` without a
/// positive or without a negative: then every temperature can be bettered.
pub fn calibrate(items: &[(f32, bool)]) -> Option<Calibrated> {
    let positives = items.iter().filter(|(_, truth)| *truth).count();
    if positives == 0 || positives == items.len() {
        return None;
    }
    let nll = |temperature: f64| {
        let one = |(p, truth): &(f32, bool)| {
            let x = logit(*p) / temperature * if *truth { 1.0 } else { -1.0 };
            (-x).max(0.0) + (-x.abs()).exp().ln_1p()
        };
        items.iter().map(one).sum::<f64>() / items.len() as f64
    };
    // Golden section over the inverse temperature's range: the cost is convex in the inverse, so
    // it has one minimum.
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (1.0 / HOTTEST, HOTTEST);
    for _ in 0..100 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if nll(1.0 / left) < nll(1.0 / right) { high = right } else { low = left }
    }
    let temperature = 2.0 / (low + high);
    let after: Vec<(f32, bool)> =
        items.iter().map(|(p, truth)| (tempered(*p, temperature), *truth)).collect();
    let threshold = |items: &[(f32, bool)]| {
        let (scores, truth): (Vec<f32>, Vec<bool>) = items.iter().copied().unzip();
        super::auroc::threshold(&scores, &truth)
    };
    Some(Calibrated {
        temperature,
        temperature_at_bound: temperature.ln().abs() > HOTTEST.ln() - 1e-6,
        threshold: threshold(&after)?,
        threshold_as_given: threshold(items)?,
        ece_before: ece(items)?,
        ece_after: ece(&after)?,
        nll_before: nll(1.0),
        nll_after: nll(temperature),
        items: items.len(),
        positives,
    })
}
