//! Moving whole token rows: shifting, padding, cutting into windows and merging patches are each
//! one copy.
#![expect(
    clippy::indexing_slicing,
    reason = "kernel over rows whose indices are checked by RowMap"
)]

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};

use super::rows::{for_rows, fused, slice};

/// Where each row of the result comes from; no row is used twice.
#[derive(Clone, Debug)]
pub struct RowMap {
    /// The source of each result row; `None` gives zeros.
    forward: Arc<Vec<Option<u32>>>,
    /// The result row that each source row went to; `None` when it is left out.
    backward: Arc<Vec<Option<u32>>>,
}

impl RowMap {
    /// A map from `sources` rows. An index out of range or used twice is an error.
    pub fn new(sources: usize, forward: Vec<Option<u32>>) -> Result<Self> {
        let mut backward = vec![None; sources];
        for (to, from) in forward.iter().enumerate() {
            let Some(from) = from else { continue };
            match backward.get_mut(*from as usize) {
                Some(slot @ None) => *slot = Some(to as u32),
                _ => bail!("row {from} of {sources} is out of range or used twice"),
            }
        }
        Ok(Self { forward: Arc::new(forward), backward: Arc::new(backward) })
    }

    /// The map back.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { forward: self.backward.clone(), backward: self.forward.clone() }
    }
}

/// `[batch, sources, width]` to `[batch, results, width]`.
pub fn gather_rows(x: &Tensor, map: &RowMap) -> Result<Tensor> {
    let (batch, sources, width) = x.dims3()?;
    if sources != map.backward.len() {
        bail!("{sources} rows for a map of {}", map.backward.len());
    }
    if fused(x) {
        return x.contiguous()?.apply_op1(Gather(map.clone()));
    }
    // One row of zeros stands behind the sources for those without one.
    let zeros = Tensor::zeros((batch, 1, width), x.dtype(), x.device())?;
    let index = map.forward.iter().map(|i| i.unwrap_or(sources as u32)).collect::<Vec<_>>();
    let index = Tensor::from_vec(index, map.forward.len(), &Device::Cpu)?.to_device(x.device())?;
    Tensor::cat(&[x, &zeros], 1)?.index_select(&index, 1)
}

struct Gather(RowMap);

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, sources, width) = layout.shape().dims3()?;
        let x = slice(storage, layout)?;
        let results = self.0.forward.len();
        let mut out = vec![0f32; batch * results * width];
        for_rows(&mut out, width.max(1), |row, out| {
            if let Some(from) = self.0.forward[row % results] {
                let at = (row / results * sources + from as usize) * width;
                out.copy_from_slice(&x[at..at + width]);
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((batch, results, width))))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.contiguous()?.apply_op1_no_bwd(&Gather(self.0.reversed())).map(Some)
    }
}
