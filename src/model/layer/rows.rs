//! Access to the rows of f32 tensors on the CPU.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Numbers in one rayon task: large enough to pay for the hand-over.
const GRAIN: usize = 1 << 14;

/// Whether the fused kernels apply.
pub(super) fn fused(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The numbers behind a contiguous f32 tensor.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        bail!("a fused layer got a tensor that is not f32")
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a fused layer got a tensor that is not contiguous")
    };
    let Some(slice) = data.get(start..end) else { bail!("a layout reaches past its storage") };
    Ok(slice)
}

/// The length of the last dimension, never 0.
pub(super) fn width(shape: &Shape) -> Result<usize> {
    match shape.dims().last() {
        Some(&n) if n > 0 => Ok(n),
        _ => bail!("a layer needs a last dimension that is not empty, got {shape:?}"),
    }
}

/// Calls `f(row number, row of out)` for each row of `width` numbers, in parallel.
pub(super) fn for_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (GRAIN / width).max(1);
    out.par_chunks_mut(rows * width).enumerate().for_each(|(block, chunk)| {
        for (i, row) in chunk.chunks_exact_mut(width).enumerate() {
            f(block * rows + i, row);
        }
    });
}

/// Sums over rows: `f(row number, sums)` adds each row's share to its block's sums.
pub(super) fn sum_rows(
    rows: usize,
    width: usize,
    sums: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let block = (GRAIN / width).max(1);
    (0..rows.div_ceil(block))
        .into_par_iter()
        .fold(
            || vec![0f32; sums],
            |mut total, b| {
                for row in b * block..((b + 1) * block).min(rows) {
                    f(row, &mut total);
                }
                total
            },
        )
        .reduce(
            || vec![0f32; sums],
            |mut a, b| {
                add(&mut a, &b);
                a
            },
        )
}

/// `a += b`.
pub(super) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// Sums `[.., width]` down to `[width]`.
pub(super) struct ColumnSum {
    pub(super) width: usize,
}

impl CustomOp1 for ColumnSum {
    fn name(&self) -> &'static str {
        "column-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(storage, layout)?;
        let width = self.width;
        let sums = sum_rows(x.len() / width, width, width, |row, total| {
            add(total, &x[row * width..(row + 1) * width]);
        });
        Ok((CpuStorage::F32(sums), Shape::from(width)))
    }
}

/// e^x for |x| < 87, else clamped; within 2 units in the last place, and open to vectorisation.
#[inline]
#[expect(clippy::excessive_precision, reason = "the constants of Cephes' expf, as published")]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375 + n * 2.121_944_40e-4;
    let mut p = 1.987_569_150e-4;
    for c in [
        1.398_199_950_7e-3,
        8.333_451_907_3e-3,
        4.166_579_589_4e-2,
        1.666_666_545_9e-1,
        5.000_000_120_1e-1,
    ] {
        p = p * r + c;
    }
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * scale
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_agrees_with_the_standard_library() {
        for i in -8600..8700 {
            let x = i as f32 / 100.0;
            let (got, want) = (super::exp(x), x.exp());
            assert!((got - want).abs() <= want * 4e-7, "e^{x}: {got} for {want}");
        }
    }
}
