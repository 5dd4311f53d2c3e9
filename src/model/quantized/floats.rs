//! Few rows against a matrix of floats: each weight is read once from memory, and widened in a
//! register.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked")]
#![expect(unsafe_code, reason = "each step writes its own columns")]

use candle_core::{CpuStorage, Layout, Result, bail};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::columns::Columns;

/// Weight rows that one step takes.
const TILE: usize = 16;
/// Columns that one step takes at a time: with eight rows of `x` they stay in the first cache.
const PANEL: usize = 512;

/// The numbers of a weight.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
    Bf16(&'a [u16]),
}

impl Weights<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(w) => w.len(),
            Self::F16(w) | Self::Bf16(w) => w.len(),
        }
    }

    fn part(self, at: usize, count: usize) -> Self {
        match self {
            Self::F32(w) => Self::F32(&w[at..at + count]),
            Self::F16(w) => Self::F16(&w[at..at + count]),
            Self::Bf16(w) => Self::Bf16(&w[at..at + count]),
        }
    }
}

/// `x · Wᵀ` with `W` behind `layout`, `[rows, columns]` and contiguous.
pub fn product(storage: &CpuStorage, layout: &Layout, x: &[f32], out: &mut [f32]) -> Result<()> {
    let (rows, columns) = layout.shape().dims2()?;
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a weight of floats is not contiguous")
    };
    let weights = match storage {
        CpuStorage::F32(w) => Weights::F32(w),
        CpuStorage::F16(w) => Weights::F16(w.reinterpret_cast()),
        CpuStorage::BF16(w) => Weights::Bf16(w.reinterpret_cast()),
        _ => bail!("a weight is neither f32, f16 nor bf16"),
    };
    if end > weights.len()
        || !x.len().is_multiple_of(columns.max(1))
        || x.len() / columns * rows != out.len()
    {
        bail!("{} numbers cannot meet a weight of {rows} × {columns}", x.len());
    }
    let weights = weights.part(start, end - start);
    let count = (x.len() / columns).max(1);
    let out = Columns::new(out, rows);
    super::pool::share(rows.div_ceil(TILE), |tiles| {
        let mut sums = vec![0f32; count * TILE];
        for tile in tiles {
            sums.fill(0.0);
            let held = tile * TILE..((tile + 1) * TILE).min(rows);
            for at in (0..columns).step_by(PANEL) {
                let width = PANEL.min(columns - at);
                for (row, sums) in held.clone().zip(sums.chunks_exact_mut(count)) {
                    let weights = weights.part(row * columns + at, width);
                    add_dots(weights, Part { x, columns, at }, sums);
                }
            }
            for (row, sums) in held.zip(sums.chunks_exact(count)) {
                for (i, sum) in sums.iter().enumerate() {
                    // SAFETY: this step alone has this column.
                    unsafe { out.write(i, row, &[*sum]) };
                }
            }
        }
    });
    Ok(())
}

/// The columns from `at` on of each row of `x`.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) x: &'a [f32],
    pub(super) columns: usize,
    pub(super) at: usize,
}

/// A part of one weight row with that of each row of `x`.
fn add_dots(weights: Weights<'_>, part: Part<'_>, sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if super::x86::add_float_dots(weights, part, sums) {
        return;
    }
    for (sum, x) in sums.iter_mut().zip(part.x.chunks_exact(part.columns)) {
        let x = &x[part.at..part.at + weights.len()];
        *sum += match weights {
            Weights::F32(w) => dot(w.iter().copied(), x),
            Weights::F16(w) => dot(w.iter().map(|w| f16::from_bits(*w).to_f32()), x),
            Weights::Bf16(w) => dot(w.iter().map(|w| bf16::from_bits(*w).to_f32()), x),
        };
    }
}

fn dot(weights: impl Iterator<Item = f32>, x: &[f32]) -> f32 {
    weights.zip(x).map(|(w, x)| w * x).sum()
}
