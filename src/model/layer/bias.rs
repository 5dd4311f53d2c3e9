//! Adding one vector to every row, alone or with a clipped rectifier after it.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::rows::{ColumnSum, for_rows, fused, slice, width};

/// `x + bias`, `bias` being as long as the last dimension of `x`.
pub fn bias_add(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if fused(x) && fused(bias) {
        x.contiguous()?.apply_op2(&bias.contiguous()?, BiasAdd)
    } else {
        x.broadcast_add(bias)
    }
}

struct BiasAdd;

impl CustomOp2 for BiasAdd {
    fn name(&self) -> &'static str {
        "bias-add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout.shape())?;
        let (x, bias) = (slice(x, x_layout)?, slice(bias, bias_layout)?);
        if bias.len() != width {
            bail!("a bias of {} numbers for rows of {width}", bias.len());
        }
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, width, |row, out| {
            let x = &x[row * width..(row + 1) * width];
            for ((o, x), b) in out.iter_mut().zip(x).zip(bias) {
                *o = x + b;
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let sum = gradient.apply_op1_no_bwd(&ColumnSum { width: bias.elem_count() })?;
        Ok((Some(gradient), Some(sum.reshape(bias.shape())?)))
    }
}

/// `min(max(x + bias, 0), 6)`, `bias` being as long as the last dimension of `x`.
pub fn bias_relu6(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if fused(x) && fused(bias) {
        x.contiguous()?.apply_op2(&bias.contiguous()?, BiasRelu6)
    } else {
        x.broadcast_add(bias)?.clamp(0f64, 6f64)
    }
}

struct BiasRelu6;

impl CustomOp2 for BiasRelu6 {
    fn name(&self) -> &'static str {
        "bias-relu6"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(x_layout.shape())?;
        let (x, bias) = (slice(x, x_layout)?, slice(bias, bias_layout)?);
        if bias.len() != width {
            bail!("a bias of {} numbers for rows of {width}", bias.len());
        }
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, width, |row, out| {
            let x = &x[row * width..(row + 1) * width];
            for ((o, x), b) in out.iter_mut().zip(x).zip(bias) {
                *o = (x + b).clamp(0.0, 6.0);
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let passed = out.apply_op2_no_bwd(&gradient.contiguous()?, &Between)?;
        let sum = passed.apply_op1_no_bwd(&ColumnSum { width: bias.elem_count() })?;
        Ok((Some(passed), Some(sum.reshape(bias.shape())?)))
    }
}

/// The gradient where the rectifier was neither at 0 nor at 6.
struct Between;

impl CustomOp2 for Between {
    fn name(&self) -> &'static str {
        "relu6-gradient"
    }

    fn cpu_fwd(
        &self,
        out: &CpuStorage,
        out_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(layout.shape())?;
        let (out, gradient) = (slice(out, out_layout)?, slice(gradient, layout)?);
        let mut passed = vec![0f32; gradient.len()];
        for_rows(&mut passed, width, |row, passed| {
            let (out, gradient) = (&out[row * width..], &gradient[row * width..]);
            for ((p, o), g) in passed.iter_mut().zip(out).zip(gradient) {
                *p = if *o > 0.0 && *o < 6.0 { *g } else { 0.0 };
            }
        });
        Ok((CpuStorage::F32(passed), layout.shape().clone()))
    }
}
