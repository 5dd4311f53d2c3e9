//! Products with AVX2, and with VNNI where there is AVX-512VL too.
#![expect(unsafe_code, reason = "instructions beyond the baseline, chosen at run time")]

mod floats;
mod kernel;
mod open;

use std::sync::OnceLock;

use self::kernel::{Avx2, Vnni, dots, tile};
use self::open::{Buffered, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::Packing;
use super::activations::Activations;
use super::floats::{Part, Weights};
use super::open::RUN;
use super::weights::TILE;

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Baseline,
    Avx2,
    Vnni,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let vnni = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match (avx2, vnni) {
            (true, true) => Level::Vnni,
            (true, false) => Level::Avx2,
            _ => Level::Baseline,
        }
    })
}

/// Columns of a weight that the kernels take: whole runs. The portable way takes the rest.
pub(super) fn columns(x: &Activations) -> usize {
    if level() == Level::Baseline { 0 } else { x.columns / RUN * RUN }
}

macro_rules! by_packing {
    ($packing:expr, $kernel:ident, $level:ident, [$($count:tt)*], $($argument:expr),*) => {
        match $packing {
            Packing::Q8_0 => $kernel::<Q8_0, $level $($count)*>($($argument),*),
            Packing::Q4_0 => $kernel::<Q4_0, $level $($count)*>($($argument),*),
            Packing::Q4_1 => $kernel::<Buffered<Q4_1>, $level $($count)*>($($argument),*),
            Packing::Q5_0 => $kernel::<Buffered<Q5_0>, $level $($count)*>($($argument),*),
            Packing::Q5_1 => $kernel::<Buffered<Q5_1>, $level $($count)*>($($argument),*),
            Packing::Q5K => $kernel::<Buffered<Q5K>, $level $($count)*>($($argument),*),
            Packing::Q4K => $kernel::<Q4K, $level $($count)*>($($argument),*),
            Packing::Q6K => $kernel::<Q6K, $level $($count)*>($($argument),*),
            // These have no blocks, and never come here.
            Packing::F16 | Packing::Bf16 => {}
        }
    };
}

macro_rules! levels {
    ($level:ident, $features:literal, $few:ident, $tile:ident) => {
        /// Eight weight rows with each of `N` rows.
        ///
        /// # Safety
        /// The processor has the features; each of `rows` holds the whole runs of each of `xs`,
        /// which have one row each.
        #[target_feature(enable = $features)]
        unsafe fn $few<const N: usize>(
            packing: Packing,
            rows: &[&[u8]; TILE],
            xs: &[Activations; N],
            out: &mut [[f32; TILE]; N],
        ) {
            // SAFETY: by the contract.
            unsafe { by_packing!(packing, dots, $level, [, N], rows, xs, out) }
        }

        /// Eight weight rows with every row of `x`.
        ///
        /// # Safety
        /// The processor has the features; each of `rows` holds the whole runs of `x`.
        #[target_feature(enable = $features)]
        unsafe fn $tile(packing: Packing, rows: &[&[u8]; TILE], x: &Activations, out: &mut [f32]) {
            // SAFETY: by the contract.
            unsafe { by_packing!(packing, tile, $level, [], rows, x, out) }
        }
    };
}

levels!(Avx2, "avx2,fma,f16c", few_avx2, tile_avx2);
levels!(Vnni, "avx2,fma,f16c,avx512f,avx512vl,avx512vnni", few_vnni, tile_vnni);

/// Whether each of `rows` holds the runs that the kernels read.
fn cover(packing: Packing, rows: &[&[u8]; TILE], x: &Activations) -> bool {
    let bytes = packing.row_bytes(columns(x));
    bytes.is_some_and(|bytes| rows.iter().all(|row| bytes <= row.len()))
}

/// Eight weight rows with each of `xs`, which have one row each, over the columns that [`columns`]
/// says; sets `sums`, `[xs, 8]`.
pub(super) fn few(packing: Packing, rows: &[&[u8]; TILE], xs: &[Activations], sums: &mut [f32]) {
    if !xs.iter().all(|x| x.rows == 1 && cover(packing, rows, x)) {
        return;
    }
    let (fours, rest) = xs.as_chunks::<4>();
    let (twos, ones) = rest.as_chunks::<2>();
    let (sums, _) = sums.as_chunks_mut::<TILE>();
    let Some((sums_4, sums)) = sums.split_at_mut_checked(4 * fours.len()) else { return };
    let Some((sums_2, sums_1)) = sums.split_at_mut_checked(2 * twos.len()) else { return };
    for (xs, sums) in fours.iter().zip(sums_4.as_chunks_mut::<4>().0) {
        few_of(packing, rows, xs, sums);
    }
    for (xs, sums) in twos.iter().zip(sums_2.as_chunks_mut::<2>().0) {
        few_of(packing, rows, xs, sums);
    }
    for (x, sums) in ones.iter().zip(sums_1.as_chunks_mut::<1>().0) {
        few_of(packing, rows, std::array::from_ref(x), sums);
    }
}

