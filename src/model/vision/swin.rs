//! Swin transformer (Liu et al. 2021) under the names of Hugging Face's `SwinModel`.
//!
//! Every size comes from the configuration. A window that reaches past the image is padded, and
//! an odd row or column before a merge too, as the published code does.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use super::encoder::EncoderOutput;
use crate::model::layer::{
    AttentionMask, LayerNorm, Linear, RowMap, attention_softmax, gather_rows, gelu,
};

/// Of the norms after cutting and merging patches, which the published code leaves at its default
/// whatever the configuration says.
const FIXED_EPS: f32 = 1e-5;
/// The most numbers in the mask of one stage's windows.
const LARGEST_MASK: usize = 1 << 26;

/// The sizes of a Swin transformer, under the keys of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwinConfig {
    /// Columns and rows of the image, pixels.
    #[serde(default = "default_image_size")]
    pub image_size: usize,
    /// Columns and rows of a patch, pixels.
    #[serde(default = "default_patch_size")]
    pub patch_size: usize,
    /// Colour channels; a grey image is repeated.
    #[serde(default = "default_num_channels")]
    pub num_channels: usize,
    /// Width of the first stage; doubles with each stage.
    pub embed_dim: usize,
    /// Blocks a stage.
    pub depths: Vec<usize>,
    /// Attention heads a stage.
    pub num_heads: Vec<usize>,
    /// Columns and rows of an attention window, patches.
    #[serde(default = "default_window_size")]
    pub window_size: usize,
    /// Width of the feed-forward layer over the width of the stage.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Whether query, key and value have a bias.
    #[serde(default = "default_true")]
    pub qkv_bias: bool,
    /// Added to the variance in the norms of blocks and output.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    /// The activation; only `gelu` (by the error function) is known.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
    /// Learned absolute positions; not supported.
    #[serde(default)]
    pub use_absolute_embeddings: bool,
}

fn default_image_size() -> usize {
    224
}
fn default_patch_size() -> usize {
    4
}
fn default_num_channels() -> usize {
    3
}
fn default_window_size() -> usize {
    7
}
fn default_mlp_ratio() -> f64 {
    4.0
}
fn default_true() -> bool {
    true
}
fn default_eps() -> f64 {
    1e-5
}
fn default_hidden_act() -> String {
    "gelu".to_owned()
}

impl SwinConfig {
    /// Width of stage `stage`.
    pub fn stage_width(&self, stage: usize) -> usize {
        self.embed_dim << stage
    }

    /// Width of the last stage, that of the output.
    pub fn output_width(&self) -> usize {
        self.stage_width(self.depths.len().saturating_sub(1))
    }

    /// Columns (and rows) of patches in stage `stage`.
    pub fn stage_side(&self, stage: usize) -> usize {
        let first = self.image_size.div_ceil(self.patch_size.max(1));
        (0..stage).fold(first, |side, _| side.div_ceil(2))
    }

