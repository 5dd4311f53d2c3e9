//! Where a model looked: what each patch of the image gives to a score.
//!
//! A score is a linear layer on the mean of the encoder's patches, so its logit is the mean of
//! what the layer gives for each patch alone. These shares are the class-activation map of Zhou et
//! al. (CVPR 2016), here without any approximation.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::Manifest;
use super::draft::ABNORMAL;
use super::error::{ModelError, Step};
use super::vision::preprocess::Frame;

/// What each patch of an image gives to one score.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Saliency {
    /// The score's name: an observation, or `abnormal`.
    pub label: String,
    /// The score, a probability.
    pub score: f32,
    /// Patches in a row, and rows.
    side: usize,
    /// For each patch, row after row, its share: their mean is the score's logit.
    shares: Vec<f32>,
    /// Where the image lies among the patches.
    frame: Frame,
}

/// What was found is a patient's: only the size is shown.
impl std::fmt::Debug for Saliency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Saliency({0} × {0})", self.side)
    }
}

/// A part of an image, as fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Region {
    /// The left edge.
    pub left: f64,
    /// The upper edge.
    pub top: f64,
    /// The right edge.
    pub right: f64,
    /// The lower edge.
    pub bottom: f64,
}

impl Region {
    /// Its middle: across and down.
    pub fn middle(&self) -> (f64, f64) {
        (f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }
}

impl Saliency {
    /// One map a label. `shares` is `[1, patches, labels]`, `scores` has a probability a label.
    pub(super) fn maps(
        labels: &[String],
        scores: &[f32],
        shares: &Tensor,
        frame: Frame,
    ) -> Result<Vec<Self>, ModelError> {
        let columns = shares
            .get(0)
            .and_then(|shares| shares.t()?.to_vec2::<f32>())
            .step("reading where the model looked")?;
        let maps = labels.iter().zip(scores).zip(columns).map(|((label, score), shares)| Self {
            label: label.clone(),
            score: *score,
            side: shares.len().isqrt(),
            shares,
            frame,
        });
        Ok(maps.collect())
    }

    /// Patches in a row, and rows.
    pub fn side(&self) -> usize {
        self.side
    }

    /// For each patch, row after row, its share; their mean is the score's logit.
    pub fn shares(&self) -> &[f32] {
        &self.shares
    }

    /// The share at a place of the image, fractions of its width and height from the upper left:
    /// between the middles of patches in proportion.
    pub fn at(&self, x: f64, y: f64) -> f32 {
        let last = self.side.saturating_sub(1) as f64;
        let place = |start: f64, length: f64, fraction: f64| {
            ((start + length * fraction) * self.side as f64 - 0.5).clamp(0.0, last)
        };
        let column = place(self.frame.left, self.frame.width, x);
        let row = place(self.frame.top, self.frame.height, y);
        let (across, down) = (column.fract() as f32, row.fract() as f32);
        let (left, top) = (column as usize, row as usize);
        let share = |column: usize, row: usize| {
            let within = self.side.saturating_sub(1);
            let at = row.min(within) * self.side + column.min(within);
            self.shares.get(at).copied().unwrap_or_default()
        };
        let mix = |a: f32, b: f32, part: f32| a + (b - a) * part;
        mix(
            mix(share(left, top), share(left + 1, top), across),
            mix(share(left, top + 1), share(left + 1, top + 1), across),
            down,
        )
    }

    /// How strongly a place speaks for the finding: 0 where it does no more than the mean of the
    /// image's patches, 1 at the peak.
    pub fn heat(&self) -> impl Fn(f64, f64) -> f32 + '_ {
        let on_image = self.on_image();
        let mean =
            on_image.iter().map(|(_, share)| share).sum::<f32>() / on_image.len().max(1) as f32;
        let most = on_image.iter().map(|(_, share)| *share).fold(f32::MIN, f32::max);
        let range = most - mean;
        move |x, y| {
            let above = self.at(x, y) - mean;
            if range > f32::EPSILON && above.is_finite() {
                (above / range).clamp(0.0, 1.0)
            } else {
                0.0
            }
        }
    }

    /// The patch that gives the most, among those whose middle lies on the image.
    pub fn peak(&self) -> Region {
        let on_image = self.on_image();
        let most = on_image.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        self.region(most.map_or(0, |(patch, _)| *patch))
    }

    /// The patch that gives the least.
    pub fn lowest(&self) -> Region {
        let on_image = self.on_image();
        let least = on_image.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        self.region(least.map_or(0, |(patch, _)| *patch))
    }

    /// The patches whose middle lies on the image, with their shares; all when there is none.
    fn on_image(&self) -> Vec<(usize, f32)> {
        let all = || self.shares.iter().copied().enumerate();
        let on = all().filter(|(patch, _)| {
            let (x, y) = self.region(*patch).middle();
            (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y)
        });
        let on: Vec<_> = on.collect();
        if on.is_empty() { all().collect() } else { on }
    }

    fn region(&self, patch: usize) -> Region {
        let side = self.side.max(1);
        let place = |step: usize, start: f64, length: f64| {
            (step as f64 / side as f64 - start) / length.max(f64::EPSILON)
        };
        let (row, column) = (patch / side, patch % side);
        Region {
            left: place(column, self.frame.left, self.frame.width),
            top: place(row, self.frame.top, self.frame.height),
            right: place(column + 1, self.frame.left, self.frame.width),
            bottom: place(row + 1, self.frame.top, self.frame.height),
        }
    }
}

/// The map to show beside a draft: of the finding whose score is the most above its threshold;
/// when none is, of "abnormal".
pub(super) fn shown(maps: &[Saliency], manifest: &Manifest) -> Option<Saliency> {
    let thresholds = manifest.scores.as_ref().map(|scores| &scores.thresholds);
    let above = |map: &Saliency| {
        let threshold = thresholds.and_then(|thresholds| thresholds.get(&map.label));
        map.score / threshold.copied().unwrap_or(0.5).max(f32::EPSILON)
    };
    let findings = maps.iter().filter(|map| map.label != ABNORMAL);
    let strongest = findings.max_by(|a, b| above(a).total_cmp(&above(b)));
    let abnormal = maps.iter().find(|map| map.label == ABNORMAL);
    strongest.filter(|map| above(map) >= 1.0).or(abnormal).or(strongest).cloned()
}
