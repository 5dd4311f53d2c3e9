//! EVA-CLIP's vision transformer (Fang et al. 2023) as BLIP-2 and MiniGPT-4 use it, under the names
//! of `eva_vit_g.pth`: learned absolute positions, a class token that stays in the output, queries
//! and values with a bias and keys without one, and no norm at the end.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::model::layer::{AttentionMask, LayerNorm, Linear, attention_softmax, bias_add, gelu};

/// Of the norms within blocks, which the published code fixes.
const BLOCK_EPS: f32 = 1e-6;

/// The sizes of an EVA vision transformer. ViT-g/14 has 1408, 39 (of 40 stored), 16, 4.3637, 224
/// and 14.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaVitConfig {
    /// Width of every block.
    pub width: usize,
    /// Blocks used.
    pub depth: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of the feed-forward layer over `width`; the product is rounded down.
    pub mlp_ratio: f64,
    /// Columns and rows of the image, pixels.
    pub image_size: usize,
    /// Columns and rows of a patch, pixels.
    pub patch_size: usize,
}

impl EvaVitConfig {
    /// Colour channels.
    pub const CHANNELS: usize = 3;

    /// Width of the feed-forward layers.
    pub fn hidden(&self) -> usize {
        (self.width as f64 * self.mlp_ratio) as usize
    }

    /// Rows of the output: the class token and a row a patch.
    pub fn output_tokens(&self) -> usize {
        let grid = self.image_size.checked_div(self.patch_size).unwrap_or_default();
        grid * grid + 1
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        let bounds = [
            ("width", self.width, 1 << 14),
            ("depth", self.depth, 512),
            ("heads", self.heads, 1 << 10),
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, 4096),
        ];
        for (name, value, most) in bounds {
            if value == 0 || value > most {
                return Err(format!("{name} = {value} is outside 1 to {most}"));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!("heads = {} do not divide width = {}", self.heads, self.width));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            let (side, patch) = (self.image_size, self.patch_size);
            return Err(format!("patch_size = {patch} does not divide image_size = {side}"));
        }
        if self.output_tokens() > 1 << 14 {
            return Err(format!("{} patches are more than 16383", self.output_tokens() - 1));
        }
        if !(self.mlp_ratio.is_finite() && (0.0..=64.0).contains(&self.mlp_ratio))
            || self.hidden() == 0
        {
            return Err(format!("mlp_ratio = {} is outside 0 to 64", self.mlp_ratio));
        }
        Ok(())
    }
}

/// An EVA vision transformer.
#[derive(Clone, Debug)]
pub struct EvaVit {
    config: EvaVitConfig,
    patch: Linear,
    /// `[1, 1, width]`
    class_token: Tensor,
    /// `[1, 1 + patches, width]`
    positions: Tensor,
    blocks: Vec<Block>,
}

impl EvaVit {
    /// Takes the tensors from `source`; blocks past `depth` are left alone.
    pub fn load(config: &EvaVitConfig, source: &VarBuilder<'_>) -> Result<Self> {
        config.check().map_err(candle_core::Error::msg)?;
        let (width, side) = (config.width, config.patch_size);
        let patch = source.pp("patch_embed.proj");
        // A convolution whose windows do not overlap is a product with the patches.
        let kernel = patch.get((width, EvaVitConfig::CHANNELS, side, side), "weight")?;
        let kernel = kernel.reshape((width, EvaVitConfig::CHANNELS * side * side))?;
        let blocks = (0..config.depth)
            .map(|i| Block::load(config, &source.pp(format!("blocks.{i}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            patch: Linear::new(kernel, Some(patch.get(width, "bias")?)),
            class_token: source.get((1, 1, width), "cls_token")?,
            positions: source.get((1, config.output_tokens(), width), "pos_embed")?,
            blocks,
            config: config.clone(),
        })
    }

    /// Encodes `[batch, 3, rows, columns]` of normalised pixels: `[batch, 1 + patches, width]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.patch.forward(&self.patches(pixels)?)?;
        let (batch, _, width) = patches.dims3()?;
        let class_token = self.class_token.broadcast_as((batch, 1, width))?;
        let mut x = Tensor::cat(&[&class_token, &patches], 1)?.broadcast_add(&self.positions)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x)
    }

    /// Cuts the image: `[batch, patches, channels · side · side]`.
    fn patches(&self, pixels: &Tensor) -> Result<Tensor> {
        let (batch, channels, rows, columns) = pixels.dims4()?;
        let (side, size) = (self.config.patch_size, self.config.image_size);
        if channels != EvaVitConfig::CHANNELS || rows != size || columns != size {
            bail!(
                "an image of {channels} × {rows} × {columns} for an encoder of {} × {size} × {size}",
                EvaVitConfig::CHANNELS
            );
        }
        let grid = size / side;
        pixels
            .reshape(&[batch, channels, grid, side, grid, side])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((batch, grid * grid, channels * side * side))
    }
}

#[derive(Clone, Debug)]
struct Block {
    heads: usize,
    before: LayerNorm,
    /// Query, key and value in one.
    joined: Linear,
    /// Of queries and values; 0 for keys.
    joined_bias: Tensor,
    output: Linear,
    after: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn load(config: &EvaVitConfig, source: &VarBuilder<'_>) -> Result<Self> {
        let (width, hidden) = (config.width, config.hidden());
        let attention = source.pp("attn");
        let query = attention.get(width, "q_bias")?;
        let value = attention.get(width, "v_bias")?;
        let key = query.zeros_like()?;
        Ok(Self {
            heads: config.heads,
            before: LayerNorm::load(width, BLOCK_EPS, &source.pp("norm1"))?,
            joined: Linear::load(width, 3 * width, false, &attention.pp("qkv"))?,
            joined_bias: Tensor::cat(&[&query, &key, &value], 0)?,
            output: Linear::load(width, width, true, &attention.pp("proj"))?,
            after: LayerNorm::load(width, BLOCK_EPS, &source.pp("norm2"))?,
            widen: Linear::load(width, hidden, true, &source.pp("mlp.fc1"))?,
            narrow: Linear::load(hidden, width, true, &source.pp("mlp.fc2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attend(&self.before.forward(x)?)?)?;
        let wide = gelu(&self.widen.forward(&self.after.forward(&x)?)?)?;
        x + self.narrow.forward(&wide)?
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let each = width / self.heads;
        let joined = bias_add(&self.joined.forward(x)?, &self.joined_bias)?;
        let parts = joined.reshape((batch, tokens, 3, self.heads, each))?;
        let part = |i: usize| parts.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scale = 1.0 / (each as f32).sqrt();
        let seen = attention_softmax(&q.matmul(&k.t()?)?, scale, None, &AttentionMask::None)?;
        let mixed = seen.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, width))?;
        self.output.forward(&mixed)
    }
}
