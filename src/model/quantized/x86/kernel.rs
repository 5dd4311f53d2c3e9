//! Dot products of opened weights with rows of bytes.
#![expect(unsafe_code, reason = "AVX2 and VNNI")]
#![expect(clippy::indexing_slicing, reason = "registers in arrays, indexed by constants")]
#![cfg_attr(not(test), expect(clippy::wildcard_imports, reason = "the instructions"))]
#![expect(clippy::needless_range_loop, reason = "loops over registers in arrays")]
#![expect(clippy::inline_always, reason = "the caller has the instructions, not these")]

use std::arch::x86_64::*;

use super::super::activations::{Activations, BLOCK};
use super::super::open::RUN;
use super::super::weights::TILE;
use super::open::{Format, Run};

/// Sums of products of unsigned with signed bytes, four neighbours to a lane.
pub(super) trait Dot {
    /// # Safety
    /// The processor has the instructions. Without `WIDE` the unsigned bytes are below 128.
    unsafe fn dot<const WIDE: bool>(sum: __m256i, q: __m256i, x: __m256i) -> __m256i;
}

pub(super) struct Avx2;
pub(super) struct Vnni;

impl Dot for Avx2 {
    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sum: __m256i, q: __m256i, x: __m256i) -> __m256i {
        // SAFETY: by the contract.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if WIDE {
                // Pairs of large bytes would not fit 16 bits: the highest bit goes apart.
                let low = _mm256_and_si256(q, _mm256_set1_epi8(0x7f));
                let high = _mm256_and_si256(_mm256_srli_epi16::<7>(q), _mm256_set1_epi8(1));
                let low = _mm256_madd_epi16(_mm256_maddubs_epi16(low, x), ones);
                let high = _mm256_maddubs_epi16(high, x);
                let high = _mm256_madd_epi16(high, _mm256_set1_epi16(128));
                return _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
            }
            _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q, x), ones))
        }
    }
}

impl Dot for Vnni {
    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sum: __m256i, q: __m256i, x: __m256i) -> __m256i {
        // SAFETY: by the contract.
        unsafe { _mm256_dpbusd_epi32(sum, q, x) }
    }
}

/// For each `i` the lanes that bring lane `i` into all lanes, and those that bring lane `2i` into
/// the lower and lane `2i + 1` into the upper half (twice: of each of two vectors).
static SPREADS: [[[i32; 8]; 8]; 2] = {
    let mut all = [[[0; 8]; 8]; 2];
    let mut i = 0;
    while i < 64 {
        all[0][i / 8][i % 8] = (i / 8) as i32;
        all[1][i / 8][i % 8] = (i / 8 % 4 * 2 + i % 8 / 4) as i32;
        i += 1;
    }
    all
};

/// Eight weight rows with each of `xs`, which have one row each: `[N, 8]`. Each sum is made in the
/// same order whatever `N` is.
///
/// # Safety
/// The instructions are there; each of `rows` holds the whole runs of each of `xs`.
#[inline(always)]
pub(super) unsafe fn dots<F: Format, D: Dot, const N: usize>(
    rows: &[&[u8]; TILE],
    xs: &[Activations; N],
    out: &mut [[f32; TILE]; N],
) {
    // SAFETY: by the contract.
    unsafe {
        // The compiler would make two cheap shuffles of each known one; one is cheaper.
        let from = std::hint::black_box(&SPREADS[usize::from(F::SIXTEEN)]);
        let mut spreads = [_mm256_setzero_si256(); 8];
        for j in 0..8 {
            spreads[j] = _mm256_loadu_si256(from[j].as_ptr().cast());
        }
        let mut sums = [[_mm256_setzero_si256(); TILE]; N];
        for i in 0..TILE {
            let row = row::<F, D, N>(rows[i].as_ptr(), xs, &spreads);
            for n in 0..N {
                sums[n][i] = _mm256_castps_si256(row[n]);
            }
        }
        for n in 0..N {
            let [a, b, c, d, e, f, g, h] = transpose(sums[n]);
            let add = |a, b| _mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
            let left = _mm256_add_ps(add(a, b), add(c, d));
            let right = _mm256_add_ps(add(e, f), add(g, h));
            _mm256_storeu_ps(out[n].as_mut_ptr(), _mm256_add_ps(left, right));
        }
    }
}