/// The rows cover the runs.
fn few_of<const N: usize>(
    packing: Packing,
    rows: &[&[u8]; TILE],
    xs: &[Activations; N],
    sums: &mut [[f32; TILE]; N],
) {
    match level() {
        Level::Baseline => {}
        // SAFETY: the level was detected, and `few` has checked the rows.
        Level::Avx2 => unsafe { few_avx2(packing, rows, xs, sums) },
        // SAFETY: as above.
        Level::Vnni => unsafe { few_vnni(packing, rows, xs, sums) },
    }
}

/// Eight weight rows with every row of `x`, over the columns that [`columns`] says, added to
/// `out`, `[rows of x, 8]`.
pub(super) fn several(packing: Packing, rows: &[&[u8]; TILE], x: &Activations, out: &mut [f32]) {
    if !cover(packing, rows, x) || out.len() != x.rows * TILE {
        return;
    }
    match level() {
        Level::Baseline => {}
        // SAFETY: the level was detected, and the rows cover the runs.
        Level::Avx2 => unsafe { tile_avx2(packing, rows, x, out) },
        // SAFETY: as above.
        Level::Vnni => unsafe { tile_vnni(packing, rows, x, out) },
    }
}

/// Adds what a part of a weight row of floats gives with that of each row of `x`; false where the
/// processor cannot.
pub(super) fn add_float_dots(weights: Weights<'_>, part: Part<'_>, sums: &mut [f32]) -> bool {
    let fits = part.x.len() >= sums.len() * part.columns
        && part.at.checked_add(weights.len()).is_some_and(|end| end <= part.columns);
    if level() == Level::Baseline || !fits {
        return false;
    }
    // SAFETY: AVX2, FMA and F16C were detected, and the parts lie within the rows.
    unsafe { floats::add_dots(weights, part, sums) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a row, with a small scale at each block's place for it.
    fn row(packing: Packing, columns: usize, seed: u32) -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mut row = Vec::new();
        for _ in 0..columns / packing.block() {
            let mut block = (0..packing.block_bytes()).map(|_| byte()).collect::<Vec<_>>();
            let at = if packing == Packing::Q6K { 208 } else { 0 };
            let offsets = [Packing::Q4_1, Packing::Q5_1, Packing::Q4K, Packing::Q5K];
            let halves = if offsets.contains(&packing) { 2 } else { 1 };
            for half in 0..halves {
                block[at + 2 * half..at + 2 * half + 2].copy_from_slice(&[0, 0x1c]);
            }
            row.extend(block);
        }
        row
    }

    /// Processors without VNNI compute the same.
    #[test]
    fn every_level_agrees_with_the_portable_way() {
        let columns = 512;
        let x = (0..3 * columns).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0);
        let x = x.collect::<Vec<_>>();
        for packing in Packing::ALL.into_iter().filter(|packing| packing.float().is_none()) {
            let rows = std::array::from_fn::<_, TILE, _>(|i| row(packing, columns, i as u32));
            let rows = std::array::from_fn(|i| rows[i].as_slice());
            for count in [1, 3] {
                let x = Activations::new(&x[..count * columns], columns);
                let mut want = vec![0f32; count * TILE];
                for (i, row) in rows.iter().enumerate() {
                    crate::model::quantized::portable::dot(packing, row, &x, 0, &mut want, TILE, i);
                }
                let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                for least in [Level::Avx2, Level::Vnni].into_iter().filter(|l| able(*l)) {
                    let mut got = vec![0f32; count * TILE];
                    // SAFETY: the processor is able, and the rows are whole.
                    unsafe {
                        match (least, count) {
                            (Level::Vnni, 1) => {
                                let sums = got.as_chunks_mut().0.as_chunks_mut::<1>().0;
                                let x = std::array::from_ref(&x);
                                few_vnni(packing, &rows, x, &mut sums[0]);
                            }
                            (_, 1) => {
                                let sums = got.as_chunks_mut().0.as_chunks_mut::<1>().0;
                                let x = std::array::from_ref(&x);
                                few_avx2(packing, &rows, x, &mut sums[0]);
                            }
                            (Level::Vnni, _) => tile_vnni(packing, &rows, &x, &mut got),
                            _ => tile_avx2(packing, &rows, &x, &mut got),
                        }
                    }
                    for (got, want) in got.iter().zip(&want) {
                        assert!(
                            (got - want).abs() <= 1e-5 * largest,
                            "{packing} {least:?} {count}"
                        );
                    }
                }
            }
        }
    }

    fn able(least: Level) -> bool {
        level() == least || level() == Level::Vnni
    }
}
