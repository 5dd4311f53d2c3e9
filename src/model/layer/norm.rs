//! Layer normalisation and root-mean-square normalisation over the last dimension.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail,
};
use candle_nn::{Init, VarBuilder};

use super::rows::{for_rows, fused, slice, sum_rows, width};

/// `(x - mean) / √(variance + eps) · weight + bias` over the last dimension.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    if fused(x) && fused(weight) && fused(bias) {
        let normalized = normalize(x, weight, eps, true)?;
        return super::bias_add(&normalized, bias);
    }
    #[cfg(feature = "cuda")]
    if let Some(y) = super::cuda::norm_rows(x, weight, Some(bias), eps, true)? {
        return Ok(y);
    }
    let wide = x.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    scale_by_root_mean_square(&centred, eps)?
        .to_dtype(x.dtype())?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}

/// `x / √(mean of squares + eps) · weight` over the last dimension (Zhang and Sennrich 2019).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    if fused(x) && fused(weight) {
        return normalize(x, weight, eps, false);
    }
    #[cfg(feature = "cuda")]
    if let Some(y) = super::cuda::norm_rows(x, weight, None, eps, false)? {
        return Ok(y);
    }
    let wide = x.to_dtype(DType::F32)?;
    scale_by_root_mean_square(&wide, eps)?.to_dtype(x.dtype())?.broadcast_mul(weight)
}

fn scale_by_root_mean_square(x: &Tensor, eps: f32) -> Result<Tensor> {
    let root = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?;
    x.broadcast_div(&root)
}

fn normalize(x: &Tensor, weight: &Tensor, eps: f32, centre: bool) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&weight.contiguous()?, Normalize { eps, centre })
}

/// Mean (0 without centring) and one over the root of the mean square.
fn statistics(row: &[f32], eps: f32, centre: bool) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = if centre { row.iter().sum::<f32>() / n } else { 0.0 };
    let square = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    (mean, 1.0 / (square + eps).sqrt())
}

#[derive(Clone, Copy)]
struct Normalize {
    eps: f32,
    centre: bool,
}

impl CustomOp2 for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout.shape())?;
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        if weight.len() != width {
            bail!("a norm of {} weights for rows of {width}", weight.len());
        }
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, width, |row, out| {
            let x = &x[row * width..(row + 1) * width];
            let (mean, scale) = statistics(x, self.eps, self.centre);
            for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
                *o = (x - mean) * scale * w;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, gradient) = (x.contiguous()?, gradient.contiguous()?);
        let weight = weight.contiguous()?;
        let by_x = x.apply_op3_no_bwd(&weight, &gradient, &ByInput(*self))?;
        let by_weight = x.apply_op2_no_bwd(&gradient, &ByWeight(*self))?;
        Ok((Some(by_x), Some(by_weight.reshape(weight.shape())?)))
    }
}

/// With y = (x - m)·s and g = gradient·weight: s·(g - mean(g) - y·mean(g·y)); mean(g) only when
/// centred.
struct ByInput(Normalize);

impl CustomOp3 for ByInput {
    fn name(&self) -> &'static str {
        "normalize-by-input"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout.shape())?;
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let gradient = slice(gradient, gradient_layout)?;
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, width, |row, out| {
            let x = &x[row * width..(row + 1) * width];
            let g = &gradient[row * width..(row + 1) * width];
            let (mean, scale) = statistics(x, self.0.eps, self.0.centre);
            let (mut sum, mut dot) = (0f32, 0f32);
            for ((x, g), w) in x.iter().zip(g).zip(weight) {
                sum += g * w;
                dot += g * w * (x - mean) * scale;
            }
            let sum = if self.0.centre { sum / width as f32 } else { 0.0 };
            let dot = dot / width as f32;
            for (((o, x), g), w) in out.iter_mut().zip(x).zip(g).zip(weight) {
                *o = scale * (g * w - sum - (x - mean) * scale * dot);
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

struct ByWeight(Normalize);

impl CustomOp2 for ByWeight {
    fn name(&self) -> &'static str {
        "normalize-by-weight"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout.shape())?;
        let (x, gradient) = (slice(x, x_layout)?, slice(gradient, gradient_layout)?);
        let sums = sum_rows(x.len() / width, width, width, |row, total| {
            let x = &x[row * width..(row + 1) * width];
            let g = &gradient[row * width..(row + 1) * width];
            let (mean, scale) = statistics(x, self.0.eps, self.0.centre);
            for ((t, x), g) in total.iter_mut().zip(x).zip(g) {
                *t += g * (x - mean) * scale;
            }
        });
        Ok((CpuStorage::F32(sums), Shape::from(width)))
    }
}

/// Layer normalisation with its weights.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Takes `weight` and `bias` from `source`.
    pub fn load(width: usize, eps: f32, source: &VarBuilder<'_>) -> Result<Self> {
        let weight = source.get_with_hints(width, "weight", Init::Const(1.0))?;
        let bias = source.get_with_hints(width, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias, eps })
    }

    /// Normalises the last dimension.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// Root-mean-square normalisation with its weight.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Takes `weight` from `source`.
    pub fn load(width: usize, eps: f32, source: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: source.get_with_hints(width, "weight", Init::Const(1.0))?, eps })
    }

    /// Normalises the last dimension.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }

    /// Its weight, `[width]`.
    #[cfg(feature = "cuda")]
    pub(in crate::model) fn weight(&self) -> &Tensor {
        &self.weight
    }
}
