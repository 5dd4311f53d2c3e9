//! Which encoder is trained, and the weights that its training begins with.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::assemble::digest;
use super::auxiliary;
use super::encoder::{self, Encoder, EncoderCard};
use super::error::TrainError;
use super::files;
use super::optimise::Named;
use super::provenance::FirstWeights;
use super::variables::{self, Tensors};
use crate::model::vision::efficientnet_lite::{EfficientNetLiteConfig, NORM_EPS};
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::model::vision::imagenet;
use crate::model::vision::swin::SwinConfig;

/// The kind of encoder and what of its sizes may be chosen.
#[derive(Debug, Clone)]
pub enum Architecture {
    /// A Swin transformer.
    Swin {
        /// Width of the first stage.
        width: usize,
        /// Blocks a stage.
        depths: Vec<usize>,
    },
    /// EfficientNet-Lite0.
    EfficientNetLite0,
}

impl Architecture {
    /// All sizes, for images of `side` columns and rows.
    pub fn config(&self, side: usize) -> ImageEncoderConfig {
        match self {
            Self::Swin { width, depths } => ImageEncoderConfig::Swin(SwinConfig {
                image_size: side,
                patch_size: 4,
                num_channels: 1,
                embed_dim: *width,
                depths: depths.clone(),
                num_heads: (0..depths.len()).map(|s| (width << s).div_ceil(32)).collect(),
                window_size: 7,
                mlp_ratio: 4.0,
                qkv_bias: true,
                layer_norm_eps: 1e-5,
                hidden_act: "gelu".to_owned(),
                use_absolute_embeddings: false,
            }),
            Self::EfficientNetLite0 => {
                ImageEncoderConfig::EfficientNetLite(EfficientNetLiteConfig {
                    mirrored: true,
                    ..EfficientNetLiteConfig::lite0(side)
                })
            }
        }
    }

    /// The same, if that can be trained.
    pub(super) fn checked(&self, side: usize) -> Result<ImageEncoderConfig, TrainError> {
        let config = self.config(side);
        config.check().map_err(|reason| TrainError::Sizes { reason })?;
        if let ImageEncoderConfig::Swin(swin) = &config {
            let window = swin.patch_size * swin.window_size;
            if !side.is_multiple_of(window) {
                let reason = format!("--size {side}: a Swin's is a multiple of {window}");
                return Err(TrainError::Sizes { reason });
            }
        }
        Ok(config)
    }

    /// Mean and standard deviation of the pixels, grey values in [0, 1].
    pub fn pixels(&self) -> (f64, f64) {
        match self {
            Self::Swin { .. } => (0.5, 0.25),
            // What the ImageNet weights were trained with.
            Self::EfficientNetLite0 => (127.0 / 255.0, 128.0 / 255.0),
        }
    }
}

/// Where the encoder's tensors stand in a model directory.
pub const VISION: &str = "vision_model.model";

/// First weights.
#[derive(Debug, Default)]
pub struct Beginning {
    path: PathBuf,
    /// What they are.
    pub(super) first: FirstWeights,
    /// SHA-256 of their file.
    pub(super) digest: Option<String>,
    values: Tensors,
    /// Mean and variance of each batch norm, frozen.
    statistics: Tensors,
    /// Whether the scoring heads are among the values.
    heads: bool,
}

impl Beginning {
    /// From random weights (`None`), from the folder of an earlier run, or, for an EfficientNet-Lite,
    /// from a file of ImageNet weights. Scoring heads of an earlier run that took in how findings go
    /// together are left behind: this one will take it in at its end.
    pub fn read(config: &ImageEncoderConfig, from: Option<&Path>) -> Result<Self, TrainError> {
        let Some(from) = from else { return Ok(Self::default()) };
        if from.is_file() {
            return Self::imagenet(config, from);
        }
        let weights = from.join(encoder::WEIGHTS);
        if !from.is_dir() {
            return Err(not_taken(config, from, "not found"));
        }
        if !weights.is_file() {
            return Err(not_taken(config, from, &format!("no {} in it", encoder::WEIGHTS)));
        }
        let card: EncoderCard = files::read_toml(&from.join(encoder::CARD), "encoder")?;
        let tensors = variables::read(&weights)?;
        let (values, statistics) = match (config, &card.encoder) {
            (ImageEncoderConfig::EfficientNetLite(_), ImageEncoderConfig::EfficientNetLite(_)) => {
                unfolded(tensors)?
            }
            (ImageEncoderConfig::Swin(_), ImageEncoderConfig::Swin(_)) => (tensors, Tensors::new()),
            (_, other) => {
                return Err(not_taken(config, from, &format!("of another architecture ({other})")));
            }
        };
        let digest = Some(digest(&files::read(&weights)?));
        let first =
            FirstWeights::EarlierRun { material: card.material, first: card.first.map(Box::new) };
        // Scores that each are of themselves alone.
        let heads = card.release.is_none();
        Ok(Self { path: weights, first, digest, values, statistics, heads })
    }

