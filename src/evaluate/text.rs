//! Texts against references: ROUGE as the Python package `rouge-score` computes it, BLEU-4 as
//! sacreBLEU does for one sentence.
//!
//! Both see the same words: the text in lower case, everything but `a` to `z` and `0` to `9`
//! a space (the package's default, without a stemmer).

use std::collections::HashMap;

use serde::Serialize;

use super::EvaluateError;
use super::bootstrap::{Groups, Interval};
use super::f1::Counts;
use crate::findings::{self, State};
use crate::vocabulary::Observation;

/// Precision, recall and F1 of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Overlap {
    /// Of the hypothesis, the part that the reference has.
    pub precision: f64,
    /// Of the reference, the part that the hypothesis has.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Overlap {
    fn of(common: usize, hypothesis: usize, reference: usize) -> Self {
        let precision = common as f64 / hypothesis.max(1) as f64;
        let recall = common as f64 / reference.max(1) as f64;
        let sum = precision + recall;
        let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, f1 }
    }
}

/// The words that are compared.
pub fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let kept = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    kept.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn ngrams(words: &[String], n: usize) -> HashMap<&[String], usize> {
    let mut counts = HashMap::new();
    for ngram in words.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// How many n-grams both have, each counted as often as in the text that has fewer of it.
fn common(hypothesis: &[String], reference: &[String], n: usize) -> usize {
    let reference = ngrams(reference, n);
    let shared = ngrams(hypothesis, n).into_iter();
    shared.map(|(ngram, times)| times.min(reference.get(ngram).copied().unwrap_or(0))).sum()
}

fn many(words: &[String], n: usize) -> usize {
    (words.len() + 1).saturating_sub(n)
}

/// ROUGE-N over words.
pub fn rouge_n(hypothesis: &[String], reference: &[String], n: usize) -> Overlap {
    Overlap::of(common(hypothesis, reference, n), many(hypothesis, n), many(reference, n))
}

/// ROUGE-L over words: the longest common subsequence.
pub fn rouge_l(hypothesis: &[String], reference: &[String]) -> Overlap {
    let mut row = vec![0_usize; hypothesis.len()];
    for expected in reference {
        let (mut diagonal, mut left) = (0, 0);
        for (cell, word) in row.iter_mut().zip(hypothesis) {
            let above = *cell;
            *cell = if word == expected { diagonal + 1 } else { above.max(left) };
            (diagonal, left) = (above, *cell);
        }
    }
    let longest = row.last().copied().unwrap_or_default();
    Overlap::of(longest, hypothesis.len(), reference.len())
}

/// Sentence BLEU-4, 0 to 1, as `sacrebleu.sentence_bleu`: exponential smoothing, and no longer
/// n-grams than the hypothesis has (effective order).
pub fn bleu4(hypothesis: &[String], reference: &[String]) -> f64 {
    let (mut logs, mut order, mut smooth, mut any) = (0.0, 0, 1.0, false);
    for n in 1..=4 {
        let total = many(hypothesis, n);
        if total == 0 {
            break;
        }
        let correct = common(hypothesis, reference, n);
        any |= correct > 0;
        order = n;
        let precision = if correct == 0 {
            smooth *= 2.0;
            1.0 / (smooth * total as f64)
        } else {
            correct as f64 / total as f64
        };
        logs += precision.ln();
    }
    if !any {
        return 0.0;
    }
    let (said, expected) = (hypothesis.len() as f64, reference.len() as f64);
    let brevity = if said < expected { (1.0 - expected / said).exp() } else { 1.0 };
    brevity * (logs / order as f64).exp()
}

/// Figures over all pairs: means, and for F1s and BLEU their 95% intervals.
#[derive(Debug, Serialize)]
pub struct TextFigures {
    /// How many.
    pub pairs: usize,
    /// Words.
    pub rouge1: Overlap,
    /// Pairs of words.
    pub rouge2: Overlap,
    /// Longest common subsequence.
    #[serde(rename = "rougeL")]
    pub rouge_l: Overlap,
    /// Mean of the sentences'.
    pub bleu4: f64,
    /// The positive findings that the texts state.
    pub findings_f1: FindingsF1,
    /// 95% intervals by name, of F1 where there is one.
    pub intervals: std::collections::BTreeMap<&'static str, Option<Interval>>,
}

/// F1 of positive findings, by the rules of `findings`.
#[derive(Debug, Serialize)]
pub struct FindingsF1 {
    /// All pooled; `None` when neither side states any.
    pub micro: Option<f64>,
    /// The mean over the observations that the references state.
    #[serde(rename = "macro")]
    pub macro_: Option<f64>,
}

/// Compares each hypothesis with the reference of the same place.
///
/// # Errors
/// When they are not as many.
pub fn compare(
    hypotheses: &[&str],
    references: &[&str],
    seed: u64,
) -> Result<TextFigures, EvaluateError> {
    if hypotheses.len() != references.len() {
        let (hypotheses, references) = (hypotheses.len(), references.len());
        return Err(EvaluateError::Pairs { hypotheses, references });
    }
    let texts = || hypotheses.iter().zip(references);
    let pairs: Vec<_> = texts().map(|(h, r)| (words(h), words(r))).collect();
    let each = |f: &dyn Fn(&[String], &[String]) -> Overlap| {
        pairs.iter().map(|(h, r)| f(h, r)).collect::<Vec<_>>()
    };
    let (one, two) = (each(&|h, r| rouge_n(h, r, 1)), each(&|h, r| rouge_n(h, r, 2)));
    let long = each(&rouge_l);
    let bleu: Vec<f64> = pairs.iter().map(|(h, r)| bleu4(h, r)).collect();
    let counts: Vec<Counts> = texts()
        .map(|(h, r)| {
            let (said, so) = (findings::label(h), findings::label(r));
            Counts::of(Observation::ALL.map(|o| {
                let positive = |state: Option<State>| Some(state == Some(State::Positive));
                (o, said.state(o) == Some(State::Positive), positive(so.state(o)))
            }))
        })
        .collect();
    let groups = Groups::single(pairs.len());
    let f1 = |overlaps: &[Overlap]| overlaps.iter().map(|o| o.f1).collect::<Vec<_>>();
    let spread = |values: Vec<f64>| groups.interval(seed, |times| weighted_mean(&values, times));
    let intervals = std::collections::BTreeMap::from([
        ("rouge1", spread(f1(&one))),
        ("rouge2", spread(f1(&two))),
        ("rougeL", spread(f1(&long))),
        ("bleu4", spread(bleu.clone())),
        ("findings_micro", groups.interval(seed, |t| Counts::sum(&counts, t).micro())),
        ("findings_macro", groups.interval(seed, |t| Counts::sum(&counts, t).macro_())),
    ]);
    let all = Counts::sum(&counts, &vec![1; counts.len()]);
    Ok(TextFigures {
        pairs: pairs.len(),
        rouge1: mean_overlap(&one),
        rouge2: mean_overlap(&two),
        rouge_l: mean_overlap(&long),
        bleu4: mean(bleu.into_iter()),
        findings_f1: FindingsF1 { micro: all.micro(), macro_: all.macro_() },
        intervals,
    })
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let many = values.len().max(1) as f64;
    values.sum::<f64>() / many
}

fn mean_overlap(overlaps: &[Overlap]) -> Overlap {
    let of = |get: fn(&Overlap) -> f64| mean(overlaps.iter().map(get));
    Overlap { precision: of(|o| o.precision), recall: of(|o| o.recall), f1: of(|o| o.f1) }
}

fn weighted_mean(values: &[f64], times: &[u32]) -> Option<f64> {
    let total: u32 = times.iter().sum();
    let sum: f64 = values.iter().zip(times).map(|(v, t)| v * f64::from(*t)).sum();
    (total > 0).then(|| sum / f64::from(total))
}
