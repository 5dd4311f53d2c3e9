//! `manifest.toml`: everything about a model but its numbers. Its digest is the model's version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::conversation::{Conversation, ConversationTemplate, IMAGE_HERE, PROMPT_HERE};
use super::quantize::WeightType;
use super::questions::Questions;
use crate::model::language::llama::LlamaConfig;
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::vocabulary::Observation;

/// The file's name within a model directory.
pub const MANIFEST: &str = "manifest.toml";

/// A model's description.
///
/// The tensors lie in the safetensors files that `files` names, under these names:
/// `vision_model.model.*` (Hugging Face's `SwinModel`; an EfficientNet-Lite with its norms folded
/// in; or MiniGPT-4's `visual_encoder.*`, `ln_vision.*`, `query_tokens` and `Qformer.*`),
/// `vision_model.projection_head.weight` when `projection.embedding` is set, `projection.weight` and `.bias`, `model.*` and `lm_head.weight`
/// (Hugging Face's `LlamaForCausalLM`), and `heads.weight` and `.bias` when `scores` is set. A
/// matrix in ggml's blocks lies as u8 `[rows, bytes of a row]` under its name and the type's, as
/// `model.layers.0.mlp.up_proj.weight.q4_k`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format: 1.
    pub format: u32,
    /// What the model is called.
    pub name: String,
    /// How the parts stand together.
    pub architecture: Architecture,
    /// Terms of use of the weights.
    pub licence: String,
    /// What the weights come from.
    pub source: String,
    /// What the weights were stored in by `model quantize` or `import`; absent: as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<WeightType>,
    /// Questions the model was aligned on; number 1 is the default.
    pub prompts: Vec<String>,
    /// From a grey image to the encoder's input.
    pub image: ImageProcessing,
    /// The image encoder's sizes.
    pub image_encoder: ImageEncoderConfig,
    /// The alignment layer.
    pub projection: ProjectionConfig,
    /// The language model's sizes.
    pub language_model: LlamaConfig,
    /// The tokenizer's file and special tokens.
    pub tokenizer: TokenizerConfig,
    /// How prompt and image stand together, and where an answer ends.
    pub conversation: Conversation,
    /// What the encoder's scoring heads mean, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// The questions whose answers score findings, of a model without heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<Questions>,
    /// What the model is made for, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// SHA-256 of each file, hexadecimal.
    pub files: BTreeMap<String, String>,
}

/// How the parts stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// Swin → linear projection → LLaMA: the paper's.
    #[serde(rename = "swin-linear-llama")]
    SwinLinearLlama,
    /// EfficientNet-Lite → linear projection → LLaMA.
    #[serde(rename = "efficientnet-lite-linear-llama")]
    EfficientNetLiteLinearLlama,
    /// EVA's vision transformer → Q-Former → linear projection → LLaMA: XrayGPT's as released.
    #[serde(rename = "eva-qformer-linear-llama")]
    EvaQFormerLinearLlama,
}

impl Architecture {
    /// That with this encoder.
    pub fn of(encoder: &ImageEncoderConfig) -> Self {
        match encoder {
            ImageEncoderConfig::Swin(_) => Self::SwinLinearLlama,
            ImageEncoderConfig::EfficientNetLite(_) => Self::EfficientNetLiteLinearLlama,
            ImageEncoderConfig::EvaQFormer(_) => Self::EvaQFormerLinearLlama,
        }
    }
}

/// From a grey image to the encoder's input: fit, resize (bicubic), divide by 255, normalise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageProcessing {
    /// What becomes of an image that is not square.
    pub fit: Fit,
    /// Whether a picture in colour keeps its colours; a radiograph has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub colour: bool,
    /// Subtracted: one number, or one a channel.
    pub mean: Vec<f64>,
    /// Divided by: one number, or one a channel.
    pub std: Vec<f64>,
}

/// What becomes of an image that is not square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Black is added on the shorter sides (MedCLIP).
    PadToSquare,
    /// The sides are scaled each by its own factor.
    Stretch,
}

/// The alignment layer: what of the encoder it projects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionConfig {
    /// What becomes image tokens.
    pub image_tokens: ImageTokens,
    /// How many image tokens the projection makes of one embedding; with `patches` always 1.
    #[serde(default = "one")]
    pub tokens: usize,
    /// Width of the encoder's own projected embedding (MedCLIP's `projection_head`); absent: there
    /// is none, and `pooled` is the mean of the last hidden states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
}

fn one() -> usize {
    1
}

/// What becomes image tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageTokens {
    /// The image embedding: one token.
    Pooled,
    /// The last hidden states: a token a patch, or a token a query.
    Patches,
}

impl std::fmt::Display for ImageTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pooled => "pooled",
            Self::Patches => "patches",
        })
    }
}

/// The tokenizer's file and special tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerConfig {
    /// The file, in the format of the `tokenizers` library.
    pub file: String,
    /// Begin of sequence.
    pub bos: u32,
    /// End of sequence.
    pub eos: u32,
}

/// What the encoder's scoring heads mean: the mean of its last hidden states, a linear layer, a
/// logistic function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// A name a head, none twice: `abnormal`, or an observation.
    pub labels: Vec<String>,
    /// From which score on, 0 to 1, an observation counts as positive, by label.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
}

/// What a model is made for: of what else it drafts nothing, or says that it is not made for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The youngest patient, years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub youngest_years: Option<u32>,
    /// How far from the images it was trained on an image may lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<KnownImages>,
}

