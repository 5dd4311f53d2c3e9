//! Trains an image encoder, and on its mean over patches a linear score for each finding and for
//! "abnormal". Where the data folder holds NIH's own table, it learns from that too who is shown and
//! how, and that what the same patient's other radiographs show may be there without being named.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::architecture::{Architecture, Beginning, VISION};
use super::augment::{LOOKS, Look};
use super::auxiliary;
use super::calibrate;
use super::chance::Chance;
use super::data::{Radiograph, Split, check, digest, radiographs, table};
use super::development::Development;
use super::error::TrainError;
use super::files;
use super::label::{FINDINGS, LabelSet, SCORES};
use super::loss::binary_cross_entropy;
use super::optimise::Named;
use super::provenance::{FirstWeights, Material};
use super::release::{About, Release};
use super::run::{Plan, Task, fit};
use super::variables;
use super::workers::{Loss, Workers};
use crate::model::checkpoint::manifest::Fit;
use crate::model::layer::Linear;
use crate::model::vision::efficientnet_lite::EfficientNetLite;
use crate::model::vision::encoder::{ImageEncoder, ImageEncoderConfig};
use crate::model::vision::preprocess::fitted;

/// The weights of a trained encoder, in the folder of its run.
pub const WEIGHTS: &str = "encoder.safetensors";
/// What is known of it.
pub const CARD: &str = "encoder.toml";

/// What is known of a trained encoder, beside its weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EncoderCard {
    /// Mean of the pixels, grey values in [0, 1].
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The seed and length of the run, for the model card.
    pub run: String,
    /// The scores, in the order of the head.
    pub scores: Vec<ScoreCard>,
    /// What the scores take from NIH's table of the whole release, where the data held it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<FromRelease>,
    /// The radiographs that it was trained on, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub material: Option<Material>,
    /// What its training began with, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<FirstWeights>,
    /// The encoder's sizes.
    #[serde(alias = "swin")]
    pub encoder: ImageEncoderConfig,
}

/// What the scores take from NIH's table of the whole release: how findings go together, and how
/// common "abnormal" is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FromRelease {
    /// Rows of the table that were counted.
    pub radiographs: usize,
    /// The share of abnormal ones that the probability of "abnormal" is for.
    pub abnormal: f32,
}

/// One score of a trained encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScoreCard {
    /// The observation, or `abnormal`.
    pub name: String,
    /// Logits at or above it are positive.
    pub threshold: f32,
    /// Area under the ROC curve on the development split.
    pub auroc: Option<f64>,
}

/// The encoder with its scoring heads.
#[derive(Debug)]
pub struct Encoder {
    vision: ImageEncoder,
    heads: Linear,
    /// In training, what tells who is shown and how.
    auxiliary: Option<Linear>,
}

impl Encoder {
    /// Takes the tensors from `source`, under the names of a model directory.
    pub fn load(config: &ImageEncoderConfig, source: &VarBuilder<'_>) -> Result<Self, TrainError> {
        let vision = ImageEncoder::load(config, &source.pp(VISION))?;
        Self::scoring(vision, config, source)
    }

    /// For training: takes the variables from `variables`, and the frozen statistics of an
    /// EfficientNet-Lite's norms from `statistics`; `with_auxiliary` says whether to tell who is
    /// shown and how.
    pub fn trainable(
        config: &ImageEncoderConfig,
        variables: &VarBuilder<'_>,
        statistics: &VarBuilder<'_>,
        with_auxiliary: bool,
    ) -> Result<Self, TrainError> {
        let vision = match config {
            ImageEncoderConfig::Swin(_) | ImageEncoderConfig::EvaQFormer(_) => {
                ImageEncoder::load(config, &variables.pp(VISION))?
            }
            ImageEncoderConfig::EfficientNetLite(lite) => ImageEncoder::EfficientNetLite(
                EfficientNetLite::trainable(lite, &variables.pp(VISION), &statistics.pp(VISION))?,
            ),
        };
        let mut encoder = Self::scoring(vision, config, variables)?;
        if with_auxiliary {
            let source = variables.pp(auxiliary::HEAD);
            let head = Linear::load(config.output_width(), auxiliary::OUTPUTS, true, &source)?;
            encoder.auxiliary = Some(head);
        }
        Ok(encoder)
    }

