//! XrayGPT's image encoder as released: EVA-CLIP's vision transformer, a layer norm, BLIP-2's
//! Q-Former (MiniGPT-4, Zhu et al. 2023).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::encoder::EncoderOutput;
use super::eva_vit::{EvaVit, EvaVitConfig};
use super::qformer::{QFormer, QFormerConfig};
use crate::model::layer::LayerNorm;

/// PyTorch's, which the published code leaves as it is.
const NORM_EPS: f32 = 1e-5;

/// Says in a manifest which kind of encoder this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The only one.
    #[default]
    #[serde(rename = "eva-qformer")]
    EvaQFormer,
}

/// The sizes of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaQFormerConfig {
    /// Tells it from other encoders.
    pub kind: Kind,
    /// The vision transformer.
    pub eva_vit: EvaVitConfig,
    /// What reads its output.
    pub qformer: QFormerConfig,
}

impl EvaQFormerConfig {
    /// The sizes of the released checkpoints, which are constants of the published code: ViT-g/14
    /// without its last block, and BLIP-2's Q-Former.
    pub fn released() -> Self {
        Self {
            kind: Kind::EvaQFormer,
            eva_vit: EvaVitConfig {
                width: 1408,
                depth: 39,
                heads: 16,
                mlp_ratio: 4.3637,
                image_size: 224,
                patch_size: 14,
            },
            qformer: QFormerConfig {
                hidden: 768,
                heads: 12,
                layers: 12,
                intermediate: 3072,
                queries: 32,
                cross_attention_freq: 2,
            },
        }
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.eva_vit.check()?;
        self.qformer.check()
    }
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct EvaQFormer {
    vision: EvaVit,
    norm: LayerNorm,
    qformer: QFormer,
}

impl EvaQFormer {
    /// Takes `visual_encoder.*`, `ln_vision.*`, `query_tokens` and `Qformer.*` from `source`: the
    /// published model's names.
    pub fn load(config: &EvaQFormerConfig, source: &VarBuilder<'_>) -> Result<Self> {
        let width = config.eva_vit.width;
        Ok(Self {
            vision: EvaVit::load(&config.eva_vit, &source.pp("visual_encoder"))?,
            norm: LayerNorm::load(width, NORM_EPS, &source.pp("ln_vision"))?,
            qformer: QFormer::load(&config.qformer, width, source)?,
        })
    }

    /// Encodes `[batch, 3, rows, columns]` of normalised pixels; the last hidden states are those
    /// of the queries.
    pub fn forward(&self, pixels: &Tensor) -> Result<EncoderOutput> {
        let vit = self.vision.forward(pixels)?;
        let seen = self.norm.forward(&vit)?;
        let queries = self.qformer.forward(&seen)?;
        Ok(EncoderOutput {
            pooled: queries.mean(1)?,
            stages: vec![("vit", vit), ("ln_vision", seen), ("qformer", queries.clone())],
            last_hidden: queries,
        })
    }
}