    /// How many rows the last hidden state has.
    pub fn output_tokens(&self) -> usize {
        self.stage_side(self.depths.len().saturating_sub(1)).pow(2)
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        let stages = self.depths.len();
        let within = |n: usize, most: usize| (1..=most).contains(&n);
        if !within(stages, 8) || self.num_heads.len() != stages {
            return Err(format!(
                "{stages} depths and {} head counts; both need one number a stage, 1 to 8 stages",
                self.num_heads.len()
            ));
        }
        for (name, value, most) in [
            ("image_size", self.image_size, 4096),
            ("patch_size", self.patch_size, 64),
            ("num_channels", self.num_channels, 4),
            ("embed_dim", self.embed_dim, 4096),
            ("window_size", self.window_size, 64),
        ] {
            if !within(value, most) {
                return Err(format!("{name} = {value} is outside 1 to {most}"));
            }
        }
        if !(self.mlp_ratio > 0.0 && self.mlp_ratio <= 16.0) {
            return Err(format!("mlp_ratio = {} is outside 0 to 16", self.mlp_ratio));
        }
        let eps = self.layer_norm_eps;
        if !(eps > 0.0 && eps.is_finite()) {
            return Err(format!("layer_norm_eps = {eps} is no number above 0"));
        }
        if self.hidden_act != "gelu" {
            return Err(format!("hidden_act = {:?}; only \"gelu\" is supported", self.hidden_act));
        }
        if self.use_absolute_embeddings {
            return Err("use_absolute_embeddings = true is not supported".to_owned());
        }
        for (stage, (&depth, &heads)) in self.depths.iter().zip(&self.num_heads).enumerate() {
            let (width, side) = (self.stage_width(stage), self.stage_side(stage));
            if !within(depth, 128) || heads == 0 || width % heads != 0 {
                return Err(format!(
                    "stage {stage}: {depth} blocks, {heads} heads, width {width}; the width must divide by the heads"
                ));
            }
            let padded = side.next_multiple_of(self.window_size);
            if padded.pow(2) * self.window_size.pow(2) > LARGEST_MASK {
                return Err(format!(
                    "stage {stage}: {side} × {side} patches in windows of {} are too many",
                    self.window_size
                ));
            }
            if side < self.window_size {
                return Err(format!(
                    "stage {stage} has {side} × {side} patches, fewer than the window of {}",
                    self.window_size
                ));
            }
        }
        Ok(())
    }
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct Swin {
    config: SwinConfig,
    patch: Linear,
    patch_norm: LayerNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
}

impl Swin {
    /// Takes the tensors from `source`, which stands at the names `embeddings`, `encoder` and
    /// `layernorm` (in MedCLIP's checkpoint below `vision_model.model`).
    pub fn load(config: &SwinConfig, source: &VarBuilder<'_>) -> Result<Self> {
        if let Err(reason) = config.check() {
            bail!("Swin: {reason}");
        }
        let eps = config.layer_norm_eps as f32;
        let width = config.embed_dim;
        let embeddings = source.pp("embeddings");
        let (channels, side) = (config.num_channels, config.patch_size);
        let projection = embeddings.pp("patch_embeddings.projection");
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        let weight = projection.get_with_hints((width, channels, side, side), "weight", init)?;
        let bias = projection.get_with_hints(width, "bias", Init::Const(0.0))?;
        let patch = Linear::new(weight.reshape((width, ()))?, Some(bias));
        let stages = (0..config.depths.len())
            .map(|stage| Stage::load(config, stage, &source.pp(format!("encoder.layers.{stage}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            patch,
            patch_norm: LayerNorm::load(width, FIXED_EPS, &embeddings.pp("norm"))?,
            stages,
            norm: LayerNorm::load(config.output_width(), eps, &source.pp("layernorm"))?,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &SwinConfig {
        &self.config
    }

    /// Encodes `[batch, channels, rows, columns]` of normalised pixels.
    pub fn forward(&self, pixels: &Tensor) -> Result<EncoderOutput> {
        let patches = self.patches(pixels)?;
        let mut x = self.patch_norm.forward(&self.patch.forward(&patches)?)?;
        for stage in &self.stages {
            x = stage.forward(&x)?;
        }
        let last_hidden = self.norm.forward(&x)?;
        let pooled = last_hidden.mean(1)?;
        let stages =
            vec![("swin_last_hidden", last_hidden.clone()), ("swin_pooled", pooled.clone())];
        Ok(EncoderOutput { last_hidden, pooled, stages })
    }

    /// Cuts the image: `[batch, patches, channels · side · side]`.
    fn patches(&self, pixels: &Tensor) -> Result<Tensor> {
        let (batch, channels, rows, columns) = pixels.dims4()?;
        let (side, size) = (self.config.patch_size, self.config.image_size);
        if channels != self.config.num_channels || rows != size || columns != size {
            bail!(
                "an image of {channels} × {rows} × {columns} for an encoder of {} × {size} × {size}",
                self.config.num_channels
            );
        }
        let grid = size.div_ceil(side);
        let missing = grid * side - size;
        let pixels = pixels.pad_with_zeros(2, 0, missing)?.pad_with_zeros(3, 0, missing)?;
        pixels
            .reshape(&[batch, channels, grid, side, grid, side])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((batch, grid * grid, channels * side * side))
    }
}

#[derive(Clone, Debug)]
struct Stage {
    blocks: Vec<Block>,
    merge: Option<Merge>,
}

impl Stage {
    fn load(config: &SwinConfig, stage: usize, source: &VarBuilder<'_>) -> Result<Self> {
        let Some(&depth) = config.depths.get(stage) else { bail!("no stage {stage}") };
        let side = config.stage_side(stage);
        let window = config.window_size;
        // A window as large as the image is not shifted.
        let shift = if side <= window { 0 } else { window / 2 };
        let straight = Windows::new(side, window, 0)?;
        let shifted = Windows::new(side, window, shift)?;
        let blocks = (0..depth)
            .map(|i| {
                let windows = if i % 2 == 0 { &straight } else { &shifted };
                Block::load(config, stage, windows.clone(), &source.pp(format!("blocks.{i}")))
            })
            .collect::<Result<_>>()?;
        let last = stage + 1 == config.depths.len();
        let merge = if last {
            None
        } else {
            Some(Merge::load(config.stage_width(stage), side, &source.pp("downsample"))?)
        };
        Ok(Self { blocks, merge })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        match &self.merge {
            Some(merge) => merge.forward(&x),
            None => Ok(x),
        }
    }
}

/// How the patches of a stage lie in (shifted) windows.
#[derive(Clone, Debug)]
struct Windows {
    map: RowMap,
    count: usize,
    tokens: usize,
    mask: AttentionMask,
}

impl Windows {
    fn new(side: usize, window: usize, shift: usize) -> Result<Self> {
        let across = side.div_ceil(window);
        let padded = across * window;
        let tokens = window * window;
        let place = |i: usize| {
            let (w, t) = (i / tokens, i % tokens);
            (w / across * window + t / window, w % across * window + t % window)
        };
        let source = |i: usize| {
            let (row, column) = place(i);
            let (row, column) = ((row + shift) % padded, (column + shift) % padded);
            (row < side && column < side).then_some((row * side + column) as u32)
        };
        let map = RowMap::new(side * side, (0..padded * padded).map(source).collect())?;
        let mask = if shift == 0 {
            AttentionMask::None
        } else {
            // Patches that the shift brought together from opposite edges do not see each other.
            let part =
                |at: usize| usize::from(at >= padded - window) + usize::from(at >= padded - shift);
            let region = |i: usize| {
                let (row, column) = place(i);
                part(row) * 3 + part(column)
            };
            let regions = (0..padded * padded).map(region).collect::<Vec<_>>();
            let table = regions
                .chunks(tokens)
                .flat_map(|w| w.iter().flat_map(|a| w.iter().map(move |b| a == b)))
                .map(|same| if same { 0.0 } else { -100.0 })
                .collect();
            AttentionMask::Windows { table: Arc::new(table), windows: across * across }
        };
        Ok(Self { map, count: across * across, tokens, mask })
    }
}

#[derive(Clone, Debug)]
struct Block {
    windows: Windows,
    before: LayerNorm,
    attention: Attention,
    after: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn load(
        config: &SwinConfig,
        stage: usize,
        windows: Windows,
        source: &VarBuilder<'_>,
    ) -> Result<Self> {
        let width = config.stage_width(stage);
        let eps = config.layer_norm_eps as f32;
        let hidden = (config.mlp_ratio * width as f64) as usize;
        Ok(Self {
            windows,
            before: LayerNorm::load(width, eps, &source.pp("layernorm_before"))?,
            attention: Attention::load(config, stage, &source.pp("attention"))?,
            after: LayerNorm::load(width, eps, &source.pp("layernorm_after"))?,
            widen: Linear::load(width, hidden, true, &source.pp("intermediate.dense"))?,
            narrow: Linear::load(hidden, width, true, &source.pp("output.dense"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, width) = x.dims3()?;
        let Windows { map, count, tokens, mask } = &self.windows;
        let inside = gather_rows(&self.before.forward(x)?, map)?;
        let inside = inside.reshape((batch * count, *tokens, width))?;
        let seen = self.attention.forward(&inside, mask)?;
        let seen = seen.reshape((batch, count * tokens, width))?;
        let x = (x + gather_rows(&seen, &map.reversed())?)?;
        let wide = gelu(&self.widen.forward(&self.after.forward(&x)?)?)?;
        x + self.narrow.forward(&wide)?
    }
}

#[derive(Clone, Debug)]
struct Attention {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// `[(2·window - 1)², heads]`
    bias_table: Tensor,
    /// For each pair of a window's patches its row of the table.
    bias_index: Tensor,
}

impl Attention {
    fn load(config: &SwinConfig, stage: usize, source: &VarBuilder<'_>) -> Result<Self> {
        let width = config.stage_width(stage);
        let Some(&heads) = config.num_heads.get(stage) else { bail!("no stage {stage}") };
        let window = config.window_size;
        let inner = source.pp("self");
        let linear = |name: &str| Linear::load(width, width, config.qkv_bias, &inner.pp(name));
        let reach = 2 * window - 1;
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        let name = "relative_position_bias_table";
        let bias_table = inner.get_with_hints((reach * reach, heads), name, init)?;
        let tokens = window * window;
        let index = (0..tokens * tokens).map(|i| {
            let (a, b) = (i / tokens, i % tokens);
            let rows = a / window + window - 1 - b / window;
            let columns = a % window + window - 1 - b % window;
            (rows * reach + columns) as u32
        });
        let index = index.collect::<Vec<_>>();
        Ok(Self {
            heads,
            query: linear("query")?,
            key: linear("key")?,
            value: linear("value")?,
            output: Linear::load(width, width, true, &source.pp("output.dense"))?,
            bias_table,
            bias_index: Tensor::from_vec(index, tokens * tokens, source.device())?,
        })
    }

    /// `[windows, tokens, width]`, each window for itself.
    fn forward(&self, x: &Tensor, mask: &AttentionMask) -> Result<Tensor> {
        let (windows, tokens, width) = x.dims3()?;
        let split = |linear: &Linear| {
            let y = linear.forward(x)?;
            y.reshape((windows, tokens, self.heads, width / self.heads))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (q, k, v) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scale = 1.0 / ((width / self.heads) as f32).sqrt();
        let bias = self
            .bias_table
            .to_dtype(DType::F32)?
            .index_select(&self.bias_index, 0)?
            .t()?
            .reshape((self.heads, tokens, tokens))?;
        let seen = attention_softmax(&q.matmul(&k.t()?)?, scale, Some(&bias), mask)?;
        let mixed = seen.matmul(&v)?.transpose(1, 2)?.reshape((windows, tokens, width))?;
        self.output.forward(&mixed)
    }
}

/// Joins two by two patches into one of twice the width.
#[derive(Clone, Debug)]
struct Merge {
    map: RowMap,
    norm: LayerNorm,
    reduction: Linear,
}

impl Merge {
    fn load(width: usize, side: usize, source: &VarBuilder<'_>) -> Result<Self> {
        let half = side.div_ceil(2);
        // Four neighbours a result, column by column: (0,0) (1,0) (0,1) (1,1).
        let source_of = |i: usize| {
            let (result, part) = (i / 4, i % 4);
            let row = result / half * 2 + part % 2;
            let column = result % half * 2 + part / 2;
            (row < side && column < side).then_some((row * side + column) as u32)
        };
        let map = RowMap::new(side * side, (0..half * half * 4).map(source_of).collect())?;
        Ok(Self {
            map,
            norm: LayerNorm::load(4 * width, FIXED_EPS, &source.pp("norm"))?,
            reduction: Linear::load(4 * width, 2 * width, false, &source.pp("reduction"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, width) = x.dims3()?;
        let joined = gather_rows(x, &self.map)?.reshape((batch, (), 4 * width))?;
        self.reduction.forward(&self.norm.forward(&joined)?)
    }
}