    fn scoring(
        vision: ImageEncoder,
        config: &ImageEncoderConfig,
        source: &VarBuilder<'_>,
    ) -> Result<Self, TrainError> {
        let heads = Linear::load(config.output_width(), SCORES, true, &source.pp("heads"))?;
        Ok(Self { vision, heads, auxiliary: None })
    }

    /// The mean over patches `[batch, width]` and the logits `[batch, scores]` of normalised
    /// pixels.
    pub fn forward(&self, pixels: &Tensor) -> Result<(Tensor, Tensor), TrainError> {
        let pooled = self.vision.forward(pixels)?.pooled;
        let logits = self.heads.forward(&pooled)?;
        Ok((pooled, logits))
    }

    /// The mean over patches, the embedding `[batch, scores]`, which is the logits without their
    /// bias, and the logits.
    pub fn embed(&self, pixels: &Tensor) -> Result<(Tensor, Tensor, Tensor), TrainError> {
        let (pooled, logits) = self.forward(pixels)?;
        let bias = self.heads.forward(&pooled.zeros_like()?)?;
        Ok((pooled, (&logits - bias)?, logits))
    }

    /// The logits of the pixels as they are, without their mirror image, and what the auxiliary
    /// head says.
    fn once(&self, pixels: &Tensor) -> Result<(Tensor, Option<Tensor>), TrainError> {
        let pooled = self.vision.pooled_once(pixels)?;
        let auxiliary = self.auxiliary.as_ref().map(|head| head.forward(&pooled));
        Ok((self.heads.forward(&pooled)?, auxiliary.transpose()?))
    }
}

/// Pixels as the encoder takes them.
#[derive(Debug, Clone)]
pub struct Pixels {
    size: usize,
    channels: usize,
    mean: f32,
    std: f32,
}

impl Pixels {
    /// For an encoder of these sizes.
    pub fn of(card: &EncoderCard) -> Self {
        Self {
            size: card.encoder.image_size(),
            channels: card.encoder.num_channels(),
            mean: card.mean as f32,
            std: card.std as f32,
        }
    }

    /// How large pictures are kept for augmentation: a little larger than the input.
    fn kept(&self) -> usize {
        self.size * 8 / 7
    }

    /// Grey values in [0, 1] of several pictures, one after the other, as a batch.
    fn batch(&self, greys: Vec<f32>) -> Result<Tensor, TrainError> {
        let plane = self.size * self.size;
        let count = greys.len() / plane;
        let values: Vec<f32> = greys.into_iter().map(|g| (g - self.mean) / self.std).collect();
        let one = Tensor::from_vec(values, (count, 1, self.size, self.size), &Device::Cpu)?;
        if self.channels == 1 {
            return Ok(one);
        }
        Ok(one.broadcast_as((count, self.channels, self.size, self.size))?.contiguous()?)
    }

    /// Pictures at the size at which they are kept for augmentation.
    pub fn keep(&self, study: &Radiograph) -> Vec<u8> {
        fitted(&study.image, Fit::PadToSquare, self.kept() as u32).pixels().to_vec()
    }

    /// One kept picture under each of these looks.
    pub fn looks(&self, kept: &[u8], looks: &[Look]) -> Result<Tensor, TrainError> {
        let see = |look: &Look| look.sample(kept, self.kept(), self.size);
        self.batch(looks.iter().flat_map(see).collect())
    }

    /// The pictures as a model sees them, without augmentation.
    pub fn plain(&self, pictures: &[&Radiograph]) -> Result<Tensor, TrainError> {
        let greys = pictures
            .iter()
            .flat_map(|p| fitted(&p.image, Fit::PadToSquare, self.size as u32).pixels().to_vec())
            .map(|p| f32::from(p) / 255.0)
            .collect();
        self.batch(greys)
    }
}

/// The sizes of a run.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// The encoder.
    pub architecture: Architecture,
    /// Columns and rows of the input; for a Swin a multiple of 28.
    pub image: usize,
    /// The learning rate of the scoring heads over that of the encoder.
    pub head_pace: f32,
}

/// Radiographs that one thread encodes at once: as many as keep matrix products busy and memory
/// small.
const AT_ONCE: usize = 4;

/// Half of the weight of the losses is on "abnormal", which has no rare side.
const ABNORMAL_WEIGHT: f32 = 4.0;

/// The average of the variables reaches back about a hundred steps.
const AVERAGING: f32 = 0.99;

