//! Softmax over the last dimension, plain and as attention needs it: scaled, biased, masked.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, D, DType, Device, Layout, Result, Shape, Tensor, bail,
};

use super::rows::{ColumnSum, exp, for_rows, fused, slice, width};

/// What of the attention scores `[batch, heads, rows, columns]` is left out.
#[derive(Clone, Debug)]
pub enum AttentionMask {
    /// Nothing.
    None,
    /// Row `i` sees the columns `0..=first + i`.
    Causal {
        /// The position of row 0 among the columns.
        first: usize,
    },
    /// One table `[rows, columns]` of additions a window, the batch being images × windows.
    Windows {
        /// The tables one after another, 0 or a large negative number.
        table: Arc<Vec<f32>>,
        /// How many windows one image has.
        windows: usize,
    },
}

/// Softmax over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if fused(x) {
        let op = AttentionSoftmax { scale: 1.0, mask: AttentionMask::None };
        x.contiguous()?.apply_op1(op)
    } else {
        plain_softmax(x)
    }
}

/// `softmax(scores · scale + bias + mask)`, scores `[batch, heads, rows, columns]`, bias
/// `[heads, rows, columns]`.
pub fn attention_softmax(
    scores: &Tensor,
    scale: f32,
    bias: Option<&Tensor>,
    mask: &AttentionMask,
) -> Result<Tensor> {
    let (batch, heads, rows, columns) = scores.dims4()?;
    if let AttentionMask::Windows { table, windows } = mask
        && (*windows == 0 || table.len() != windows * rows * columns || batch % windows != 0)
    {
        bail!("a mask of {} numbers for {windows} windows of {rows} × {columns}", table.len());
    }
    if let Some(bias) = bias
        && bias.dims() != [heads, rows, columns]
    {
        bail!("an attention bias of {:?} for scores of {:?}", bias.dims(), scores.dims());
    }
    if fused(scores) {
        let op = AttentionSoftmax { scale, mask: mask.clone() };
        let scores = scores.contiguous()?;
        return match bias {
            Some(bias) => scores.apply_op2(&bias.contiguous()?, op),
            None => scores.apply_op1(op),
        };
    }
    #[cfg(feature = "cuda")]
    if let Some(weights) = on_gpu(scores, scale, bias, mask)? {
        return Ok(weights);
    }
    let mut x = (scores.to_dtype(DType::F32)? * f64::from(scale))?;
    if let Some(bias) = bias {
        x = x.broadcast_add(&bias.to_dtype(DType::F32)?)?;
    }
    if let Some(additions) = mask_tensor(mask, rows, columns, scores.device())? {
        let windows = additions.dim(0)?;
        x = x
            .reshape((batch / windows, windows, heads, rows, columns))?
            .broadcast_add(&additions.reshape((1, windows, 1, rows, columns))?)?
            .reshape(scores.shape())?;
    }
    plain_softmax(&x)?.to_dtype(scores.dtype())
}

/// By one kernel, where there is one for such scores.
#[cfg(feature = "cuda")]
fn on_gpu(
    scores: &Tensor,
    scale: f32,
    bias: Option<&Tensor>,
    mask: &AttentionMask,
) -> Result<Option<Tensor>> {
    if scores.device().is_cpu() {
        return Ok(None);
    }
    let (batch, heads, rows, columns) = scores.dims4()?;
    let windows = match mask {
        AttentionMask::Windows { table, windows } => {
            Some((Tensor::from_slice(table, table.len(), scores.device())?, *windows))
        }
        _ => None,
    };
    let by = super::cuda::Softmax {
        shape: [batch, heads, rows, columns],
        scale: f64::from(scale),
        bias,
        mask: windows.as_ref().map(|(table, windows)| (table, *windows)),
        first: match mask {
            AttentionMask::Causal { first } => Some(*first),
            _ => None,
        },
    };
    super::cuda::softmax_rows(scores, &by)
}

fn plain_softmax(x: &Tensor) -> Result<Tensor> {
    let exponents = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exponents.broadcast_div(&exponents.sum_keepdim(D::Minus1)?)
}

