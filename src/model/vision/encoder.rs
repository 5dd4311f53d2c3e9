//! The kinds of image encoders that a model can have.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
use super::eva_qformer::{EvaQFormer, EvaQFormerConfig};
use super::eva_vit::EvaVitConfig;
use super::swin::{Swin, SwinConfig};

/// The sizes of an image encoder. Without a `kind` in a manifest it is a Swin transformer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ImageEncoderConfig {
    /// A Swin transformer: the paper's.
    Swin(SwinConfig),
    /// An EfficientNet-Lite.
    EfficientNetLite(EfficientNetLiteConfig),
    /// EVA's vision transformer and a Q-Former: XrayGPT's as released.
    EvaQFormer(EvaQFormerConfig),
}

impl<'de> Deserialize<'de> for ImageEncoderConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = toml::Table::deserialize(deserializer)?;
        let kind = table.get("kind").map(|kind| kind.as_str().unwrap_or_default().to_owned());
        match kind.as_deref() {
            None | Some("swin") => {
                table.remove("kind");
                table.try_into().map(Self::Swin).map_err(D::Error::custom)
            }
            Some("efficientnet-lite") => {
                table.try_into().map(Self::EfficientNetLite).map_err(D::Error::custom)
            }
            Some("eva-qformer") => table.try_into().map(Self::EvaQFormer).map_err(D::Error::custom),
            Some(other) => Err(D::Error::custom(format!(
                "kind = {other:?}; the image encoders are \"swin\", \"efficientnet-lite\" and \
                 \"eva-qformer\""
            ))),
        }
    }
}

impl ImageEncoderConfig {
    /// Columns and rows of the image, pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.image_size,
            Self::EfficientNetLite(lite) => lite.image_size,
            Self::EvaQFormer(both) => both.eva_vit.image_size,
        }
    }

    /// Colour channels.
    pub fn num_channels(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.num_channels,
            Self::EfficientNetLite(lite) => lite.num_channels,
            Self::EvaQFormer(_) => EvaVitConfig::CHANNELS,
        }
    }

    /// Width of the output.
    pub fn output_width(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.output_width(),
            Self::EfficientNetLite(lite) => lite.head_width,
            Self::EvaQFormer(both) => both.qformer.hidden,
        }
    }

    /// How many rows the last hidden state has.
    pub fn output_tokens(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.output_tokens(),
            Self::EfficientNetLite(lite) => lite.output_tokens(),
            Self::EvaQFormer(both) => both.qformer.queries,
        }
    }

    /// Whether the rows of the last hidden state are the image's patches, row after row.
    pub fn has_patches(&self) -> bool {
        match self {
            Self::Swin(_) | Self::EfficientNetLite(_) => true,
            // Its rows are queries, each of the whole image.
            Self::EvaQFormer(_) => false,
        }
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Swin(swin) => swin.check(),
            Self::EfficientNetLite(lite) => lite.check(),
            Self::EvaQFormer(both) => both.check(),
        }
    }
}

/// In words, with the sizes.
impl std::fmt::Display for ImageEncoderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = self.image_size();
        match self {
            Self::Swin(swin) => write!(
                f,
                "Swin transformer, {side} × {side} pixels, width {}, depths {:?}, heads {:?}, \
                 window {}",
                swin.embed_dim, swin.depths, swin.num_heads, swin.window_size
            ),
            Self::EfficientNetLite(lite) => write!(
                f,
                "EfficientNet-Lite, {side} × {side} pixels, {} blocks, width {} to {}",
                lite.stages.iter().map(|stage| stage.repeats).sum::<usize>(),
                lite.stem_width,
                lite.head_width
            ),
            Self::EvaQFormer(both) => write!(
                f,
                "EVA vision transformer, {side} × {side} pixels, width {}, {} blocks, {} heads; \
                 Q-Former, width {}, {} layers, {} queries",
                both.eva_vit.width,
                both.eva_vit.depth,
                both.eva_vit.heads,
                both.qformer.hidden,
                both.qformer.layers,
                both.qformer.queries
            ),
        }
    }
}

/// What an encoder gives for a batch of images.
#[derive(Clone, Debug)]
pub struct EncoderOutput {
    /// `[batch, rows, width]`: a row a patch, or a row a query.
    pub last_hidden: Tensor,
    /// `[batch, width]`: its mean over the rows.
    pub pooled: Tensor,
    /// What was computed on the way, by the names that outputs to compare with have.
    pub stages: Vec<(&'static str, Tensor)>,
}

/// An image encoder.
#[derive(Clone, Debug)]
pub enum ImageEncoder {
    /// A Swin transformer.
    Swin(Swin),
    /// An EfficientNet-Lite.
    EfficientNetLite(EfficientNetLite),
    /// EVA's vision transformer and a Q-Former.
    EvaQFormer(EvaQFormer),
}

impl ImageEncoder {
    /// Takes the tensors from `source`.
    pub fn load(config: &ImageEncoderConfig, source: &VarBuilder<'_>) -> Result<Self> {
        match config {
            ImageEncoderConfig::Swin(swin) => Swin::load(swin, source).map(Self::Swin),
            ImageEncoderConfig::EfficientNetLite(lite) => {
                EfficientNetLite::load(lite, source).map(Self::EfficientNetLite)
            }
            ImageEncoderConfig::EvaQFormer(both) => {
                EvaQFormer::load(both, source).map(Self::EvaQFormer)
            }
        }
    }

    /// Encodes `[batch, channels, rows, columns]` of normalised pixels.
    pub fn forward(&self, pixels: &Tensor) -> Result<EncoderOutput> {
        match self {
            Self::Swin(swin) => swin.forward(pixels),
            Self::EfficientNetLite(lite) => lite.forward(pixels),
            Self::EvaQFormer(both) => both.forward(pixels),
        }
    }

    /// The mean over the patches `[batch, width]` for training: of the image as it is, without its
    /// mirror image.
    pub fn pooled_once(&self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Swin(swin) => Ok(swin.forward(pixels)?.pooled),
            Self::EfficientNetLite(lite) => lite.pooled_once(pixels),
            Self::EvaQFormer(both) => Ok(both.forward(pixels)?.pooled),
        }
    }
}
