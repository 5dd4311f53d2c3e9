//! One step of a LLaMA on a GPU, in few launches.
//!
//! Five a layer where no sequence goes on by more than a token and there are few of them: the norm
//! and the query, key and value matrix; attention, which turns queries and keys and writes the
//! cache; the output matrix and the residual; the norm, the gate and up matrices and their product;
//! the down matrix and the residual. Else nine at most, around the general matrix product. What
//! differs from step to step, the places of the rows, is uploaded once.

use std::fmt;

use candle_core::{Result, bail};

use super::llama::LlamaConfig;
use crate::model::layer::cuda::{
    Attention, Machine, Norm, NormBefore, Rows, append, attend, gated, head_fits, norm, product,
    product_fits,
};

/// The sizes of a LLaMA.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub wide: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Added to the mean square in every norm.
    pub eps: f64,
}

impl Sizes {
    /// Of a model.
    pub fn of(config: &LlamaConfig) -> Self {
        Self {
            hidden: config.hidden_size,
            wide: config.intermediate_size,
            heads: config.num_attention_heads,
            kv_heads: config.kv_heads(),
            width: config.head_width(),
            vocabulary: config.vocab_size,
            eps: f64::from(config.rms_norm_eps as f32),
        }
    }

    /// Whether the kernels take such heads.
    pub fn fit(&self, machine: &impl Machine) -> bool {
        head_fits(machine.dtype(), self.width)
    }
}

/// The weights of a layer.
pub struct Layer<M: Machine> {
    /// The norm before the attention.
    pub before: M::Buffer,
    /// Queries, keys and values.
    pub joined: M::Matrix,
    /// The attention's output.
    pub output: M::Matrix,
    /// The norm after the attention.
    pub after: M::Buffer,
    /// The gates, and what they gate.
    pub gate_up: M::Matrix,
    /// Back to the hidden width.
    pub down: M::Matrix,
}

/// The weights of a LLaMA where its steps are taken.
pub struct Step<M: Machine> {
    /// The sizes.
    pub sizes: Sizes,
    /// The layers.
    pub layers: Vec<Layer<M>>,
    /// The last norm.
    pub norm: M::Buffer,
    /// To the vocabulary.
    pub head: M::Matrix,
    /// Cosines and sines `[positions, width / 2]` of the rotary embedding, f32.
    pub angles: [M::Buffer; 2],
}

impl<M: Machine> fmt::Debug for Step<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

/// A sequence that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The address of its cache `[layers, 2, kv_heads, capacity, width]`, keys before values.
    pub cache: u64,
    /// Positions that the cache has room for.
    pub capacity: usize,
    /// Positions that it holds.
    pub length: usize,
    /// Positions that come.
    pub time: usize,
}

/// The hidden state, and what is still to be added to it.
struct Stream<B> {
    x: B,
    added: Option<B>,
}

/// The rows of a step.
struct Batch<B> {
    count: usize,
    /// Of all rows: three words each.
    places: B,
    /// Whether no sequence has more than one.
    alone: bool,
}

impl<M: Machine> Step<M> {
    /// The logits `[wanted, vocabulary]` of some of the rows `x` `[rows, hidden]`, which are those of
    /// the sequences one after another.
    pub fn run(
        &self,
        machine: &M,
        x: M::Buffer,
        sequences: &[Sequence],
        wanted: &[u32],
    ) -> Result<M::Buffer> {
        let words = places(sequences)?;
        let count = words.len() / PLACE;
        if count == 0 || wanted.iter().any(|row| *row as usize >= count) {
            bail!("a step of {count} rows that wants the logits of {wanted:?}");
        }
        let batch = Batch {
            count,
            places: machine.upload(&words)?,
            alone: sequences.iter().all(|sequence| sequence.time <= 1),
        };
        let mut stream = Stream { x, added: None };
        for (i, layer) in self.layers.iter().enumerate() {
            stream = self.attention(machine, stream, layer, i, &batch)?;
            stream = self.feed_forward(machine, stream, layer, &batch)?;
        }
        self.logits(machine, &stream, &batch, wanted)
    }

    fn attention(
        &self,
        machine: &M,
        stream: Stream<M::Buffer>,
        layer: &Layer<M>,
        index: usize,
        batch: &Batch<M::Buffer>,
    ) -> Result<Stream<M::Buffer>> {
        let Sizes { hidden, heads, kv_heads, width, .. } = self.sizes;
        let output = (heads + 2 * kv_heads) * width;
        let sizes = [batch.count, hidden, output];
        let (x, joined) =
            self.normed_product(machine, stream, &layer.before, &layer.joined, sizes)?;
        let [cosines, sines] = &self.angles;
        let rows = Attention {
            joined: &joined,
            places: &batch.places,
            angles: [cosines, sines],
            layer: index,
            heads,
            kv_heads,
            width,
            rows: batch.count,
        };
        if !batch.alone {
            append(machine, &rows)?;
        }
        let mixed = attend(machine, &rows, batch.alone)?;
        add_product(machine, x, &mixed, &layer.output, [batch.count, heads * width, hidden])
    }

