//! 256 numbers of a row to bytes, scales and offsets, in registers.
#![expect(unsafe_code, reason = "AVX2 and F16C")]
#![expect(clippy::indexing_slicing, reason = "registers in arrays, indexed by constants")]
#![cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "the instructions"))]
#![expect(clippy::needless_range_loop, reason = "loops over registers in arrays")]
#![expect(clippy::inline_always, reason = "the caller has the instructions, not these")]

use std::arch::x86_64::*;

use super::super::Packing;
use super::super::open::{Opened, RUN};

/// `w = d · q + m`.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// 32 numbers each, in order.
    pub(super) q: [__m256i; 8],
    /// A scale for each 32 numbers in the first, or for each 16 in both.
    pub(super) d: [__m256; 2],
    /// The offsets likewise.
    pub(super) m: [__m256; 2],
}

/// A packing whose runs open in registers.
pub(super) trait Format {
    /// Bytes of a run.
    const BYTES: usize;
    /// Whether each 16 numbers have a scale.
    const SIXTEEN: bool = false;
    /// Whether bytes may be 128 or more.
    const WIDE: bool = false;

    /// # Safety
    /// AVX2 and F16C are there, and `BYTES` bytes at `from`.
    unsafe fn open(from: *const u8) -> Run;
}

#[inline(always)]
unsafe fn half(from: *const u8) -> f32 {
    // SAFETY: called where F16C and two bytes are.
    unsafe {
        let bits = i32::from(from.cast::<u16>().read_unaligned());
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
    }
}

/// The halves at the start of each of eight blocks of `bytes` bytes.
#[inline(always)]
unsafe fn halves(from: *const u8, bytes: usize) -> __m256 {
    // SAFETY: called where F16C and eight blocks are.
    unsafe {
        let at = |i: usize| from.add(i * bytes).cast::<i16>().read_unaligned();
        _mm256_cvtph_ps(_mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)))
    }
}

#[inline(always)]
unsafe fn one_each(q: [__m256i; 8], d: __m256, m: __m256) -> Run {
    // SAFETY: called where AVX is.
    let zero = unsafe { _mm256_setzero_ps() };
    Run { q, d: [d, zero], m: [m, zero] }
}

pub(super) struct Q8_0;

impl Format for Q8_0 {
    const BYTES: usize = 8 * 34;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn open(from: *const u8) -> Run {
        // SAFETY: by the contract.
        unsafe {
            let sign = _mm256_set1_epi8(-128);
            let mut q = [sign; 8];
            for j in 0..8 {
                q[j] = _mm256_xor_si256(_mm256_loadu_si256(from.add(34 * j + 2).cast()), sign);
            }
            let d = halves(from, 34);
            one_each(q, d, _mm256_mul_ps(d, _mm256_set1_ps(-128.0)))
        }
    }
}

pub(super) struct Q4_0;

impl Format for Q4_0 {
    const BYTES: usize = 8 * 18;

    #[inline(always)]
    unsafe fn open(from: *const u8) -> Run {
        // SAFETY: by the contract.
        unsafe {
            let mut q = [_mm256_setzero_si256(); 8];
            for j in 0..8 {
                let both = _mm_loadu_si128(from.add(18 * j + 2).cast());
                let both = _mm256_set_m128i(_mm_srli_epi16::<4>(both), both);
                q[j] = _mm256_and_si256(both, _mm256_set1_epi8(15));
            }
            let d = halves(from, 18);
            one_each(q, d, _mm256_mul_ps(d, _mm256_set1_ps(-8.0)))
        }
    }
}

pub(super) struct Q4K;

impl Format for Q4K {
    const BYTES: usize = 144;