fn mask_tensor(
    mask: &AttentionMask,
    rows: usize,
    columns: usize,
    device: &Device,
) -> Result<Option<Tensor>> {
    match mask {
        AttentionMask::None => Ok(None),
        AttentionMask::Causal { first } => {
            let hidden = |i: usize| i % columns > first + i / columns;
            let table = (0..rows * columns).map(|i| if hidden(i) { f32::NEG_INFINITY } else { 0. });
            let table = table.collect::<Vec<_>>();
            Tensor::from_vec(table, (1, rows, columns), device).map(Some)
        }
        AttentionMask::Windows { table, windows } => {
            Tensor::from_slice(table, (*windows, rows, columns), device).map(Some)
        }
    }
}

struct AttentionSoftmax {
    scale: f32,
    mask: AttentionMask,
}

impl AttentionSoftmax {
    fn forward(
        &self,
        scores: &[f32],
        bias: Option<&[f32]>,
        shape: &Shape,
    ) -> Result<(CpuStorage, Shape)> {
        let columns = width(shape)?;
        let (heads, rows) = match shape.dims() {
            [_, heads, rows, _] => (*heads, *rows),
            _ => (1, 1),
        };
        let mut out = vec![0f32; scores.len()];
        for_rows(&mut out, columns, |row, out| {
            let x = &scores[row * columns..(row + 1) * columns];
            let line = row % rows;
            let seen = match self.mask {
                AttentionMask::Causal { first } => (first + line + 1).min(columns),
                _ => columns,
            };
            let (out, _) = out.split_at_mut(seen);
            for (o, x) in out.iter_mut().zip(x) {
                *o = x * self.scale;
            }
            if let Some(bias) = bias {
                let at = row % (heads * rows) * columns;
                super::rows::add(out, &bias[at..at + columns]);
            }
            if let AttentionMask::Windows { table, windows } = &self.mask {
                let at = (row / (heads * rows) % windows * rows + line) * columns;
                super::rows::add(out, &table[at..at + columns]);
            }
            let highest = out.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for o in out.iter_mut() {
                *o = exp(*o - highest);
                sum += *o;
            }
            let scale = 1.0 / sum;
            for o in out.iter_mut() {
                *o *= scale;
            }
        });
        Ok((CpuStorage::F32(out), shape.clone()))
    }

    fn backward(out: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        out.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &SoftmaxSlope)
    }
}

impl CustomOp1 for AttentionSoftmax {
    fn name(&self) -> &'static str {
        "attention-softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(slice(scores, layout)?, None, layout.shape())
    }

    fn bwd(&self, _scores: &Tensor, out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Self::backward(out, gradient)?.affine(f64::from(self.scale), 0.0).map(Some)
    }
}

impl CustomOp2 for AttentionSoftmax {
    fn name(&self) -> &'static str {
        "attention-softmax-biased"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(slice(scores, layout)?, Some(slice(bias, bias_layout)?), layout.shape())
    }

    fn bwd(
        &self,
        _scores: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let inner = Self::backward(out, gradient)?;
        let by_bias = inner.apply_op1_no_bwd(&ColumnSum { width: bias.elem_count() })?;
        let by_scores = inner.affine(f64::from(self.scale), 0.0)?;
        Ok((Some(by_scores), Some(by_bias.reshape(bias.shape())?)))
    }
}

/// p·(g - Σ g·p) for each row.
struct SoftmaxSlope;

impl CustomOp2 for SoftmaxSlope {
    fn name(&self) -> &'static str {
        "softmax-slope"
    }

    fn cpu_fwd(
        &self,
        p: &CpuStorage,
        p_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = width(p_layout.shape())?;
        let (p, gradient) = (slice(p, p_layout)?, slice(gradient, gradient_layout)?);
        let mut out = vec![0f32; p.len()];
        for_rows(&mut out, width, |row, out| {
            let p = &p[row * width..(row + 1) * width];
            let g = &gradient[row * width..(row + 1) * width];
            let dot: f32 = p.iter().zip(g).map(|(p, g)| p * g).sum();
            for ((o, p), g) in out.iter_mut().zip(p).zip(g) {
                *o = p * (g - dot);
            }
        });
        Ok((CpuStorage::F32(out), p_layout.shape().clone()))
    }
}
