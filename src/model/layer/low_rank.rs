//! A trained change beside a weight that stays as it is: LoRA (Hu et al. 2021).

use candle_core::{Result, Tensor};

/// `x · Aᵀ · Bᵀ · scale`, which stands for adding `scale · B · A` to a weight `[out, in]`.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// A: `[rank, in]`.
    pub down: Tensor,
    /// B: `[out, rank]`.
    pub up: Tensor,
    /// The published alpha over the rank.
    pub scale: f64,
}

impl LowRank {
    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.down.t()?)?.matmul(&self.up.t()?)? * self.scale
    }

    /// What it adds to the weight, `[out, in]`.
    pub fn change(&self) -> Result<Tensor> {
        self.up.matmul(&self.down)? * self.scale
    }
}