/// What a target is at most where only the same patient's other radiographs show a finding.
const HISTORY_TARGET: f32 = 0.5;

/// What the scores should say of a radiograph with these labels, whose patient's others show each
/// finding so often: 1 for what is named, at most a half for what is not.
fn targets(labels: LabelSet, history: [f32; SCORES]) -> [f32; SCORES] {
    let named = labels.targets();
    std::array::from_fn(|score| {
        let [named, shown] = [&named, &history].map(|all| all.get(score).copied().unwrap_or(0.0));
        named.max(HISTORY_TARGET * shown)
    })
}

/// A radiograph to learn from.
struct Example {
    /// The picture, as it is kept for augmentation.
    picture: Vec<u8>,
    labels: LabelSet,
    /// What the scores should say.
    targets: [f32; SCORES],
    about: About,
}

impl Example {
    fn new(study: &Radiograph, pixels: &Pixels, release: Option<&Release>) -> Self {
        let history = release.map(|release| release.history(&study.name)).unwrap_or_default();
        let targets = targets(study.labels, history);
        let about = release.map(|release| release.about(&study.name)).unwrap_or_default();
        Self { picture: pixels.keep(study), labels: study.labels, targets, about }
    }
}

struct EncoderTask {
    encoder: Encoder,
    variables: Vec<Named>,
    pixels: Pixels,
    head_pace: f32,
    settings: Value,
    seed: u64,
    train: Vec<Example>,
    development: Development,
}

impl Task for EncoderTask {
    fn variables(&self) -> &[Named] {
        &self.variables
    }

