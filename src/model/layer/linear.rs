//! `x · Wᵀ + b`.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::bias_add;

/// A linear layer, its weight stored as `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes `weight` and, when asked, `bias` from `source`.
    pub fn load(input: usize, output: usize, bias: bool, source: &VarBuilder<'_>) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        let weight = source.get_with_hints((output, input), "weight", init)?;
        let bias =
            bias.then(|| source.get_with_hints(output, "bias", Init::Const(0.0))).transpose()?;
        Ok(Self { weight, bias })
    }

    /// A layer of tensors already at hand.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        let y = x.reshape(((), input))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => bias_add(&y, bias)?,
            None => y,
        };
        y.reshape(shape)
    }
}
