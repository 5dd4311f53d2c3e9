//! BLIP-2's Q-Former (Li et al. 2023), the path of its queries only: a BERT whose learned queries
//! see one another in every layer and the image in every `cross_attention_freq`-th, under the names
//! of `blip2_pretrained_flant5xxl.pth`.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use crate::model::layer::{AttentionMask, LayerNorm, Linear, attention_softmax, gelu};

/// BERT's.
const EPS: f32 = 1e-12;

/// The sizes of a Q-Former. BLIP-2's has 768, 12, 12, 3072, 32 and 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QFormerConfig {
    /// Width of every layer.
    pub hidden: usize,
    /// Attention heads a layer.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Width of the feed-forward layers.
    pub intermediate: usize,
    /// Learned queries: the image tokens it gives.
    pub queries: usize,
    /// Layers 0, n, 2n, … see the image.
    pub cross_attention_freq: usize,
}

impl QFormerConfig {
    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        let bounds = [
            ("hidden", self.hidden, 1 << 14),
            ("heads", self.heads, 1 << 10),
            ("layers", self.layers, 512),
            ("intermediate", self.intermediate, 1 << 16),
            ("queries", self.queries, 1 << 12),
            ("cross_attention_freq", self.cross_attention_freq, 512),
        ];
        for (name, value, most) in bounds {
            if value == 0 || value > most {
                return Err(format!("{name} = {value} is outside 1 to {most}"));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!("heads = {} do not divide hidden = {}", self.heads, self.hidden));
        }
        Ok(())
    }
}

/// A Q-Former.
#[derive(Clone, Debug)]
pub struct QFormer {
    /// `[1, queries, hidden]`
    queries: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl QFormer {
    /// Takes `query_tokens` and `Qformer.bert.*` from `source`, for images of `image_width`.
    pub fn load(
        config: &QFormerConfig,
        image_width: usize,
        source: &VarBuilder<'_>,
    ) -> Result<Self> {
        config.check().map_err(candle_core::Error::msg)?;
        let bert = source.pp("Qformer.bert");
        let layers = (0..config.layers)
            .map(|i| {
                let cross = i.is_multiple_of(config.cross_attention_freq).then_some(image_width);
                Layer::load(config, cross, &bert.pp(format!("encoder.layer.{i}")))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            queries: source.get((1, config.queries, config.hidden), "query_tokens")?,
            norm: LayerNorm::load(config.hidden, EPS, &bert.pp("embeddings.LayerNorm"))?,
            layers,
        })
    }

    /// What the queries make of `[batch, rows, image width]`: `[batch, queries, hidden]`.
    pub fn forward(&self, image: &Tensor) -> Result<Tensor> {
        let (_, queries, hidden) = self.queries.dims3()?;
        let queries = self.queries.broadcast_as((image.dim(0)?, queries, hidden))?.contiguous()?;
        let mut x = self.norm.forward(&queries)?;
        for layer in &self.layers {
            x = layer.forward(&x, image)?;
        }
        Ok(x)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    own: Attention,
    cross: Option<Attention>,
    widen: Linear,
    narrow: Linear,
    norm: LayerNorm,
}

impl Layer {
    fn load(config: &QFormerConfig, cross: Option<usize>, source: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, wide) = (config.hidden, config.intermediate);
        let attention = |name: &str, seen| Attention::load(config, seen, &source.pp(name));
        let output = source.pp("output_query");
        Ok(Self {
            own: attention("attention", hidden)?,
            cross: cross.map(|seen| attention("crossattention", seen)).transpose()?,
            widen: Linear::load(hidden, wide, true, &source.pp("intermediate_query.dense"))?,
            narrow: Linear::load(wide, hidden, true, &output.pp("dense"))?,
            norm: LayerNorm::load(hidden, EPS, &output.pp("LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, image: &Tensor) -> Result<Tensor> {
        let mut x = self.own.forward(x, x)?;
        if let Some(cross) = &self.cross {
            x = cross.forward(&x, image)?;
        }
        let wide = gelu(&self.widen.forward(&x)?)?;
        self.norm.forward(&(self.narrow.forward(&wide)? + &x)?)
    }
}

/// Attention, with its residual and the norm after it.
#[derive(Clone, Debug)]
struct Attention {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
}

impl Attention {
    fn load(config: &QFormerConfig, seen: usize, source: &VarBuilder<'_>) -> Result<Self> {
        let hidden = config.hidden;
        let inner = source.pp("self");
        let output = source.pp("output");
        Ok(Self {
            heads: config.heads,
            query: Linear::load(hidden, hidden, true, &inner.pp("query"))?,
            key: Linear::load(seen, hidden, true, &inner.pp("key"))?,
            value: Linear::load(seen, hidden, true, &inner.pp("value"))?,
            output: Linear::load(hidden, hidden, true, &output.pp("dense"))?,
            norm: LayerNorm::load(hidden, EPS, &output.pp("LayerNorm"))?,
        })
    }

    /// `x` asks, `seen` answers.
    fn forward(&self, x: &Tensor, seen: &Tensor) -> Result<Tensor> {
        let (batch, tokens, hidden) = x.dims3()?;
        let each = hidden / self.heads;
        let split =
            |y: Tensor| y.reshape((batch, (), self.heads, each))?.transpose(1, 2)?.contiguous();
        let q = split(self.query.forward(x)?)?;
        let k = split(self.key.forward(seen)?)?;
        let v = split(self.value.forward(seen)?)?;
        let scale = 1.0 / (each as f32).sqrt();
        let weights = attention_softmax(&q.matmul(&k.t()?)?, scale, None, &AttentionMask::None)?;
        let mixed = weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, hidden))?;
        self.norm.forward(&(self.output.forward(&mixed)? + x)?)
    }
}
