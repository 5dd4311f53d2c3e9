//! The key-value cache: room for a whole context, taken once.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::llama::LlamaConfig;

/// Keys and values of every layer for the positions seen so far.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    /// All layers in one piece, `[2 · layers, batch, heads, capacity, width]`, keys before values,
    /// on a device other than the processor.
    whole: Option<Tensor>,
    length: usize,
    capacity: usize,
}

#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl LayerCache {
    fn new(shape: [usize; 4], dtype: DType, device: &Device) -> Result<Self> {
        let room = || Tensor::zeros(&shape, dtype, device);
        Ok(Self { keys: room()?, values: room()? })
    }

    /// Takes over the first positions of another layer.
    fn take(&self, other: &Self, length: usize) -> Result<()> {
        let held = |t: &Tensor| t.narrow(2, 0, length)?.contiguous();
        self.keys.slice_set(&held(&other.keys)?, 2, 0)?;
        self.values.slice_set(&held(&other.values)?, 2, 0)
    }
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
        let shape = [batch, config.kv_heads(), capacity, config.head_width()];
        Self::empty(config.num_hidden_layers, shape, dtype, device)
    }

    fn empty(layers: usize, shape: [usize; 4], dtype: DType, device: &Device) -> Result<Self> {
        let [batch, heads, capacity, width] = shape;
        if device.is_cpu() {
            let layers = (0..layers).map(|_| LayerCache::new(shape, dtype, device));
            return Ok(Self {
                layers: layers.collect::<Result<_>>()?,
                whole: None,
                length: 0,
                capacity,
            });
        }
        let whole = Tensor::zeros((2 * layers, batch, heads, capacity, width), dtype, device)?;
        let layer = |i| Ok(LayerCache { keys: whole.get(2 * i)?, values: whole.get(2 * i + 1)? });
        let layers = (0..layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, whole: Some(whole), length: 0, capacity })
    }

    /// Takes over the first positions of another cache, for which there is room.
    fn take(&mut self, other: &Self, length: usize) -> Result<()> {
        if let (Some(own), Some(other)) = (&self.whole, &other.whole) {
            if length > 0 {
                own.slice_set(&other.narrow(3, 0, length)?.contiguous()?, 3, 0)?;
            }
        } else if length > 0 {
            for (own, other) in self.layers.iter().zip(&other.layers) {
                own.take(other, length)?;
            }
        }
        self.length = length;
        Ok(())
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
        let Some(first) = self.layers.first() else { return Ok(()) };
        let (dtype, device) = (first.keys.dtype(), first.keys.device().clone());
        let (batch, heads, _, width) = first.keys.dims4()?;
        let shape = [batch, heads, capacity, width];
        if !device.is_cpu() {
            let mut wider = Self::empty(self.layers.len(), shape, dtype, &device)?;
            wider.take(self, self.length)?;
            *self = wider;
            return Ok(());
        }
        // A layer at a time, so that not all is there twice.
        for layer in &mut self.layers {
            let room = LayerCache::new(shape, dtype, &device)?;
            if self.length > 0 {
                room.take(layer, self.length)?;
            }
            *layer = room;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Room of the same size that holds nothing.
    pub fn empty_like(&self) -> Result<Self> {
        let Some(LayerCache { keys, .. }) = self.layers.first() else {
            return Ok(Self { layers: vec![], whole: None, length: 0, capacity: self.capacity });
        };
        let shape = <[usize; 4]>::from(keys.dims4()?);
        Self::empty(self.layers.len(), shape, keys.dtype(), keys.device())
    }

    /// Holds from now on what `other` holds, in its own room.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        self.length = 0;
        self.reserve(other.length)?;
        self.take(other, other.length)
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

    /// The whole of a single sequence's cache that lies in one piece.
    #[cfg(feature = "cuda")]
    pub(super) fn whole(&self) -> Option<&Tensor> {
        self.whole.as_ref().filter(|whole| whole.dims().get(1) == Some(&1))
    }

    /// Takes note that every layer got `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}