    fn imagenet(config: &ImageEncoderConfig, file: &Path) -> Result<Self, TrainError> {
        let ImageEncoderConfig::EfficientNetLite(lite) = config else {
            return Err(not_taken(config, file, "a file"));
        };
        let refused = |reason: &str| not_taken(config, file, reason);
        let tensors = variables::read(file).map_err(|error| match error {
            TrainError::Run { reason, .. } => refused(&reason),
            other => other,
        })?;
        let renamed = imagenet::renamed(lite, &tensors);
        let (values, statistics) = renamed.map_err(|error| refused(&said(&error)))?;
        let full = |tensors: Tensors| {
            tensors.into_iter().map(|(n, t)| (format!("{VISION}.{n}"), t)).collect()
        };
        let (values, statistics) = (full(values), full(statistics));
        let digest = digest(&files::read(file)?);
        let first = FirstWeights::ImageNet { digest: digest.clone() };
        let (path, digest) = (file.to_owned(), Some(digest));
        Ok(Self { path, first, digest, values, statistics, heads: false })
    }

    /// The encoder for training, with these weights; `with_auxiliary` gives it the head that tells
    /// who is shown and how.
    pub fn encoder(
        self,
        config: &ImageEncoderConfig,
        seed: u64,
        with_auxiliary: bool,
    ) -> Result<(Encoder, Vec<Named>), TrainError> {
        let statistics = match config {
            ImageEncoderConfig::EfficientNetLite(_) if self.statistics.is_empty() => {
                VarBuilder::from_backend(Box::new(Standard), DType::F32, Device::Cpu)
            }
            _ => VarBuilder::from_tensors(self.statistics.clone(), DType::F32, &Device::Cpu),
        };
        let built = variables::fresh(seed, |source| {
            Encoder::trainable(config, source, &statistics, with_auxiliary)
        });
        let (encoder, variables) = built.map_err(|error| match error {
            TrainError::Tensor(error) if self.digest.is_some() => TrainError::Run {
                path: self.path.clone(),
                reason: format!("not the weights of such an encoder: {}", said(&error)),
            },
            other => other,
        })?;
        if !self.values.is_empty() {
            let set = |name: &str| {
                !name.starts_with(auxiliary::HEAD) && (self.heads || !name.starts_with("heads."))
            };
            variables::set(&variables, &self.values, set, &self.path)?;
        }
        Ok((encoder, variables))
    }
}

/// That the weights to begin with cannot be taken, and which can.
fn not_taken(config: &ImageEncoderConfig, from: &Path, reason: &str) -> TrainError {
    let taken = match config {
        ImageEncoderConfig::EfficientNetLite(_) => {
            "the folder of a finished `train encoder --architecture efficientnet-lite0`, or a file of \
             EfficientNet-Lite0's ImageNet weights: in the project's repository \
             fixtures/reference/efficientnet_lite0/weights.safetensors"
        }
        ImageEncoderConfig::Swin(_) | ImageEncoderConfig::EvaQFormer(_) => {
            "the folder of a finished `train encoder --architecture swin`"
        }
    };
    TrainError::Run { path: from.to_owned(), reason: format!("{reason}; --from takes {taken}") }
}

/// What an error says, without the backtrace that may follow its first line.
fn said(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Takes folded convolutions apart again: norms that change nothing, with the bias as their own.
fn unfolded(folded: Tensors) -> Result<(Tensors, Tensors), TrainError> {
    let (mut values, mut statistics) = (Tensors::new(), Tensors::new());
    for (name, tensor) in folded {
        let layer = name.strip_suffix(".bias").filter(|layer| layer.starts_with(VISION));
        if let Some(layer) = layer {
            values.insert(format!("{layer}.norm.weight"), tensor.ones_like()?);
            statistics.insert(format!("{layer}.norm.mean"), tensor.zeros_like()?);
            let variance = (tensor.ones_like()? - NORM_EPS)?;
            statistics.insert(format!("{layer}.norm.variance"), variance);
            values.insert(format!("{layer}.norm.bias"), tensor);
        } else {
            values.insert(name, tensor);
        }
    }
    Ok((values, statistics))
}

/// Mean 0 and variance 1, for random weights.
struct Standard;

impl candle_nn::var_builder::SimpleBackend for Standard {
    fn get(
        &self,
        shape: candle_core::Shape,
        name: &str,
        _init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if name.ends_with("variance") {
            Tensor::ones(shape, dtype, device)
        } else {
            Tensor::zeros(shape, dtype, device)
        }
    }

    fn get_unchecked(
        &self,
        name: &str,
        _dtype: DType,
        _device: &Device,
    ) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, _name: &str) -> bool {
        true
    }
}
