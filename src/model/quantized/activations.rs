//! Rows of f32 as signed bytes with a scale for each 32.
#![expect(clippy::indexing_slicing, reason = "kernel over blocks whose lengths are checked")]

use rayon::prelude::*;

/// Numbers with one scale.
pub(super) const BLOCK: usize = 32;

/// Rows as bytes, block by block: the same block of every row lies together, so that a weight's
/// block meets all rows in one sweep of memory.
pub(super) struct Activations {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// `[columns / 32, rows, 32]`: -127 to 127.
    pub(super) q: Vec<i8>,
    /// `[columns / 32, rows]`: the scales.
    pub(super) d: Vec<f32>,
    /// `[columns / 32, rows]`: the sum of the 32 numbers that the bytes stand for.
    pub(super) s32: Vec<f32>,
    /// `[columns / 16, rows]`: the sum of each 16.
    pub(super) s16: Vec<f32>,
}

impl Activations {
    /// Of `[rows, columns]`, columns being a multiple of 32.
    pub(super) fn new(x: &[f32], columns: usize) -> Self {
        let (rows, blocks) = (x.len() / columns, columns / BLOCK);
        let mut q = vec![0i8; blocks * rows * BLOCK];
        let (mut d, mut s32) = (vec![0f32; blocks * rows], vec![0f32; blocks * rows]);
        let mut s16 = vec![0f32; 2 * blocks * rows];
        let block = |b: usize, q: &mut [i8], d: &mut [f32], s32: &mut [f32], s16: &mut [f32]| {
            for row in 0..rows {
                let from = &x[row * columns + b * BLOCK..][..BLOCK];
                let (scale, sums) = quantize(from, &mut q[row * BLOCK..(row + 1) * BLOCK]);
                d[row] = scale;
                s16[row] = scale * sums[0] as f32;
                s16[rows + row] = scale * sums[1] as f32;
                s32[row] = scale * (sums[0] + sums[1]) as f32;
            }
        };
        if rows < 8 {
            for b in 0..blocks {
                block(
                    b,
                    &mut q[b * rows * BLOCK..],
                    &mut d[b * rows..],
                    &mut s32[b * rows..],
                    &mut s16[2 * b * rows..],
                );
            }
        } else {
            q.par_chunks_mut(rows * BLOCK)
                .zip(d.par_chunks_mut(rows))
                .zip(s32.par_chunks_mut(rows))
                .zip(s16.par_chunks_mut(2 * rows))
                .enumerate()
                .for_each(|(b, (((q, d), s32), s16))| block(b, q, d, s32, s16));
        }
        Self { rows, columns, q, d, s32, s16 }
    }
}

/// Nearest multiples of a 127th of the largest magnitude; gives the scale and the sums of the
/// bytes' two halves.
fn quantize(x: &[f32], q: &mut [i8]) -> (f32, [i32; 2]) {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves an integer in the low bits
    let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    for (q, x) in q.iter_mut().zip(x) {
        *q = (x * inverse + ROUND).to_bits() as i8;
    }
    let sum = |q: &[i8]| q.iter().map(|q| i32::from(*q)).sum::<i32>();
    (scale, [sum(&q[..16]), sum(&q[16..])])
}
