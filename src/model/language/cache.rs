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

    /// Takes more room where fewer than `capacity` positions fit; what is held stays.
    pub fn reserve(&mut self, capacity: usize) -> Result<()> {
        if capacity <= self.capacity {
            return Ok(());
        }
        let length = self.length;
        let wider = |old: &Tensor| {
            let (batch, heads, _, width) = old.dims4()?;
            let room = Tensor::zeros((batch, heads, capacity, width), old.dtype(), old.device())?;
            if length > 0 {
                room.slice_set(&old.narrow(2, 0, length)?.contiguous()?, 2, 0)?;
            }
            Ok::<_, candle_core::Error>(room)
        };
        for layer in &mut self.layers {
            layer.keys = wider(&layer.keys)?;
            layer.values = wider(&layer.values)?;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Room of the same size that holds nothing.
    pub fn empty_like(&self) -> Result<Self> {
        let empty = |layer: &LayerCache| {
            Ok(LayerCache { keys: layer.keys.zeros_like()?, values: layer.values.zeros_like()? })
        };
        let layers = self.layers.iter().map(empty).collect::<Result<_>>()?;
        Ok(Self { layers, length: 0, capacity: self.capacity })
    }

    /// Holds from now on what `other` holds, in its own room.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.length = 0;
        self.reserve(other.length)?;
        if other.length > 0 {
            for (own, other_layer) in self.layers.iter().zip(&other.layers) {
                let held = |t: &Tensor| t.narrow(2, 0, other.length)?.contiguous();
                own.keys.slice_set(&held(&other_layer.keys)?, 2, 0)?;
                own.values.slice_set(&held(&other_layer.values)?, 2, 0)?;
            }
        }
        self.length = other.length;
        Ok(())
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
