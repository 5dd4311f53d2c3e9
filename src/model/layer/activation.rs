//! GELU and SiLU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{exp, fused, slice};

/// `x · Φ(x)` with Φ the normal distribution by the error function (not the tanh form).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if fused(x) { x.contiguous()?.apply_op1(Activation::Gelu) } else { x.gelu_erf() }
}

/// `x / (1 + e^-x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if fused(x) { x.contiguous()?.apply_op1(Activation::Silu) } else { x.silu() }
}

#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    Silu,
}

/// Φ(x), by Abramowitz and Stegun 7.1.26: within 1e-7.
#[inline]
fn normal_distribution(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    let tail = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[inline]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline]
fn gelu_slope(x: f32) -> f32 {
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
    normal_distribution(x) + x * FRAC_1_SQRT_2PI * exp(-0.5 * x * x)
}

#[inline]
fn silu_slope(x: f32) -> f32 {
    let s = logistic(x);
    s * (1.0 + x * (1.0 - s))
}

fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(1 << 13).zip(x.par_chunks(1 << 13)).for_each(|(out, x)| {
        for (o, x) in out.iter_mut().zip(x) {
            *o = f(*x);
        }
    });
    out
}

fn map_product(x: &[f32], g: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = g.to_vec();
    out.par_chunks_mut(1 << 13).zip(x.par_chunks(1 << 13)).for_each(|(out, x)| {
        for (o, x) in out.iter_mut().zip(x) {
            *o *= f(*x);
        }
    });
    out
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let out = match self {
            Self::Gelu => map(x, |x| x * normal_distribution(x)),
            Self::Silu => map(x, |x| x * logistic(x)),
        };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        x.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &Slope(*self)).map(Some)
    }
}

/// The gradient times the slope at `x`.
struct Slope(Activation);

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "activation-slope"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gradient) = (slice(x, x_layout)?, slice(gradient, gradient_layout)?);
        let out = match self.0 {
            Activation::Gelu => map_product(x, gradient, gelu_slope),
            Activation::Silu => map_product(x, gradient, silu_slope),
        };
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}
