//! A row of floats with some rows of f32.
#![expect(unsafe_code, reason = "AVX2, FMA and F16C")]
#![expect(clippy::indexing_slicing, reason = "registers in arrays, indexed by constants")]
#![cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "the instructions"))]
#![expect(clippy::inline_always, reason = "the caller has the instructions, not these")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::super::floats::Weights;

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

/// `R` rows of `x`, `columns` apart. Each row's sum is made in the same order whatever `R` is.
#[inline(always)]
unsafe fn rows<F: Float, const R: usize>(w: *const F, columns: usize, x: *const f32) -> [f32; R] {
    // SAFETY: the contract of `dots`.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let mut at = 0;
        while at + 16 <= columns {
            let w = [F::eight(w.add(at)), F::eight(w.add(at + 8))];
            for (r, sum) in sums.iter_mut().enumerate() {
                let x = x.add(r * columns + at);
                sum[0] = _mm256_fmadd_ps(w[0], _mm256_loadu_ps(x), sum[0]);
                sum[1] = _mm256_fmadd_ps(w[1], _mm256_loadu_ps(x.add(8)), sum[1]);
            }
            at += 16;
        }
        std::array::from_fn(|r| {
            let mut lanes = [0f32; 8];
            _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(sums[r][0], sums[r][1]));
            let mut sum = lanes.iter().sum::<f32>();
            for at in at..columns {
                sum += (*w.add(at)).one() * *x.add(r * columns + at);
            }
            sum
        })
    }
}

#[inline(always)]
unsafe fn all<F: Float>(w: *const F, columns: usize, x: &[f32], sums: &mut [f32]) {
    // SAFETY: the contract of `dots`.
    unsafe {
        let mut x = x.as_ptr();
        let mut parts = sums.chunks_exact_mut(4);
        for part in &mut parts {
            part.copy_from_slice(&rows::<F, 4>(w, columns, x));
            x = x.add(4 * columns);
        }
        let rest = parts.into_remainder();
        match rest.len() {
            3 => rest.copy_from_slice(&rows::<F, 3>(w, columns, x)),
            2 => rest.copy_from_slice(&rows::<F, 2>(w, columns, x)),
            1 => rest.copy_from_slice(&rows::<F, 1>(w, columns, x)),
            _ => {}
        }
    }
}

/// One weight row with each row of `x`.
///
/// # Safety
/// AVX2, FMA and F16C are there, and `x` holds a row for each of `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn dots(weights: Weights<'_>, x: &[f32], sums: &mut [f32]) {
    // SAFETY: by the contract.
    unsafe {
        match weights {
            Weights::F32(w) => all(w.as_ptr(), w.len(), x, sums),
            Weights::F16(w) => all(w.as_ptr().cast::<Half>(), w.len(), x, sums),
            Weights::Bf16(w) => all(w.as_ptr().cast::<Brain>(), w.len(), x, sums),
        }
    }
}