    #[inline(always)]
    unsafe fn open(from: *const u8) -> Run {
        // SAFETY: by the contract.
        unsafe {
            let word = |i: usize| from.add(4 + 4 * i).cast::<u32>().read_unaligned();
            let (a, b, c) = (word(0), word(1), word(2));
            let wide = |low: u32, high: u32| {
                let eight = _mm_cvtsi64_si128((u64::from(low) | u64::from(high) << 32) as i64);
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight))
            };
            let scales = wide(a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | ((a >> 6) & 0x0303_0303) << 4);
            let offsets =
                wide(b & 0x3f3f_3f3f, ((c >> 4) & 0x0f0f_0f0f) | ((b >> 6) & 0x0303_0303) << 4);
            let d = _mm256_mul_ps(scales, _mm256_set1_ps(half(from)));
            let m = _mm256_mul_ps(offsets, _mm256_set1_ps(-half(from.add(2))));
            let low = _mm256_set1_epi8(15);
            let mut q = [_mm256_setzero_si256(); 8];
            for j in 0..4 {
                let both = _mm256_loadu_si256(from.add(16 + 32 * j).cast());
                q[2 * j] = _mm256_and_si256(both, low);
                q[2 * j + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
            }
            one_each(q, d, m)
        }
    }
}

pub(super) struct Q6K;

impl Format for Q6K {
    const BYTES: usize = 210;
    const SIXTEEN: bool = true;

    #[inline(always)]
    unsafe fn open(from: *const u8) -> Run {
        // SAFETY: by the contract.
        unsafe {
            let d = _mm256_set1_ps(half(from.add(208)));
            let scales = |at: usize| {
                let eight = _mm_loadl_epi64(from.add(192 + at).cast());
                _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight)), d)
            };
            let d = [scales(0), scales(8)];
            let down = _mm256_set1_ps(-32.0);
            let m = [_mm256_mul_ps(d[0], down), _mm256_mul_ps(d[1], down)];
            let (low, high) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
            let mut q = [_mm256_setzero_si256(); 8];
            for part in 0..2 {
                let l0 = _mm256_loadu_si256(from.add(64 * part).cast());
                let l1 = _mm256_loadu_si256(from.add(64 * part + 32).cast());
                let h = _mm256_loadu_si256(from.add(128 + 32 * part).cast());
                let join =
                    |l, h| _mm256_or_si256(_mm256_and_si256(l, low), _mm256_and_si256(h, high));
                q[4 * part] = join(l0, _mm256_slli_epi16::<4>(h));
                q[4 * part + 1] = join(l1, _mm256_slli_epi16::<2>(h));
                q[4 * part + 2] = join(_mm256_srli_epi16::<4>(l0), h);
                q[4 * part + 3] = join(_mm256_srli_epi16::<4>(l1), _mm256_srli_epi16::<2>(h));
            }
            Run { q, d, m }
        }
    }
}

/// A packing without a way of its own: opened in memory.
pub(super) struct Buffered<P>(P);

/// Names a packing.
pub(super) trait Named {
    const PACKING: Packing;
}

macro_rules! named {
    ($($name:ident),*) => {$(
        pub(super) struct $name;

        impl Named for $name {
            const PACKING: Packing = Packing::$name;
        }
    )*};
}

named!(Q4_1, Q5_0, Q5_1, Q5K);

impl<P: Named> Format for Buffered<P> {
    const BYTES: usize = RUN / P::PACKING.block() * P::PACKING.block_bytes();

    #[inline(always)]
    unsafe fn open(from: *const u8) -> Run {
        let mut opened = Opened::new();
        // SAFETY: by the contract.
        unsafe {
            opened.open(P::PACKING, std::slice::from_raw_parts(from, Self::BYTES));
            let mut q = [_mm256_setzero_si256(); 8];
            for j in 0..8 {
                q[j] = _mm256_loadu_si256(opened.q.as_ptr().add(32 * j).cast());
            }
            // Each 32 numbers have one scale, which stands there twice.
            let d: [f32; 8] = std::array::from_fn(|j| opened.d[2 * j]);
            let m: [f32; 8] = std::array::from_fn(|j| opened.m[2 * j]);
            one_each(q, _mm256_loadu_ps(d.as_ptr()), _mm256_loadu_ps(m.as_ptr()))
        }
    }
}
