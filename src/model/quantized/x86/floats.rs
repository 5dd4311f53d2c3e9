//! A row of floats with some rows of f32.
#![expect(unsafe_code, reason = "AVX2, FMA and F16C")]
#![expect(clippy::indexing_slicing, reason = "registers in arrays, indexed by constants")]
#![cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "the instructions"))]
#![expect(clippy::inline_always, reason = "the caller has the instructions, not these")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::super::floats::{Part, Weights};

/// A type whose numbers widen to f32.
trait Float: Copy {
    /// # Safety
    /// AVX2 and F16C are there, and eight numbers at `from`.
    unsafe fn eight(from: *const Self) -> __m256;
    fn one(self) -> f32;
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Half(u16);
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Brain(u16);

impl Float for f32 {
    #[inline(always)]
    unsafe fn eight(from: *const Self) -> __m256 {
        // SAFETY: by the contract.
        unsafe { _mm256_loadu_ps(from) }
    }

    fn one(self) -> f32 {
        self
    }
}

impl Float for Half {
    #[inline(always)]
    unsafe fn eight(from: *const Self) -> __m256 {
        // SAFETY: by the contract.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    fn one(self) -> f32 {
        f16::from_bits(self.0).to_f32()
    }
}

impl Float for Brain {
    #[inline(always)]
    unsafe fn eight(from: *const Self) -> __m256 {
        // SAFETY: by the contract.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    fn one(self) -> f32 {
        bf16::from_bits(self.0).to_f32()
    }
}

/// `count` numbers with those of `R` rows, `stride` apart. Each row's sum is made in the same order
/// whatever `R` is.
#[inline(always)]
unsafe fn rows<F: Float, const R: usize>(
    w: *const F,
    count: usize,
    x: *const f32,
    stride: usize,
) -> [f32; R] {
    // SAFETY: the contract of `add_dots`.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let mut at = 0;
        while at + 16 <= count {
            let w = [F::eight(w.add(at)), F::eight(w.add(at + 8))];
            for (r, sum) in sums.iter_mut().enumerate() {
                let x = x.add(r * stride + at);
                sum[0] = _mm256_fmadd_ps(w[0], _mm256_loadu_ps(x), sum[0]);
                sum[1] = _mm256_fmadd_ps(w[1], _mm256_loadu_ps(x.add(8)), sum[1]);
            }
            at += 16;
        }
        let mut totals = [0f32; R];
        for (r, total) in totals.iter_mut().enumerate() {
            let mut lanes = [0f32; 8];
            _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(sums[r][0], sums[r][1]));
            *total = lanes.iter().sum::<f32>();
            for at in at..count {
                *total += (*w.add(at)).one() * *x.add(r * stride + at);
            }
        }
        totals
    }
}

fn add<const R: usize>(sums: &mut [f32], totals: [f32; R]) {
    for (sum, total) in sums.iter_mut().zip(totals) {
        *sum += total;
    }
}

#[inline(always)]
unsafe fn all<F: Float>(w: &[F], part: Part<'_>, sums: &mut [f32]) {
    // SAFETY: the contract of `add_dots`.
    unsafe {
        let (count, stride) = (w.len(), part.columns);
        let w = w.as_ptr();
        let mut x = part.x.as_ptr().add(part.at);
        let mut fours = sums.chunks_exact_mut(4);
        for sums in &mut fours {
            add(sums, rows::<F, 4>(w, count, x, stride));
            x = x.wrapping_add(4 * stride);
        }
        let rest = fours.into_remainder();
        match rest.len() {
            3 => add(rest, rows::<F, 3>(w, count, x, stride)),
            2 => add(rest, rows::<F, 2>(w, count, x, stride)),
            1 => add(rest, rows::<F, 1>(w, count, x, stride)),
            _ => {}
        }
    }
}

/// Adds what a part of one weight row gives with that of each row of `x`.
///
/// # Safety
/// AVX2, FMA and F16C are there; `part.x` holds a row for each of `sums`, and each row the numbers
/// from `part.at` on for all of the weights.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn add_dots(weights: Weights<'_>, part: Part<'_>, sums: &mut [f32]) {
    // SAFETY: by the contract; `Half` and `Brain` lie as u16 does.
    unsafe {
        match weights {
            Weights::F32(w) => all(w, part, sums),
            Weights::F16(w) => {
                all(std::slice::from_raw_parts(w.as_ptr().cast::<Half>(), w.len()), part, sums);
            }
            Weights::Bf16(w) => {
                all(std::slice::from_raw_parts(w.as_ptr().cast::<Brain>(), w.len()), part, sums);
            }
        }
    }
}
