//! The kinds of image encoders that a model can have.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
use super::swin::{Swin, SwinConfig};

/// The sizes of an image encoder. Without a `kind` in a manifest it is a Swin transformer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ImageEncoderConfig {
    /// A Swin transformer: the paper's.
    Swin(SwinConfig),
    /// An EfficientNet-Lite.
    EfficientNetLite(EfficientNetLiteConfig),
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
            Some(other) => Err(D::Error::custom(format!(
                "kind = {other:?}; the image encoders are \"swin\" and \"efficientnet-lite\""
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
        }
    }

    /// Colour channels.
    pub fn num_channels(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.num_channels,
            Self::EfficientNetLite(lite) => lite.num_channels,
        }
    }

    /// Width of the output.
    pub fn output_width(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.output_width(),
            Self::EfficientNetLite(lite) => lite.head_width,
        }
    }

    /// How many rows the last hidden state has.
    pub fn output_tokens(&self) -> usize {
        match self {
            Self::Swin(swin) => swin.output_tokens(),
            Self::EfficientNetLite(lite) => lite.output_tokens(),
        }
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::Swin(swin) => swin.check(),
            Self::EfficientNetLite(lite) => lite.check(),
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
        }
    }
}

/// What an encoder gives for a batch of images.
#[derive(Clone, Debug)]
pub struct EncoderOutput {
    /// `[batch, patches, width]`.
    pub last_hidden: Tensor,
    /// `[batch, width]`: its mean over the patches.
    pub pooled: Tensor,
}

/// An image encoder.
#[derive(Clone, Debug)]
pub enum ImageEncoder {
    /// A Swin transformer.
    Swin(Swin),
    /// An EfficientNet-Lite.
    EfficientNetLite(EfficientNetLite),
}

impl ImageEncoder {
    /// Takes the tensors from `source`.
    pub fn load(config: &ImageEncoderConfig, source: &VarBuilder<'_>) -> Result<Self> {
        match config {
            ImageEncoderConfig::Swin(swin) => Swin::load(swin, source).map(Self::Swin),
            ImageEncoderConfig::EfficientNetLite(lite) => {
                EfficientNetLite::load(lite, source).map(Self::EfficientNetLite)
            }
        }
    }

    /// Encodes `[batch, channels, rows, columns]` of normalised pixels.
    pub fn forward(&self, pixels: &Tensor) -> Result<EncoderOutput> {
        match self {
            Self::Swin(swin) => swin.forward(pixels),
            Self::EfficientNetLite(lite) => lite.forward(pixels),
        }
    }

    /// The mean over the patches `[batch, width]` for training: of the image as it is, without its
    /// mirror image.
    pub fn pooled_once(&self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Swin(swin) => Ok(swin.forward(pixels)?.pooled),
            Self::EfficientNetLite(lite) => lite.pooled_once(pixels),
        }
    }
}
