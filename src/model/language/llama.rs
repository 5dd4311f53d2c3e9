//! LLaMA (Touvron et al. 2023) under the names of Hugging Face's `LlamaForCausalLM`.
//!
//! Takes embeddings, not only token ids, so that image tokens can stand in a prompt. Without a
//! cache it gives the logits of all positions, differentiable; with one it continues a sequence.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::cache::Cache;
#[cfg(feature = "cuda")]
use super::gpu::{self, OnGpu};
use crate::model::layer::{
    AttentionMask, Embedding, Linear, LowRank, RmsNorm, Rotary, attend_one, attention_softmax, silu,
};

/// The sizes of a LLaMA, under the keys of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; absent: as many as the queries have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; absent: hidden size over heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Added to the mean square in every norm.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Positions a sequence may have.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Whether the output layer is the embedding table.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

fn default_eps() -> f64 {
    1e-6
}
fn default_theta() -> f64 {
    10_000.0
}
fn default_positions() -> usize {
    2048
}

impl LlamaConfig {
    /// Heads of keys and values.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of a head.
    pub fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Numbers of the matrices that every generated token meets: all but the table of embeddings.
    pub fn parameters_per_token(&self) -> u64 {
        let heads = (2 * self.num_attention_heads + 2 * self.kv_heads()) * self.head_width();
        let block = self.hidden_size * (heads + 3 * self.intermediate_size);
        (self.num_hidden_layers * block + self.hidden_size * self.vocab_size) as u64
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        for (name, value, most) in [
            ("vocab_size", self.vocab_size, 1 << 20),
            ("hidden_size", self.hidden_size, 1 << 15),
            ("intermediate_size", self.intermediate_size, 1 << 17),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("num_key_value_heads", self.kv_heads(), 256),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 17),
            ("head_dim", self.head_width(), 1 << 9),
        ] {
            if value == 0 || value > most {
                return Err(format!("{name} = {value} is outside 1 to {most}"));
            }
        }
        for (name, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(format!("{name} = {value} is no number above 0"));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.kv_heads()) {
            return Err(format!(
                "{} query heads do not divide among {} key-value heads",
                self.num_attention_heads,
                self.kv_heads()
            ));
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} does not divide by {} heads",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if !self.head_width().is_multiple_of(2) {
            return Err(format!("heads of {} numbers; the width must be even", self.head_width()));
        }
        Ok(())
    }
}

/// The next positions of one sequence among several.
#[derive(Debug)]
pub struct Segment<'a> {
    /// What the sequence has so far.
    pub cache: &'a mut Cache,
    /// How many positions come.
    pub time: usize,
}

/// What may stand beside the weight of a linear layer of this name, with so many numbers out and in.
pub type Adapt<'a> = dyn FnMut(&str, (usize, usize)) -> Result<Option<LowRank>> + 'a;

/// The language model.
#[derive(Clone, Debug)]
pub struct Llama {
    config: LlamaConfig,
    pub(super) embeddings: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: RmsNorm,
    pub(super) head: Linear,
    pub(super) rotary: Rotary,
    /// The same weights, where steps are taken on a GPU.
    #[cfg(feature = "cuda")]
    on_gpu: Option<Arc<OnGpu>>,
}

