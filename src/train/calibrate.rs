//! From logits to probabilities and decisions: how findings go together in NIH's table, then, on
//! the patients kept back, a temperature and a shift a score, one probability from which findings are
//! called, one for "abnormal".

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::{Map, Value};

use super::development::Development;
use super::encoder::{CARD, Encoder, EncoderCard, FromRelease, ScoreCard, WEIGHTS};
use super::error::TrainError;
use super::files;
use super::label::{FINDINGS, LabelSet, SCORES, score_names};
use super::release::Release;
use super::variables::{self, Tensors};
use super::workers::Workers;

/// Index of the score "abnormal".
const OF_ALL: usize = FINDINGS.len();

/// What calibration goes by, beside the radiographs kept back.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    /// The logit of how common each label is among the radiographs trained on.
    pub(super) common: Vec<f32>,
    /// NIH's table of the whole release, where there is one.
    pub(super) release: Option<&'a Release>,
}

/// A change of all logits that the scoring heads can take in.
#[derive(Debug)]
struct Affine {
    /// By score, its share of each logit.
    slopes: [[f32; SCORES]; SCORES],
    shifts: [f32; SCORES],
}

impl Affine {
    /// Each score by itself.
    fn own(slopes: [f32; SCORES], shifts: [f32; SCORES]) -> Self {
        let row = |score| {
            std::array::from_fn(|other| {
                let own: Option<&f32> = slopes.get(score).filter(|_| other == score);
                own.copied().unwrap_or_default()
            })
        };
        Self { slopes: std::array::from_fn(row), shifts }
    }

    /// To each finding's logit what the others say of it, each by how far its logit lies from that
    /// of how common it is.
    fn together(common: &[f32], release: &Release) -> Self {
        let mut mixed = Self::own([1.0; SCORES], [0.0; SCORES]);
        for (score, row) in release.together().iter().enumerate() {
            let others = row.iter().zip(common).enumerate().filter(|(o, _)| *o != score);
            let (Some(slopes), Some(shift)) =
                (mixed.slopes.get_mut(score), mixed.shifts.get_mut(score))
            else {
                continue;
            };
            *shift = -others.map(|(_, (slope, common))| slope * common).sum::<f32>();
            slopes.iter_mut().zip(row).for_each(|(slope, given)| *slope = *given);
        }
        mixed
    }

    fn rows(&self, logits: &mut [Vec<f32>]) {
        for row in logits {
            let changed = self.slopes.iter().zip(self.shifts);
            *row = changed
                .map(|(slopes, shift)| {
                    slopes.iter().zip(&*row).map(|(s, x)| s * x).sum::<f32>() + shift
                })
                .collect();
        }
    }

    fn heads(&self, tensors: &mut Tensors) -> Result<(), TrainError> {
        let slopes = Tensor::from_vec(self.slopes.concat(), (SCORES, SCORES), &Device::Cpu)?;
        if let Some(weight) = tensors.get_mut("heads.weight") {
            *weight = slopes.matmul(weight)?;
        }
        if let Some(bias) = tensors.get_mut("heads.bias") {
            let mixed = slopes.matmul(&bias.unsqueeze(1)?)?.squeeze(1)?;
            *bias = (mixed + Tensor::from_slice(&self.shifts, SCORES, &Device::Cpu)?)?;
        }
        Ok(())
    }
}

/// Takes the calibration into the scoring heads among the tensors of an encoder, chooses
/// thresholds, and writes both files of an encoder into `out`. Gives the figures on the development
/// split.
pub(super) fn write(
    mut tensors: Tensors,
    card: &mut EncoderCard,
    beside: &Beside<'_>,
    (development, workers): (&Development, &Workers),
    out: &Path,
) -> Result<Map<String, Value>, TrainError> {
    let source = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
    let encoder = Encoder::load(&card.encoder, &source)?;
    let mut logits = development.logits(&encoder, workers)?;
    let truth = development.truth();
    let mut take = |change: &Affine, logits: &mut Vec<Vec<f32>>| {
        change.rows(logits);
        change.heads(&mut tensors)
    };
    if let Some(release) = beside.release {
        take(&Affine::together(&beside.common, release), &mut logits)?;
    }
    take(&fitted(&logits, truth), &mut logits)?;
    if let Some(release) = beside.release {
        let abnormal = release.prevalence().last().copied().unwrap_or_default();
        take(&as_common_as(abnormal, truth), &mut logits)?;
        card.release = Some(FromRelease { radiographs: release.sets().len(), abnormal });
    }
    let thresholds = thresholds(&logits, truth);
    let names = score_names().into_iter().zip(thresholds).enumerate();
    card.scores = names
        .map(|(score, (name, threshold))| ScoreCard {
            name: name.to_owned(),
            threshold,
            auroc: development.auroc(&logits, score),
        })
        .collect();
    variables::save(&tensors, &out.join(WEIGHTS))?;
    files::write_toml(&out.join(CARD), card)?;
    Ok(development.figures(&logits))
}