/// Where the images of the training lie among the encoder's outputs: the tensors `known.mean`
/// `[width]` and `known.axes` `[axes, width]` measure the distance of another one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownImages {
    /// How many axes there are.
    pub axes: usize,
    /// The farthest distance at which an image is one of those that the model is made for.
    pub farthest: f32,
}

impl Scores {
    /// What does not fit together.
    fn check(&self) -> Result<(), String> {
        if !(1..=256).contains(&self.labels.len()) {
            return Err("labels needs 1 to 256 names".to_owned());
        }
        for (at, label) in self.labels.iter().enumerate() {
            check_label(label).map_err(|e| format!("labels: {e}"))?;
            if self.labels.iter().take(at).any(|before| before == label) {
                return Err(format!("labels: {label:?} is there twice; a head has its own name"));
            }
        }
        check_thresholds(&self.thresholds, |label| self.labels.iter().any(|own| own == label))
    }
}

/// Whether a score can be called so: an observation has its own name alone. Others are a model's own;
/// rules and reports do not know them.
pub(super) fn check_label(label: &str) -> Result<(), String> {
    if label.trim().is_empty() {
        return Err("a score needs a name".to_owned());
    }
    match label.parse::<Observation>() {
        Ok(meant) if meant.name() != label => {
            Err(format!("{label:?} is {:?} here; write that", meant.name()))
        }
        _ => Ok(()),
    }
}

/// Whether thresholds are probabilities, of scores that there are.
pub(super) fn check_thresholds(
    thresholds: &BTreeMap<String, f32>,
    is_scored: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for (label, threshold) in thresholds {
        if !is_scored(label) {
            return Err(format!("thresholds: {label:?} is not scored; remove it"));
        }
        if !(0.0..=1.0).contains(threshold) {
            return Err(format!(
                "thresholds: {label} = {threshold} is no probability; write a number from 0 to 1"
            ));
        }
    }
    Ok(())
}

impl Manifest {
    /// Reads and checks the text of a manifest.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest = toml::from_str::<Self>(text).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text of this manifest.
    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    /// Says in words what cannot be.
    pub fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("format = {}; this program reads format 1", self.format));
        }
        let built = Architecture::of(&self.image_encoder);
        if self.architecture != built {
            return Err(format!(
                "architecture = {:?}, but the image encoder is that of {built:?}",
                self.architecture
            ));
        }
        self.image_encoder.check().map_err(|e| format!("[image_encoder] {e}"))?;
        self.language_model.check().map_err(|e| format!("[language_model] {e}"))?;
        if self.prompts.is_empty() {
            return Err("prompts is empty; a model needs at least one".to_owned());
        }
        let channels = self.image_encoder.num_channels();
        for (name, values) in [("mean", &self.image.mean), ("std", &self.image.std)] {
            let finite = values.iter().all(|v| v.is_finite());
            if !finite || (values.len() != 1 && values.len() != channels) {
                return Err(format!("[image] {name} needs one finite number, or one a channel"));
            }
        }
        if self.image.colour && channels != 3 {
            return Err(format!("[image] colour, but the encoder has {channels} channel(s)"));
        }
        if self.image.std.iter().any(|std| *std <= 0.0) {
            return Err("[image] std must be above 0".to_owned());
        }
        let vocabulary = self.language_model.vocab_size;
        if [self.tokenizer.bos, self.tokenizer.eos].iter().any(|id| *id as usize >= vocabulary) {
            return Err(format!("a special token lies outside the vocabulary of {vocabulary}"));
        }
        self.conversation.check(vocabulary).map_err(|e| format!("[conversation] {e}"))?;
        if self.projection.embedding.is_some_and(|n| n == 0 || n > 1 << 16) {
            return Err("[projection] embedding is outside 1 to 65536".to_owned());
        }
        let most = match self.projection.image_tokens {
            ImageTokens::Pooled => 256,
            ImageTokens::Patches => 1,
        };
        if !(1..=most).contains(&self.projection.tokens) {
            return Err(format!("[projection] tokens is outside 1 to {most}"));
        }
        if let Some(scores) = &self.scores {
            scores.check().map_err(|e| format!("[scores] {e}"))?;
        }
        if let Some(questions) = &self.questions {
            if self.scores.is_some() {
                return Err("[scores] and [questions]: a model scores in one way".to_owned());
            }
            questions.check().map_err(|e| format!("[questions] {e}"))?;
        }
        let images = self.scope.as_ref().and_then(|scope| scope.images.as_ref());
        let far = |limit: f32| limit > 0.0 && limit.is_finite();
        if images.is_some_and(|i| !(1..=1024).contains(&i.axes) || !far(i.farthest)) {
            return Err("[scope.images] needs 1 to 1024 axes and a finite limit above 0".to_owned());
        }
        for name in self.files.keys() {
            if name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(format!(
                    "[files] {name:?} is not the name of a file beside the manifest"
                ));
            }
        }
        if !self.files.contains_key(&self.tokenizer.file) {
            return Err(format!("[files] does not name the tokenizer {:?}", self.tokenizer.file));
        }
        Ok(())
    }

    /// Width of what the projection takes in.
    pub fn projection_input(&self) -> usize {
        match (self.projection.image_tokens, self.projection.embedding) {
            (ImageTokens::Pooled, Some(embedding)) => embedding,
            _ => self.image_encoder.output_width(),
        }
    }

    /// How many positions an image takes.
    pub fn image_positions(&self) -> usize {
        match self.projection.image_tokens {
            ImageTokens::Pooled => self.projection.tokens,
            ImageTokens::Patches => self.image_encoder.output_tokens(),
        }
    }
}