impl Llama {
    /// Takes the tensors from `source`, which stands at the names `model` and `lm_head`.
    pub fn load(config: &LlamaConfig, source: &VarBuilder<'_>) -> Result<Self> {
        if let Err(reason) = config.check() {
            bail!("LLaMA: {reason}");
        }
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let eps = config.rms_norm_eps as f32;
        let inner = source.pp("model");
        let embeddings = Embedding::load(vocabulary, width, &inner.pp("embed_tokens"))?;
        let blocks = (0..config.num_hidden_layers)
            .map(|i| Block::load(config, &inner.pp(format!("layers.{i}"))))
            .collect::<Result<_>>()?;
        let head = if config.tie_word_embeddings {
            embeddings.to_linear()
        } else {
            Linear::load(width, vocabulary, false, &source.pp("lm_head"))?
        };
        let positions = config.max_position_embeddings;
        let model = Self {
            config: config.clone(),
            embeddings,
            blocks,
            norm: RmsNorm::load(width, eps, &inner.pp("norm"))?,
            head,
            rotary: Rotary::new(
                config.head_width(),
                positions,
                config.rope_theta,
                source.device(),
            )?,
            #[cfg(feature = "cuda")]
            on_gpu: None,
        };
        #[cfg(feature = "cuda")]
        let model = {
            let mut model = model;
            model.on_gpu = gpu::prepare(&mut model)?.map(Arc::new);
            model
        };
        Ok(model)
    }

    /// The same model with what `adapt` gives beside the weights of its blocks' linear layers.
    pub fn with_low_ranks(&self, adapt: &mut Adapt<'_>) -> Result<Self> {
        let mut adapted = self.clone();
        #[cfg(feature = "cuda")]
        {
            adapted.on_gpu = None;
        }
        for (i, block) in adapted.blocks.iter_mut().enumerate() {
            for (name, linear) in block.linears() {
                let name = format!("model.layers.{i}.{name}");
                if let Some(low_rank) = adapt(&name, linear.dims()?)? {
                    *linear = linear.clone().with_low_rank(low_rank);
                }
            }
        }
        Ok(adapted)
    }