/// One weight row with each of `xs`: eight sums that add up to the product.
#[inline(always)]
unsafe fn row<F: Format, D: Dot, const N: usize>(
    row: *const u8,
    xs: &[Activations; N],
    spreads: &[__m256i; 8],
) -> [__m256; N] {
    // SAFETY: the contract of `dots`: all pointers stay within what it says is there.
    unsafe {
        let zero = _mm256_setzero_ps();
        let mut sums = [[zero; 2]; N];
        let mut offsets = [zero; N];
        for r in 0..xs[0].columns / RUN {
            let run = F::open(row.add(r * F::BYTES));
            for n in 0..N {
                let q = xs[n].q.as_ptr().add(r * RUN);
                let d = _mm256_loadu_ps(xs[n].d.as_ptr().add(r * 8));
                if F::SIXTEEN {
                    let index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
                    let upper = _mm256_add_epi32(index, _mm256_set1_epi32(4));
                    let d = [
                        _mm256_mul_ps(run.d[0], _mm256_permutevar8x32_ps(d, index)),
                        _mm256_mul_ps(run.d[1], _mm256_permutevar8x32_ps(d, upper)),
                    ];
                    for half in 0..2 {
                        let s = _mm256_loadu_ps(xs[n].s16.as_ptr().add(r * 16 + half * 8));
                        offsets[n] = _mm256_fmadd_ps(run.m[half], s, offsets[n]);
                    }
                    for j in 0..8 {
                        let x = _mm256_loadu_si256(q.add(j * BLOCK).cast());
                        let dot = D::dot::<false>(_mm256_setzero_si256(), run.q[j], x);
                        let scale = _mm256_permutevar8x32_ps(d[j / 4], spreads[j]);
                        let sum = &mut sums[n][j % 2];
                        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
                    }
                } else {
                    let d = _mm256_mul_ps(run.d[0], d);
                    let s = _mm256_loadu_ps(xs[n].s32.as_ptr().add(r * 8));
                    offsets[n] = _mm256_fmadd_ps(run.m[0], s, offsets[n]);
                    for j in 0..8 {
                        let x = _mm256_loadu_si256(q.add(j * BLOCK).cast());
                        let dot = if F::WIDE {
                            D::dot::<true>(_mm256_setzero_si256(), run.q[j], x)
                        } else {
                            D::dot::<false>(_mm256_setzero_si256(), run.q[j], x)
                        };
                        let sum = &mut sums[n][j % 2];
                        let scale = _mm256_permutevar8x32_ps(d, spreads[j]);
                        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
                    }
                }
            }
        }
        let mut totals = [zero; N];
        for n in 0..N {
            totals[n] = _mm256_add_ps(_mm256_add_ps(sums[n][0], sums[n][1]), offsets[n]);
        }
        totals
    }
}

