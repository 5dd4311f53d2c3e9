//! Linear layers that take in the same rows, as one product on a GPU.

use candle_core::{Result, Tensor};

use super::Linear;

/// Linear layers whose outputs stand one after the other.
#[derive(Clone, Debug)]
pub(in crate::model) struct Joined {
    parts: Vec<Linear>,
    /// All their weights, `[out, in]`, where they are numbers alone.
    whole: Option<Tensor>,
}

impl Joined {
    /// Brings the weights together where that can be; the layers are then views of them, so that
    /// nothing is held twice.
    pub(in crate::model) fn new(parts: &mut [&mut Linear]) -> Result<Self> {
        let weights = parts.iter().map(|part| part.plain().cloned()).collect::<Option<Vec<_>>>();
        let whole = match weights.as_deref() {
            Some([one]) => one.is_contiguous().then(|| one.clone()),
            Some(several) if several.windows(2).all(alike) => {
                let whole = Tensor::cat(several, 0)?;
                let mut at = 0;
                for (part, weight) in parts.iter_mut().zip(several) {
                    let rows = weight.dim(0)?;
                    **part = Linear::new(whole.narrow(0, at, rows)?, None);
                    at += rows;
                }
                Some(whole)
            }
            _ => None,
        };
        Ok(Self { parts: parts.iter().map(|part| (**part).clone()).collect(), whole })
    }

    /// All weights as one matrix, where they are.
    pub(super) fn whole(&self) -> Option<&Tensor> {
        self.whole.as_ref()
    }

    /// `[rows, in]` to `[rows, outputs of all]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(whole) = &self.whole {
            return x.matmul(&whole.t()?);
        }
        let parts = self.parts.iter().map(|part| part.forward(x)).collect::<Result<Vec<_>>>()?;
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            several => Tensor::cat(several, 1)?.contiguous(),
        }
    }
}

fn alike(pair: &[Tensor]) -> bool {
    match pair {
        [a, b] => a.dtype() == b.dtype() && a.dims().last() == b.dims().last(),
        _ => false,
    }
}
