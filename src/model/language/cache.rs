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

impl LayerCache {
    fn new(shape: [usize; 4], dtype: DType, device: &Device) -> Result<Self> {
        let room = || Tensor::zeros(&shape, dtype, device);
        Ok(Self { keys: room()?, values: room()? })
    }
}

/// Room for so many layers: on a GPU in one piece, whose address says where all are.
fn rooms(
    layers: usize,
    shape: [usize; 4],
    dtype: DType,
    device: &Device,
) -> Result<Vec<LayerCache>> {
    if device.is_cpu() {
        return (0..layers).map(|_| LayerCache::new(shape, dtype, device)).collect();
    }
    let [batch, heads, capacity, width] = shape;
    let all = Tensor::zeros((2 * layers, batch, heads, capacity, width), dtype, device)?;
    let layer = |i| Ok(LayerCache { keys: all.get(2 * i)?, values: all.get(2 * i + 1)? });
    (0..layers).map(layer).collect()
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
        let layers = rooms(config.num_hidden_layers, shape, dtype, device)?;
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
        let held = |t: &Tensor| t.narrow(2, 0, self.length)?.contiguous();
        let take = |room: &LayerCache, old: &LayerCache| {
            if self.length > 0 {
                room.keys.slice_set(&held(&old.keys)?, 2, 0)?;
                room.values.slice_set(&held(&old.values)?, 2, 0)?;
            }
            Ok::<_, candle_core::Error>(())
        };
        let Some(first) = self.layers.first() else { return Ok(()) };
        let (dtype, device) = (first.keys.dtype(), first.keys.device().clone());
        let (batch, heads, _, width) = first.keys.dims4()?;
        let shape = [batch, heads, capacity, width];
        if device.is_cpu() {
            // A layer at a time, so that not all is there twice.
            for i in 0..self.layers.len() {
                let room = LayerCache::new(shape, dtype, &device)?;
                if let Some(old) = self.layers.get_mut(i) {
                    take(&room, old)?;
                    *old = room;
                }
            }
        } else {
            let wider = rooms(self.layers.len(), shape, dtype, &device)?;
            for (room, old) in wider.iter().zip(&self.layers) {
                take(room, old)?;
            }
            self.layers = wider;
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Room of the same size that holds nothing.
    pub fn empty_like(&self) -> Result<Self> {
        let layers = match self.layers.first() {
            Some(LayerCache { keys, .. }) => {
                let shape = <[usize; 4]>::from(keys.dims4()?);
                rooms(self.layers.len(), shape, keys.dtype(), keys.device())?
            }
            None => vec![],
        };
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

    /// Where the cache of a single sequence begins that lies in one piece, keys before values, layer
    /// after layer.
    #[cfg(feature = "cuda")]
    pub(super) fn room(&self) -> Option<&Tensor> {
        let keys = &self.layers.first()?.keys;
        (!keys.device().is_cpu() && keys.dims().first() == Some(&1)).then_some(keys)
    }

    /// Takes note that every layer got `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }
}