/// Eight rows of eight 32-bit numbers, turned.
#[inline(always)]
unsafe fn transpose(r: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: called where AVX2 is.
    unsafe {
        let a = [
            _mm256_unpacklo_epi32(r[0], r[1]),
            _mm256_unpackhi_epi32(r[0], r[1]),
            _mm256_unpacklo_epi32(r[2], r[3]),
            _mm256_unpackhi_epi32(r[2], r[3]),
            _mm256_unpacklo_epi32(r[4], r[5]),
            _mm256_unpackhi_epi32(r[4], r[5]),
            _mm256_unpacklo_epi32(r[6], r[7]),
            _mm256_unpackhi_epi32(r[6], r[7]),
        ];
        let b = [
            _mm256_unpacklo_epi64(a[0], a[2]),
            _mm256_unpackhi_epi64(a[0], a[2]),
            _mm256_unpacklo_epi64(a[1], a[3]),
            _mm256_unpackhi_epi64(a[1], a[3]),
            _mm256_unpacklo_epi64(a[4], a[6]),
            _mm256_unpackhi_epi64(a[4], a[6]),
            _mm256_unpacklo_epi64(a[5], a[7]),
            _mm256_unpackhi_epi64(a[5], a[7]),
        ];
        let low = |i: usize| _mm256_permute2x128_si256::<0x20>(b[i], b[i + 4]);
        let high = |i: usize| _mm256_permute2x128_si256::<0x31>(b[i], b[i + 4]);
        [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
    }
}

/// A run of eight weight rows, a row to a lane.
struct Turned {
    /// Four columns to a vector.
    q: [__m256i; RUN / 4],
    /// The scales and offsets of each block of 32 or 16.
    d: [__m256; 16],
    m: [__m256; 16],
}

#[inline(always)]
unsafe fn turn<F: Format>(rows: &[&[u8]; TILE], r: usize, turned: &mut Turned) {
    // SAFETY: the contract of `tile`.
    unsafe {
        let zero = _mm256_setzero_ps();
        let empty = Run { q: [_mm256_setzero_si256(); 8], d: [zero; 2], m: [zero; 2] };
        let mut runs = [empty; TILE];
        for i in 0..TILE {
            runs[i] = F::open(rows[i].as_ptr().add(r * F::BYTES));
        }
        for j in 0..8 {
            let part = transpose([
                runs[0].q[j],
                runs[1].q[j],
                runs[2].q[j],
                runs[3].q[j],
                runs[4].q[j],
                runs[5].q[j],
                runs[6].q[j],
                runs[7].q[j],
            ]);
            for i in 0..8 {
                turned.q[j * 8 + i] = part[i];
            }
        }
        for half in 0..if F::SIXTEEN { 2 } else { 1 } {
            let mut d = [_mm256_setzero_si256(); 8];
            let mut m = d;
            for i in 0..8 {
                d[i] = _mm256_castps_si256(runs[i].d[half]);
                m[i] = _mm256_castps_si256(runs[i].m[half]);
            }
            let (d, m) = (transpose(d), transpose(m));
            for i in 0..8 {
                turned.d[half * 8 + i] = _mm256_castsi256_ps(d[i]);
                turned.m[half * 8 + i] = _mm256_castsi256_ps(m[i]);
            }
        }
    }
}

/// Eight weight rows with every row of `x`, added to `out`, `[rows of x, 8]`.
///
/// # Safety
/// The instructions are there; each of `rows` holds the whole runs of `x`.
#[inline(always)]
pub(super) unsafe fn tile<F: Format, D: Dot>(
    rows: &[&[u8]; TILE],
    x: &Activations,
    out: &mut [f32],
) {
    // SAFETY: all pointers stay within what the contract says is there.
    unsafe {
        let zero = _mm256_setzero_ps();
        let mut turned =
            Turned { q: [_mm256_setzero_si256(); RUN / 4], d: [zero; 16], m: [zero; 16] };
        for r in 0..x.columns / RUN {
            turn::<F>(rows, r, &mut turned);
            for j in 0..8 {
                block::<F, D>(&turned, j, r * 8 + j, x, out.as_mut_ptr());
            }
        }
    }
}

/// Block `j` of a turned run, which is block `b` of the row.
#[inline(always)]
unsafe fn block<F: Format, D: Dot>(
    turned: &Turned,
    j: usize,
    b: usize,
    x: &Activations,
    out: *mut f32,
) {
    // SAFETY: the contract of `tile`.
    unsafe {
        let mut w = [_mm256_setzero_si256(); 8];
        w.copy_from_slice(&turned.q[j * 8..j * 8 + 8]);
        let q = x.q.as_ptr().add(b * x.rows * BLOCK);
        let d = x.d.as_ptr().add(b * x.rows);
        let four = |t: usize, g: usize| {
            _mm256_set1_epi32(q.add(t * BLOCK + g * 4).cast::<i32>().read_unaligned())
        };
        if F::SIXTEEN {
            let s = x.s16.as_ptr().add(2 * b * x.rows);
            let (d0, d1) = (turned.d[2 * j], turned.d[2 * j + 1]);
            let (m0, m1) = (turned.m[2 * j], turned.m[2 * j + 1]);
            for t in 0..x.rows {
                let (mut first, mut second) = (_mm256_setzero_si256(), _mm256_setzero_si256());
                for g in 0..4 {
                    first = D::dot::<false>(first, w[g], four(t, g));
                    second = D::dot::<false>(second, w[g + 4], four(t, g + 4));
                }
                let scale = _mm256_set1_ps(*d.add(t));
                let part = _mm256_mul_ps(_mm256_cvtepi32_ps(first), d0);
                let part = _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), d1, part);
                let sum = _mm256_fmadd_ps(part, scale, _mm256_loadu_ps(out.add(t * TILE)));
                let sum = _mm256_fmadd_ps(m0, _mm256_set1_ps(*s.add(t)), sum);
                let sum = _mm256_fmadd_ps(m1, _mm256_set1_ps(*s.add(x.rows + t)), sum);
                _mm256_storeu_ps(out.add(t * TILE), sum);
            }
        } else {
            let s = x.s32.as_ptr().add(b * x.rows);
            let (dj, mj) = (turned.d[j], turned.m[j]);
            for t in 0..x.rows {
                let mut dot = _mm256_setzero_si256();
                for g in 0..8 {
                    dot = if F::WIDE {
                        D::dot::<true>(dot, w[g], four(t, g))
                    } else {
                        D::dot::<false>(dot, w[g], four(t, g))
                    };
                }
                let scale = _mm256_mul_ps(dj, _mm256_set1_ps(*d.add(t)));
                let sum = _mm256_loadu_ps(out.add(t * TILE));
                let sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sum);
                let sum = _mm256_fmadd_ps(mj, _mm256_set1_ps(*s.add(t)), sum);
                _mm256_storeu_ps(out.add(t * TILE), sum);
            }
        }
    }
}
