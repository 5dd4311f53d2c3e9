//! The language model on a GPU: its weights and caches as a [`Step`] takes them.

use candle_core::{Result, Tensor};

use super::llama::{Block, Llama, Segment};
use super::step::{Layer, Sequence, Sizes, Step};
use crate::model::layer::Joined;
use crate::model::layer::cuda::{Gpu, address};

/// A model as its steps take it.
pub(super) type OnGpu = Step<Gpu>;

/// Makes a model ready for steps on a GPU, where it lies on one and is not being trained. Weights
/// that take in the same rows become views of one.
pub(super) fn prepare(model: &mut Llama) -> Result<Option<OnGpu>> {
    let sizes = Sizes::of(model.config());
    let norm = model.norm.weight().clone();
    let dtype = model.embeddings.dtype();
    let (Some(gpu), Some((cosines, sines))) =
        (Gpu::new(model.device(), dtype), model.rotary.tables())
    else {
        return Ok(None);
    };
    if !sizes.fit(&gpu) || norm.track_op() || norm.dtype() != dtype {
        return Ok(None);
    }
    let angles = [cosines.clone(), sines.clone()];
    let layers = model.blocks.iter_mut().map(layer).collect::<Result<_>>()?;
    let head = Joined::new(&mut [&mut model.head])?;
    // Steps may be taken on another thread, whose stream does not wait for this one's.
    model.device().synchronize()?;
    Ok(Some(Step { sizes, layers, norm, head, angles }))
}

fn layer(block: &mut Block) -> Result<Layer<Gpu>> {
    let attention = &mut block.attention;
    let joined =
        Joined::new(&mut [&mut attention.query, &mut attention.key, &mut attention.value])?;
    let output = Joined::new(&mut [&mut attention.output])?;
    let gate_up = Joined::new(&mut [&mut block.gate, &mut block.up])?;
    let down = Joined::new(&mut [&mut block.down])?;
    let (before, after) = (block.before.weight().clone(), block.after.weight().clone());
    Ok(Layer { before, joined, output, after, gate_up, down })
}

/// The logits of the rows `wanted` after a step of all segments, whose caches are written to but
/// not told of it. `None` where the plain operations are the way.
pub(super) fn step(
    model: &OnGpu,
    embeds: &Tensor,
    segments: &[Segment<'_>],
    wanted: &[u32],
) -> Result<Option<Tensor>> {
    let Some(gpu) = Gpu::of(embeds) else { return Ok(None) };
    if embeds.track_op() || embeds.dtype() != model.norm.dtype() {
        return Ok(None);
    }
    let mut sequences = Vec::with_capacity(segments.len());
    for Segment { cache, time } in segments {
        let Some(whole) = cache.whole().filter(|whole| whole.dtype() == embeds.dtype()) else {
            return Ok(None);
        };
        let (capacity, length) = (cache.capacity(), cache.length());
        sequences.push(Sequence { cache: address(whole)?, capacity, length, time: *time });
    }
    let x = embeds.reshape(((), model.sizes.hidden))?.contiguous()?;
    model.run(&gpu, x, &sequences, wanted).map(Some)
}