/// The probability of "abnormal" for radiographs of which this share is abnormal, where it was
/// fitted to those kept back: the odds change as those of the two shares do.
fn as_common_as(share: f32, truth: &[LabelSet]) -> Affine {
    let here = truth.iter().filter(|set| set.is_abnormal()).count() as f32;
    let log_odds = |share: f32| (share.clamp(0.01, 0.99) / (1.0 - share.clamp(0.01, 0.99))).ln();
    let shift = log_odds(share) - log_odds((here + 1.0) / (truth.len() as f32 + 2.0));
    Affine::own(
        [1.0; SCORES],
        std::array::from_fn(|score| if score == OF_ALL { shift } else { 0.0 }),
    )
}

/// How far the temperature of one finding may go from that of all: the cost in nats of a factor e.
/// A rare finding has too few positives for a temperature of its own.
const PULL: f32 = 8.0;
/// How far its shift may go from that of all: the cost in nats of one.
const SHIFT_PULL: f32 = 8.0;

/// By score: what its logits are divided by, and what is then added. All findings together get the
/// pair with the least cross-entropy; each then has its own, which may leave that of all at a cost.
/// "Abnormal" has positives enough for one by itself.
fn fitted(logits: &[Vec<f32>], truth: &[LabelSet]) -> Affine {
    let all = pair(|t, b| (0..OF_ALL).map(|score| loss(logits, truth, score, (t, b))).sum());
    let own = |score: usize| {
        pair(|t, b| {
            let away = if score == OF_ALL {
                0.0
            } else {
                PULL * (t / all.0).ln().powi(2) + SHIFT_PULL * (b - all.1).powi(2)
            };
            loss(logits, truth, score, (t, b)) + away
        })
    };
    let pairs: [(f32, f32); SCORES] = std::array::from_fn(own);
    Affine::own(pairs.map(|(temperature, _)| 1.0 / temperature), pairs.map(|(_, shift)| shift))
}

/// The temperature and the shift with the smallest cost, by turns: each given the other, until
/// neither moves.
fn pair(cost: impl Fn(f32, f32) -> f32) -> (f32, f32) {
    let (mut temperature, mut shift) = (1.0, 0.0);
    for _ in 0..MOST_TURNS {
        let before = (temperature, shift);
        temperature = best(temperatures(), |t| cost(t, shift));
        shift = best(shifts(), |b| cost(temperature, b));
        if before == (temperature, shift) {
            break;
        }
    }
    (temperature, shift)
}

/// More than any fit has taken.
const MOST_TURNS: usize = 50;

/// 0.25 to 8.
fn temperatures() -> impl Iterator<Item = f32> {
    (0..=100).map(|i| 0.25 * 32f32.powf(i as f32 / 100.0))
}

/// -3 to 3.
fn shifts() -> impl Iterator<Item = f32> {
    (-60..=60).map(|i| i as f32 / 20.0)
}

/// The candidate with the smallest cost.
fn best(candidates: impl Iterator<Item = f32>, cost: impl Fn(f32) -> f32) -> f32 {
    candidates.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(1.0)
}

/// The summed cross-entropy of one score under a temperature and a shift.
fn loss(
    logits: &[Vec<f32>],
    truth: &[LabelSet],
    score: usize,
    (temperature, shift): (f32, f32),
) -> f32 {
    let one = |(row, labels): (&Vec<f32>, &LabelSet)| {
        let x = row.get(score).copied().unwrap_or_default() / temperature + shift;
        let y = f32::from(u8::from(labels.contains(score)));
        x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
    };
    logits.iter().zip(truth).map(one).sum()
}

/// What of F1 is given for fewer calls: near its top the curve is flat, and where exactly the top lies
/// on so few radiographs is chance.
const GIVEN: f64 = 0.01;