    /// The sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.rotary.device()
    }

    /// Embeddings `[batch, time, width]` of the token ids `[batch, time]` (u32).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.embeddings.forward(ids)
    }

    /// Embeddings `[1, tokens, width]` of these tokens.
    pub fn embed_tokens(&self, ids: &[u32]) -> Result<Tensor> {
        self.embed(&Tensor::from_slice(ids, (1, ids.len()), self.device())?)
    }

    /// An empty cache for one sequence of `capacity` positions.
    pub fn cache(&self, capacity: usize) -> Result<Cache> {
        let (dtype, device) = (self.embeddings.dtype(), self.rotary.device());
        Cache::new(&self.config, 1, capacity, dtype, device)
    }

    /// Logits `[batch, time, vocabulary]` of every position; with a cache the embeddings continue
    /// what it holds.
    pub fn forward_embeds(&self, embeds: &Tensor, cache: Option<&mut Cache>) -> Result<Tensor> {
        self.head.forward(&self.hidden(embeds, cache)?)
    }

    /// Logits `[rows, vocabulary]` of these rows of `[batch · time, width]` (u32), differentiable.
    pub fn forward_rows(&self, embeds: &Tensor, rows: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden(embeds, None)?.flatten(0, 1)?;
        self.head.forward(&hidden.index_select(rows, 0)?)
    }

    /// Logits `[batch, vocabulary]` of the last position only.
    pub fn forward_last(&self, embeds: &Tensor, cache: Option<&mut Cache>) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        let cache = match (cache, &self.on_gpu) {
            (Some(cache), Some(_)) => {
                let time = embeds.dim(1)?;
                return self.forward_ragged(embeds, &mut [Segment { cache, time }]);
            }
            (cache, _) => cache,
        };
        let hidden = self.hidden(embeds, cache)?;
        let time = hidden.dim(1)?;
        self.head.forward(&hidden.narrow(1, time.saturating_sub(1), 1)?.squeeze(1)?)
    }

    /// Continues several sequences at once, each by as many positions as its segment says.
    /// `embeds` `[1, rows, width]` holds their rows one after another; the linear layers take all
    /// rows together, the attention each sequence by itself. Gives the logits
    /// `[segments, vocabulary]` of each segment's last position. The caches of a batch that fails
    /// hold what they held before.
    pub fn forward_ragged(&self, embeds: &Tensor, segments: &mut [Segment<'_>]) -> Result<Tensor> {
        let rows = segments.iter().map(|segment| segment.time).sum::<usize>();
        if embeds.dims() != [1, rows, self.config.hidden_size] {
            bail!("embeddings of {:?} for {rows} rows", embeds.dims());
        }
        for segment in segments.iter() {
            self.fits(segment.cache.length() + segment.time)?;
        }
        let mut ends = Vec::with_capacity(segments.len());
        let mut end = 0;
        for segment in segments.iter() {
            end += segment.time;
            ends.push(end.saturating_sub(1) as u32);
        }
        #[cfg(feature = "cuda")]
        if let Some(model) = &self.on_gpu
            && let Some(logits) = gpu::step(model, embeds, segments, &ends)?
        {
            for segment in segments.iter_mut() {
                segment.cache.advance(segment.time);
            }
            return Ok(logits);
        }
        let mut x = embeds.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward_with(&x, |x| {
                block.attention.forward_ragged(x, &self.rotary, i, segments)
            })?;
        }
        let x = if rows == ends.len() {
            x.squeeze(0)?
        } else {
            x.squeeze(0)?.index_select(&Tensor::new(ends, embeds.device())?, 0)?
        };
        let logits = self.head.forward(&self.norm.forward(&x)?)?;
        // Only now can nothing fail any more.
        for segment in segments.iter_mut() {
            segment.cache.advance(segment.time);
        }
        Ok(logits)
    }

    /// Takes positions into a cache whose logits nobody asks for.
    pub fn prefill(&self, embeds: &Tensor, cache: &mut Cache) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.on_gpu.is_some() {
            return self.forward_last(embeds, Some(cache)).map(drop);
        }
        self.hidden(embeds, Some(cache)).map(drop)
    }

    fn fits(&self, positions: usize) -> Result<()> {
        if positions > self.rotary.positions() {
            bail!("{positions} positions exceed the context of {}", self.rotary.positions());
        }
        Ok(())
    }

    fn hidden(&self, embeds: &Tensor, mut cache: Option<&mut Cache>) -> Result<Tensor> {
        let first = cache.as_deref().map_or(0, Cache::length);
        let time = embeds.dim(1)?;
        self.fits(first + time)?;
        let mut x = embeds.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let layer = cache.as_deref_mut().map(|cache| (i, cache));
            x = block
                .forward_with(&x, |x| block.attention.forward(x, &self.rotary, first, layer))?;
        }
        if let Some(cache) = cache {
            cache.advance(time);
        }
        self.norm.forward(&x)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) before: RmsNorm,
    pub(super) attention: Attention,
    pub(super) after: RmsNorm,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl Block {
    fn load(config: &LlamaConfig, source: &VarBuilder<'_>) -> Result<Self> {
        let (width, wide) = (config.hidden_size, config.intermediate_size);
        let eps = config.rms_norm_eps as f32;
        let mlp = source.pp("mlp");
        Ok(Self {
            before: RmsNorm::load(width, eps, &source.pp("input_layernorm"))?,
            attention: Attention::load(config, &source.pp("self_attn"))?,
            after: RmsNorm::load(width, eps, &source.pp("post_attention_layernorm"))?,
            gate: Linear::load(width, wide, false, &mlp.pp("gate_proj"))?,
            up: Linear::load(width, wide, false, &mlp.pp("up_proj"))?,
            down: Linear::load(wide, width, false, &mlp.pp("down_proj"))?,
        })
    }

    /// Its linear layers by name.
    fn linears(&mut self) -> [(&'static str, &mut Linear); 7] {
        let attention = &mut self.attention;
        [
            ("self_attn.q_proj", &mut attention.query),
            ("self_attn.k_proj", &mut attention.key),
            ("self_attn.v_proj", &mut attention.value),
            ("self_attn.o_proj", &mut attention.output),
            ("mlp.gate_proj", &mut self.gate),
            ("mlp.up_proj", &mut self.up),
            ("mlp.down_proj", &mut self.down),
        ]
    }

    fn forward_with(
        &self,
        x: &Tensor,
        attention: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = (x + attention(&self.before.forward(x)?)?)?;
        let y = self.after.forward(&x)?;
        let y = (silu(&self.gate.forward(&y)?)? * self.up.forward(&y)?)?;
        x + self.down.forward(&y)?
    }
}

#[derive(Clone, Debug)]
pub(super) struct Attention {
    heads: usize,
    kv_heads: usize,
    width: usize,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
}

impl Attention {
    fn load(config: &LlamaConfig, source: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, width) = (config.hidden_size, config.head_width());
        let (heads, kv_heads) = (config.num_attention_heads, config.kv_heads());
        let linear =
            |name: &str, input, output| Linear::load(input, output, false, &source.pp(name));
        Ok(Self {
            heads,
            kv_heads,
            width,
            query: linear("q_proj", hidden, heads * width)?,
            key: linear("k_proj", hidden, kv_heads * width)?,
            value: linear("v_proj", hidden, kv_heads * width)?,
            output: linear("o_proj", heads * width, hidden)?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        first: usize,
        cache: Option<(usize, &mut Cache)>,
    ) -> Result<Tensor> {
        let [q, k, v] = self.project(x)?;
        self.output.forward(&self.mix([q, k, v], rotary, first, cache)?)
    }

    fn forward_ragged(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        layer: usize,
        segments: &mut [Segment<'_>],
    ) -> Result<Tensor> {
        let [q, k, v] = self.project(x)?;
        let mut start = 0;
        let mut mixed = Vec::with_capacity(segments.len());
        for Segment { cache, time } in segments.iter_mut() {
            let part = |all: &Tensor| all.narrow(1, start, *time);
            let own = [part(&q)?, part(&k)?, part(&v)?];
            let first = cache.length();
            mixed.push(self.mix(own, rotary, first, Some((layer, cache)))?);
            start += *time;
        }
        self.output.forward(&Tensor::cat(&mixed, 1)?)
    }

    fn project(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        Ok([self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?])
    }

    /// Attention of rows `[batch, time, heads · width]` that stand from position `first` on.
    fn mix(
        &self,
        [q, k, v]: [Tensor; 3],
        rotary: &Rotary,
        first: usize,
        cache: Option<(usize, &mut Cache)>,
    ) -> Result<Tensor> {
        let (batch, time, _) = q.dims3()?;
        let split = |rows: &Tensor, heads: usize| {
            rows.reshape((batch, time, heads, self.width))?.transpose(1, 2)
        };
        let q = rotary.forward(&split(&q, self.heads)?, first)?;
        let k = rotary.forward(&split(&k, self.kv_heads)?, first)?;
        let v = split(&v, self.kv_heads)?.contiguous()?;
        let scale = 1.0 / (self.width as f32).sqrt();
        let (k, v) = match cache {
            Some((layer, cache)) => {
                let (k, v) = cache.append(layer, &k, &v)?;
                if let Some(mixed) = attend_one(&q, &k, &v, scale)? {
                    return Ok(mixed);
                }
                (k, v)
            }
            None => (k, v),
        };
        // The query heads that share a key-value head stand one after another: one product.
        let shared = self.heads / self.kv_heads;
        let seen = k.dim(2)?;
        let q = q.reshape((batch, self.kv_heads, shared * time, self.width))?;
        let scores = q.matmul(&k.t()?)?.reshape((batch, self.heads, time, seen))?;
        let weights = attention_softmax(&scores, scale, None, &AttentionMask::Causal { first })?;
        let weights = weights.reshape((batch, self.kv_heads, shared * time, seen))?;
        weights
            .matmul(&v)?
            .reshape((batch, self.heads, time, self.width))?
            .transpose(1, 2)?
            .reshape((batch, time, self.heads * self.width))
    }
}
