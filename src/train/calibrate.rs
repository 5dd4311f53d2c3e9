//! From logits to probabilities and decisions, on the patients kept back: a temperature a score,
//! one probability from which findings are called, one for "abnormal".

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::{Map, Value};

use super::development::Development;
use super::encoder::{CARD, Encoder, EncoderCard, ScoreCard, WEIGHTS};
use super::error::TrainError;
use super::files;
use super::label::{FINDINGS, LabelSet, SCORES, score_names};
use super::variables::Tensors;
use super::workers::Workers;

/// Takes the temperatures into the scoring heads among the tensors of an encoder, chooses
/// thresholds, and writes both files of an encoder into `out`. Gives the figures on the development
/// split.
pub(super) fn write(
    mut tensors: Tensors,
    card: &mut EncoderCard,
    development: &Development,
    workers: &Workers,
    out: &Path,
) -> Result<Map<String, Value>, TrainError> {
    let source = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
    let encoder = Encoder::load(&card.encoder, &source)?;
    let mut logits = development.logits(&encoder, workers)?;
    let temperatures = temperatures(&logits, development.truth());
    for name in ["heads.weight", "heads.bias"] {
        let Some(tensor) = tensors.get_mut(name) else { continue };
        let mut divisor = Tensor::from_slice(&temperatures, SCORES, &Device::Cpu)?;
        if tensor.rank() > 1 {
            divisor = divisor.unsqueeze(1)?;
        }
        *tensor = tensor.broadcast_div(&divisor)?;
    }
    for row in &mut logits {
        row.iter_mut().zip(temperatures).for_each(|(logit, t)| *logit /= t);
    }
    let thresholds = thresholds(&logits, development.truth());
    let names = score_names().into_iter().zip(thresholds).enumerate();
    card.scores = names
        .map(|(score, (name, threshold))| ScoreCard {
            name: name.to_owned(),
            threshold,
            auroc: development.auroc(&logits, score),
        })
        .collect();
    candle_core::safetensors::save(&tensors, out.join(WEIGHTS))?;
    files::write_toml(&out.join(CARD), card)?;
    Ok(development.figures(&logits))
}

/// How far the temperature of one score may go from that of all: the cost in nats of a factor e.
/// A rare finding has too few positives for a temperature of its own.
const PULL: f32 = 8.0;

/// By score: what its logits are divided by. Each minimises the cross-entropy of the score's own
/// logits and a cost for leaving the temperature that minimises that of all.
fn temperatures(logits: &[Vec<f32>], truth: &[LabelSet]) -> [f32; SCORES] {
    let all = best(|t| (0..SCORES).map(|score| loss(logits, truth, score, t)).sum());
    std::array::from_fn(|score| {
        best(|t| loss(logits, truth, score, t) + PULL * (t / all).ln().powi(2))
    })
}

/// The temperature in 0.25 to 8 with the smallest cost.
fn best(cost: impl Fn(f32) -> f32) -> f32 {
    let candidates = (0..=100).map(|i| 0.25 * 32f32.powf(i as f32 / 100.0));
    candidates.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(1.0)
}

/// The summed cross-entropy of one score under a temperature.
fn loss(logits: &[Vec<f32>], truth: &[LabelSet], score: usize, temperature: f32) -> f32 {
    let one = |(row, labels): (&Vec<f32>, &LabelSet)| {
        let x = row.get(score).copied().unwrap_or_default() / temperature;
        let y = f32::from(u8::from(labels.contains(score)));
        x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
    };
    logits.iter().zip(truth).map(one).sum()
}

/// By score: the logit from which on it is positive. All findings share the probability with the
/// best F1 over all of them together: calls chosen for each rare finding alone rest on a handful of
/// positives. "Abnormal" is called where sensitivity and specificity together are highest (Youden).
fn thresholds(logits: &[Vec<f32>], truth: &[LabelSet]) -> [f32; SCORES] {
    let at = |p: f32| (p / (1.0 - p)).ln();
    let shared = (5..=60).map(|percent| at(percent as f32 / 100.0));
    let shared = shared
        .max_by(|a, b| micro_f1(logits, truth, *a).total_cmp(&micro_f1(logits, truth, *b)))
        .unwrap_or_default();
    let abnormal = FINDINGS.len();
    let certain = (20..=80).map(|percent| at(percent as f32 / 100.0));
    let certain = certain
        .max_by(|a, b| {
            youden(logits, truth, abnormal, *a).total_cmp(&youden(logits, truth, abnormal, *b))
        })
        .unwrap_or_default();
    std::array::from_fn(|score| if score == abnormal { certain } else { shared })
}

/// F1 over all findings pooled, logits at or above the threshold positive.
fn micro_f1(logits: &[Vec<f32>], truth: &[LabelSet], threshold: f32) -> f64 {
    let (mut hits, mut calls, mut positives) = (0, 0, 0);
    for (row, labels) in logits.iter().zip(truth) {
        for (score, logit) in row.iter().take(FINDINGS.len()).enumerate() {
            let (called, positive) = (*logit >= threshold, labels.contains(score));
            hits += usize::from(called && positive);
            calls += usize::from(called);
            positives += usize::from(positive);
        }
    }
    2.0 * hits as f64 / (calls + positives).max(1) as f64
}

/// Sensitivity and specificity, less one.
fn youden(logits: &[Vec<f32>], truth: &[LabelSet], score: usize, threshold: f32) -> f64 {
    let share = |positive: bool| {
        let rows = logits.iter().zip(truth).filter(|(_, l)| l.contains(score) == positive);
        let called = |row: &Vec<f32>| row.get(score).is_some_and(|logit| *logit >= threshold);
        let (called, all) =
            rows.fold((0_usize, 0_usize), |(c, n), (row, _)| (c + usize::from(called(row)), n + 1));
        called as f64 / all.max(1) as f64
    };
    share(true) - share(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Studies whose logit says what is so, three times too sure; one in four is wrong.
    fn studies() -> (Vec<Vec<f32>>, Vec<LabelSet>) {
        let study = |i: usize| {
            let positive = i % 4 < 2;
            let wrong = i % 8 == 1 || i % 8 == 2;
            let logit = if positive == wrong { -3.3 } else { 3.3 };
            (vec![logit; SCORES], LabelSet::from_flags([positive; SCORES]))
        };
        (0..80).map(study).unzip()
    }

    #[test]
    fn a_temperature_makes_sureness_as_frequent_as_it_says() {
        let (logits, truth) = studies();
        for temperature in temperatures(&logits, &truth) {
            let probability = 1.0 / (1.0 + (-3.3 / temperature).exp());
            assert!((probability - 0.75).abs() < 0.02, "{temperature}: {probability}");
        }
    }

    #[test]
    fn thresholds_part_the_two_groups() {
        let (logits, truth) = studies();
        for threshold in thresholds(&logits, &truth) {
            assert!(threshold > -3.3 && threshold <= 3.3, "{threshold}");
        }
    }
}