/// By score: the logit from which on it is positive. All findings share a probability, since calls
/// chosen for each rare finding alone rest on a handful of positives: the highest one whose F1 over
/// all of them together is as good as the best. "Abnormal" is called where sensitivity and
/// specificity together are highest (Youden).
fn thresholds(logits: &[Vec<f32>], truth: &[LabelSet]) -> [f32; SCORES] {
    let at = |p: f32| (p / (1.0 - p)).ln();
    let shared: Vec<(f32, f64)> = (5..=60)
        .map(|percent| at(percent as f32 / 100.0))
        .map(|threshold| (threshold, micro_f1(logits, truth, threshold)))
        .collect();
    let best = shared.iter().map(|(_, f1)| *f1).fold(0.0, f64::max);
    let as_good = shared.iter().rev().find(|(_, f1)| *f1 >= best - GIVEN);
    let shared = as_good.map(|(threshold, _)| *threshold).unwrap_or_default();
    let certain = (20..=80).map(|percent| at(percent as f32 / 100.0));
    let certain = certain
        .max_by(|a, b| {
            youden(logits, truth, OF_ALL, *a).total_cmp(&youden(logits, truth, OF_ALL, *b))
        })
        .unwrap_or_default();
    std::array::from_fn(|score| if score == OF_ALL { certain } else { shared })
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
    fn sureness_becomes_as_frequent_as_it_says() {
        let (mut logits, truth) = studies();
        // Shifted by one beside that.
        logits.iter_mut().flatten().for_each(|logit| *logit += 1.0);
        fitted(&logits, &truth).rows(&mut logits);
        for (row, set) in logits.iter().zip(&truth).take(4) {
            for logit in row {
                let probability = 1.0 / (1.0 + (-logit).exp());
                let said = if *logit > 0.0 { 0.75 } else { 0.25 };
                assert!((probability - said).abs() < 0.06, "{set:?}: {probability}");
            }
        }
    }

    /// Effusion and atelectasis come together in half of the rows, neither in the others.
    fn release() -> Release {
        let set = |i: usize| {
            let both = i.is_multiple_of(2);
            LabelSet::from_flags((0..SCORES).map(|s| both && (s == 0 || s == 2)))
        };
        Release::of((0..10).map(set).collect())
    }

    #[test]
    fn a_finding_moves_with_the_evidence_for_another() {
        let common: Vec<f32> = (0..SCORES).map(|score| -(score as f32)).collect();
        let release = release();
        let mixed = Affine::together(&common, &release);
        // Nothing beyond how common each is: nothing to take in.
        let mut rows = vec![common.clone(), common.clone()];
        rows[1][0] += 2.0;
        mixed.rows(&mut rows);
        let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
        assert!(rows[0].iter().zip(&common).all(|(a, b)| near(*a, *b)), "{rows:?}");
        // Whoever has the one has the other: all of the evidence counts for both, and for no third.
        for (score, (now, before)) in rows[1].iter().zip(&common).enumerate() {
            let moved = if score == 0 || score == 2 { 2.0 } else { 0.0 };
            assert!(near(now - before, moved), "{score}: {before} to {now}");
        }
    }

    #[test]
    fn the_odds_of_abnormal_follow_how_common_it_is() {
        let (mut logits, truth) = studies();
        let before = logits.first().cloned().unwrap();
        // Half of these are abnormal; the odds of a quarter are a third of that.
        as_common_as(0.25, &truth).rows(&mut logits);
        assert_eq!(logits[0][..OF_ALL], before[..OF_ALL]);
        assert!((logits[0][OF_ALL] - before[OF_ALL] + 3f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn heads_and_rows_change_alike() {
        let mut chance = crate::train::chance::Chance::new(3);
        let mut number = || chance.normal();
        let change = Affine {
            slopes: std::array::from_fn(|_| std::array::from_fn(|_| number())),
            shifts: std::array::from_fn(|i| i as f32),
        };
        let device = &Device::Cpu;
        let weight = Tensor::randn(0f32, 1.0, (SCORES, 4), device).unwrap();
        let bias = Tensor::randn(0f32, 1.0, SCORES, device).unwrap();
        let seen = Tensor::randn(0f32, 1.0, (2, 4), device).unwrap();
        let of = |tensors: &Tensors| -> Vec<Vec<f32>> {
            let product = seen.matmul(&tensors["heads.weight"].t().unwrap()).unwrap();
            product.broadcast_add(&tensors["heads.bias"]).unwrap().to_vec2().unwrap()
        };
        let mut tensors =
            Tensors::from([("heads.weight".to_owned(), weight), ("heads.bias".to_owned(), bias)]);
        let mut rows = of(&tensors);
        change.rows(&mut rows);
        change.heads(&mut tensors).unwrap();
        for (a, b) in rows.iter().flatten().zip(of(&tensors).iter().flatten()) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn thresholds_part_the_two_groups() {
        let (logits, truth) = studies();
        for threshold in thresholds(&logits, &truth) {
            assert!(threshold > -3.3 && threshold <= 3.3, "{threshold}");
        }
    }

    #[test]
    fn of_thresholds_as_good_the_one_that_calls_least_is_taken() {
        let at = |p: f32| (p / (1.0 - p)).ln();
        // One positive of so many scores 0.2, the others 0.5; what is absent 0.02.
        let shared = |others: usize| {
            let study = |p: f32, present: bool| {
                let mut row = vec![at(0.02); SCORES];
                row[0] = at(p);
                (row, LabelSet::from_flags([present]))
            };
            let mut all = vec![study(0.2, true)];
            all.extend((0..others).map(|_| study(0.5, true)));
            all.extend((0..50).map(|_| study(0.02, false)));
            let (logits, truth): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            thresholds(&logits, &truth)[0]
        };
        let near = |a: f32, p: f32| assert!((a - at(p)).abs() < 1e-4, "{a} instead of {}", at(p));
        // To miss it costs 0.006 of F1, or 0.012.
        near(shared(80), 0.5);
        near(shared(40), 0.2);
    }
}
