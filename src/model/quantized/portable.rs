//! The product of blocks for processors without a fast way.
#![expect(clippy::indexing_slicing, reason = "kernel over blocks whose lengths are checked")]

use super::Packing;
use super::activations::{Activations, BLOCK};
use super::open::{Opened, RUN};

/// Adds to column `column` of `sums` (`[rows of x, width]`) what the numbers of `row` from `first`
/// on give.
pub(super) fn dot(
    packing: Packing,
    row: &[u8],
    x: &Activations,
    first: usize,
    sums: &mut [f32],
    width: usize,
    column: usize,
) {
    let mut opened = Opened::new();
    let mut at = first;
    while at < x.columns {
        let count = RUN.min(x.columns - at);
        let (from, to) = (at / packing.block(), (at + count) / packing.block());
        opened.open(packing, &row[from * packing.block_bytes()..to * packing.block_bytes()]);
        for (i, sums) in sums.chunks_exact_mut(width).enumerate() {
            for half in 0..count / 16 {
                let b = at / BLOCK + half / 2;
                let q = &x.q[(b * x.rows + i) * BLOCK + half % 2 * 16..][..16];
                let w = &opened.q[half * 16..(half + 1) * 16];
                let dot = w.iter().zip(q).map(|(w, q)| i32::from(*w) * i32::from(*q)).sum::<i32>();
                let s = x.s16[(at / 16 + half) * x.rows + i];
                sums[column] +=
                    opened.d[half] * x.d[b * x.rows + i] * dot as f32 + opened.m[half] * s;
            }
        }
        at += count;
    }
}