    fn items(&self) -> usize {
        self.train.len()
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn pace(&self, variable: &str) -> f32 {
        let fresh = variable.starts_with("heads.") || variable.starts_with(auxiliary::HEAD);
        if fresh { self.head_pace } else { 1.0 }
    }

    fn averaging(&self) -> Option<f32> {
        Some(AVERAGING)
    }

    fn loss(&self, items: &[usize], epoch: u64) -> Result<Loss, TrainError> {
        let (kept, size) = (self.pixels.kept(), self.pixels.size);
        let mut greys = Vec::with_capacity(items.len() * size * size);
        let (mut targets, mut abouts) = (Vec::new(), Vec::new());
        for item in items {
            let Some(example) = self.train.get(*item) else { continue };
            let stream = epoch.wrapping_mul(1 << 32).wrapping_add(*item as u64);
            let look = Look::draw(&mut Chance::of(self.seed, stream));
            greys.extend(look.sample(&example.picture, kept, size));
            targets.extend(example.targets);
            abouts.push(example.about);
        }
        let (logits, auxiliary) = self.encoder.once(&self.pixels.batch(greys)?)?;
        let targets = Tensor::from_vec(targets, logits.shape(), &Device::Cpu)?;
        let mut weights = vec![1.0; FINDINGS.len()];
        weights.push(ABNORMAL_WEIGHT);
        let total: f32 = weights.iter().sum();
        let weights = Tensor::from_vec(weights, SCORES, &Device::Cpu)?;
        let losses = binary_cross_entropy(&logits, &targets)?.broadcast_mul(&weights)?;
        let mut loss = (losses.sum_all()? / f64::from(total))?;
        if let Some(outputs) = auxiliary {
            loss = (loss + (auxiliary::loss(&outputs, &abouts)? * auxiliary::WEIGHT)?)?;
        }
        Ok((loss, items.len() as f32))
    }

    fn evaluate(&self, workers: &Workers) -> Result<Map<String, Value>, TrainError> {
        Ok(self.development.figures(&self.development.logits(&self.encoder, workers)?))
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }
}

/// Trains on the `train` split of a data folder and writes `encoder.safetensors` and
/// `encoder.toml` into `out`. Gives the figures on the development split.
///
/// With `from` the run begins with the weights that an earlier one wrote there, or with a file of
/// ImageNet weights.
pub fn train(
    data: &Path,
    from: Option<&Path>,
    out: &Path,
    sizes: &Sizes,
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Map<String, Value>, TrainError> {
    let _held = files::run_folder(out)?;
    let config = sizes.architecture.checked(sizes.image)?;
    let beginning = Beginning::read(&config, from)?;
    let (first, from_digest) = (beginning.first.clone(), beginning.digest.clone());
    bar.set_message("reading the radiographs");
    let rows = table(data)?;
    check(data, &rows)?;
    let release = Release::read(data, &rows)?;
    let studies = radiographs(&rows, Split::Train)?;
    let with_release = release.is_some();
    let (encoder, variables) = beginning.encoder(&config, plan.seed, with_release)?;
    let (mean, std) = sizes.architecture.pixels();
    let run = plan.in_words();
    let mut card = EncoderCard {
        mean,
        std,
        run,
        scores: vec![],
        release: None,
        material: None,
        first: Some(first),
        encoder: config.clone(),
    };
    let pixels = Pixels::of(&card);
    let development = Development::read(&rows, &pixels)?;
    let material = Material::new(&studies, development.truth().len(), release.as_ref());
    if with_release && material.of_nih == 0 {
        tracing::warn!(
            "NIH's table names none of the images, so it says neither who is shown nor what other \
             radiographs show; do the images have NIH's names?"
        );
    }
    card.material = Some(material);
    let example = |study| Example::new(study, &pixels, release.as_ref());
    let train = studies.iter().map(example).collect::<Vec<_>>();
    let common = log_odds(&train);
    let bias = Tensor::from_slice(&common, SCORES, &Device::Cpu)?;
    variables::named(&variables, "heads.bias")?.set(&bias)?;
    let settings = json!({
        "train": "encoder", "encoder": config, "head_pace": sizes.head_pace.to_string(),
        "studies": train.len(), "looks": LOOKS, "from": from_digest,
        "radiographs": digest(&studies), "kept_back": development.digest(),
        "release": release.as_ref().map(Release::digest),
    });
    let (seed, head_pace) = (plan.seed, sizes.head_pace);
    let task =
        EncoderTask { encoder, variables, pixels, head_pace, settings, seed, train, development };
    fit(&task, plan, out, bar)?;
    let workers = Workers::new(plan.threads)?;
    let beside = calibrate::Beside { common, release: release.as_ref() };
    calibrate::write(weights(&task)?, &mut card, &beside, (&task.development, &workers), out)
}

/// The tensors of a model directory: norms with frozen statistics are folded in.
fn weights(task: &EncoderTask) -> Result<HashMap<String, Tensor>, TrainError> {
    let variables = task.variables.iter();
    let mut tensors: HashMap<String, Tensor> =
        variables.map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    tensors.retain(|name, _| !name.starts_with(auxiliary::HEAD));
    if let ImageEncoder::EfficientNetLite(lite) = &task.encoder.vision {
        tensors.retain(|name, _| !name.starts_with(VISION));
        let folded = lite.folded()?.into_iter();
        tensors.extend(folded.map(|(name, tensor)| (format!("{VISION}.{name}"), tensor)));
    }
    Ok(tensors)
}

/// By score the log odds of how common it is; what it begins at.
fn log_odds(studies: &[Example]) -> Vec<f32> {
    let logit = |score: usize| {
        let positive = studies.iter().filter(|s| s.labels.contains(score)).count() as f32;
        let share = ((positive + 1.0) / (studies.len() as f32 + 2.0)).clamp(0.001, 0.999);
        (share / (1.0 - share)).ln()
    };
    (0..SCORES).map(logit).collect()
}

/// Reads what [`train`] wrote: the encoder, frozen, and what is known of it.
pub fn read(dir: &Path) -> Result<(Encoder, EncoderCard), TrainError> {
    let path = dir.join(CARD);
    let card: EncoderCard = files::read_toml(&path, "encoder")?;
    if card.scores.len() != SCORES {
        let reason = format!("{} scores instead of {SCORES}", card.scores.len());
        return Err(TrainError::Run { path, reason });
    }
    let tensors = variables::read(&dir.join(WEIGHTS))?;
    let source = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let encoder = Encoder::load(&card.encoder, &source)?;
    Ok((encoder, card))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_radiographs_show_is_taught_as_half_present_at_most() {
        let labels = LabelSet::from_flags((0..SCORES).map(|score| score == 4));
        let mut history = [0.0; SCORES];
        (history[4], history[5], history[6], history[14]) = (0.9, 0.8, 1.0, 1.0);
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} instead of {b}");
        let taught = targets(labels, history);
        near(taught[4], 1.0);
        near(taught[5], 0.4);
        near(taught[6], 0.5);
        near(taught[7], 0.0);
        // One with a finding is abnormal; one without may be.
        near(taught[14], 1.0);
        near(targets(LabelSet::default(), history)[14], 0.5);
    }
}