    fn feed_forward(
        &self,
        machine: &M,
        stream: Stream<M::Buffer>,
        layer: &Layer<M>,
        batch: &Batch<M::Buffer>,
    ) -> Result<Stream<M::Buffer>> {
        let Sizes { hidden, wide, eps, .. } = self.sizes;
        let sizes = [batch.count, hidden, 2 * wide];
        let (x, mixed) =
            if let (None, Some(weight)) = (&stream.added, few(machine, &layer.gate_up, sizes)) {
                let before = NormBefore { weight: &layer.after, eps, gated: true };
                let mixed = product(machine, &stream.x, weight, Some(before), None, sizes)?;
                (stream.x, mixed)
            } else {
                let (x, both) =
                    self.normed_product(machine, stream, &layer.after, &layer.gate_up, sizes)?;
                (x, gated(machine, &both, batch.count, wide)?)
            };
        add_product(machine, x, &mixed, &layer.down, [batch.count, wide, hidden])
    }

    /// The hidden state, and the product of its norm.
    fn normed_product(
        &self,
        machine: &M,
        stream: Stream<M::Buffer>,
        weight: &M::Buffer,
        matrix: &M::Matrix,
        sizes: [usize; 3],
    ) -> Result<(M::Buffer, M::Buffer)> {
        let [count, width, _] = sizes;
        if let (None, Some(numbers)) = (&stream.added, few(machine, matrix, sizes)) {
            let before = NormBefore { weight, eps: self.sizes.eps, gated: false };
            let y = product(machine, &stream.x, numbers, Some(before), None, sizes)?;
            return Ok((stream.x, y));
        }
        let rows = Rows { held: count, width, places: None };
        let (sum, y) =
            norm(machine, &stream.x, stream.added.as_ref(), &self.norm_of(weight), rows)?;
        Ok((sum.unwrap_or(stream.x), machine.product(&y, matrix)?))
    }

    fn norm_of<'a>(&self, weight: &'a M::Buffer) -> Norm<'a, M::Buffer> {
        Norm { weight, bias: None, eps: self.sizes.eps, centre: false }
    }

    fn logits(
        &self,
        machine: &M,
        stream: &Stream<M::Buffer>,
        batch: &Batch<M::Buffer>,
        wanted: &[u32],
    ) -> Result<M::Buffer> {
        let Sizes { hidden, vocabulary, eps, .. } = self.sizes;
        let sizes = [wanted.len(), hidden, vocabulary];
        let numbers = few(machine, &self.head, sizes);
        let all = wanted.iter().copied().eq(0..batch.count as u32);
        if let (true, None, Some(numbers)) = (all, &stream.added, numbers) {
            let before = NormBefore { weight: &self.norm, eps, gated: false };
            return product(machine, &stream.x, numbers, Some(before), None, sizes);
        }
        let places =
            || machine.upload(&wanted.iter().map(|row| i64::from(*row)).collect::<Vec<_>>());
        let places = (!all).then(places).transpose()?;
        let places = places.as_ref().map(|places| (places, wanted.len()));
        let rows = Rows { held: batch.count, width: hidden, places };
        let last = self.norm_of(&self.norm);
        let (_, y) = norm(machine, &stream.x, stream.added.as_ref(), &last, rows)?;
        match numbers {
            Some(numbers) => product(machine, &y, numbers, None, None, sizes),
            None => machine.product(&y, &self.head),
        }
    }
}

/// Words of a row's place.
const PLACE: usize = 3;

/// The places of all rows.
fn places(sequences: &[Sequence]) -> Result<Vec<i64>> {
    let mut words = Vec::new();
    for sequence in sequences {
        let Sequence { cache, capacity, length, time } = *sequence;
        if length + time > capacity {
            bail!("{} positions do not fit a cache of {capacity}", length + time);
        }
        for position in length..length + time {
            words.extend([cache as i64, capacity as i64, position as i64]);
        }
    }
    Ok(words)
}

/// The numbers of a matrix, where the kernel for few rows takes so many.
fn few<'m, M: Machine>(
    machine: &M,
    matrix: &'m M::Matrix,
    [rows, input, _]: [usize; 3],
) -> Option<&'m M::Buffer> {
    product_fits(machine.dtype(), rows, input).then(|| machine.numbers(matrix)).flatten()
}

/// `x + y · Wᵀ`.
fn add_product<M: Machine>(
    machine: &M,
    x: M::Buffer,
    y: &M::Buffer,
    matrix: &M::Matrix,
    sizes: [usize; 3],
) -> Result<Stream<M::Buffer>> {
    if let Some(numbers) = few(machine, matrix, sizes) {
        let x = product(machine, y, numbers, None, Some(&x), sizes)?;
        return Ok(Stream { x, added: None });
    }
    Ok(Stream { x, added: Some(machine.product(y, matrix)?) })
}
