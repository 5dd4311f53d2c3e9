//! The key-value cache: room for a whole context, taken once.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::llama::LlamaConfig;

/// Keys and values of every layer for the positions seen so far.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    length: usize,
    capacity: usize,
}

#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl Cache {
    /// Room for `capacity` positions of `batch` sequences.
    pub fn new(
        config: &LlamaConfig,
        batch: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (batch, config.kv_heads(), capacity, config.head_width());
        let room = || Tensor::zeros(shape, dtype, device);
        let layer = |_| Ok(LayerCache { keys: room()?, values: room()? });
        let layers = (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, length: 0, capacity })
    }

    /// Positions held.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the positions from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Writes the keys and values of new positions into a layer and gives all it holds.
    pub(super) fn append(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let end = self.length + keys.dim(2)?;
        if end > self.capacity {
            bail!("{end} positions do not fit a cache of {}", self.capacity);
        }
        let Some(at) = self.layers.get(layer) else { bail!("the cache has no layer {layer}") };
        at.keys.slice_set(&keys.contiguous()?, 2, self.length)?;
        at.values.slice_set(&values.contiguous()?, 2, self.length)?;
        let part = |t: &Tensor| {
            let part = t.narrow(2, 0, end)?;
            // A product of one sequence can stride over the heads; several need a copy.
            if part.dim(0)? == 1 { Ok(part) } else { part.contiguous() }
        };
        Ok((part(&at.keys)?, part(&at.values)?))
    }

    /// Takes note that every layer got `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}
