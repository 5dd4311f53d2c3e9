//! Attention of one new position over a cache, in one pass over keys and values.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]
#![expect(unsafe_code, reason = "heads write disjoint columns")]

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::rows::{exp, fused};
use super::wide::wide;
use crate::model::quantized::{Columns, share};

/// Lanes that a sum is made in.
const LANES: usize = 16;

/// What the queries `[batch, heads, 1, width]` take from all keys and values
/// `[batch, key-value heads, seen, width]`: `[batch, 1, heads · width]`. `None` where the plain
/// tensor operations are the way: several positions, another device or type. Without a backward.
pub fn attend_one(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    scale: f32,
) -> Result<Option<Tensor>> {
    let (_, _, time, _) = queries.dims4()?;
    let rows =
        |t: &Tensor| matches!(t.stride(), [_, _, row, 1] if t.dim(3).is_ok_and(|w| w == *row));
    let plain = fused(queries) && fused(keys) && fused(values);
    if time != 1 || !plain || !rows(keys) || !rows(values) || queries.track_op() {
        return Ok(None);
    }
    queries.contiguous()?.apply_op3_no_bwd(keys, values, &AttendOne { scale }).map(Some)
}

struct AttendOne {
    scale: f32,
}

/// Keys or values, a head apart by `head` numbers and a sequence by `sequence`.
struct Held<'a> {
    numbers: &'a [f32],
    sequence: usize,
    head: usize,
}

impl<'a> Held<'a> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (CpuStorage::F32(all), &[sequence, head, _, _]) = (storage, layout.stride()) else {
            bail!("keys and values are f32 of four dimensions")
        };
        let (batch, heads, seen, width) = layout.shape().dims4()?;
        let numbers = all.get(layout.start_offset()..).unwrap_or_default();
        let last = batch.saturating_sub(1) * sequence + heads.saturating_sub(1) * head;
        if last + seen * width > numbers.len() {
            bail!("a layout reaches past its storage");
        }
        Ok(Self { numbers, sequence, head })
    }

    fn of(&self, sequence: usize, head: usize, count: usize) -> &'a [f32] {
        let at = sequence * self.sequence + head * self.head;
        &self.numbers[at..at + count]
    }
}

impl CustomOp3 for AttendOne {
    fn name(&self) -> &'static str {
        "attend-one"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        query_layout: &Layout,
        keys: &CpuStorage,
        key_layout: &Layout,
        values: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, heads, _, width) = query_layout.shape().dims4()?;
        let (_, kv_heads, seen, kv_width) = key_layout.shape().dims4()?;
        let queries = super::rows::slice(queries, query_layout)?;
        let alike = key_layout.shape() == value_layout.shape()
            && key_layout.shape().dims4()?.0 == batch
            && kv_width == width
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads);
        if !alike || width == 0 || seen == 0 {
            bail!("queries of {:?} for keys of {:?}", query_layout.shape(), key_layout.shape());
        }
        let (keys, values) = (Held::new(keys, key_layout)?, Held::new(values, value_layout)?);
        let shared = heads / kv_heads;
        let mut out = vec![0f32; batch * heads * width];
        let columns = Columns::new(&mut out, width);
        share(batch * heads, |range| {
            let (mut weights, mut mixed) = (vec![0f32; seen], vec![0f32; width]);
            for i in range {
                let (sequence, head) = (i / heads, i % heads / shared);
                let keys = keys.of(sequence, head, seen * width);
                let values = values.of(sequence, head, seen * width);
                let query = &queries[i * width..(i + 1) * width];
                one(query, keys, values, self.scale, &mut weights, &mut mixed);
                // SAFETY: this head alone has this row.
                unsafe { columns.write(i, 0, &mixed) };
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((batch, 1, heads * width))))
    }
}

wide! {
    /// One head.
    fn one(
        query: &[f32],
        keys: &[f32],
        values: &[f32],
        scale: f32,
        weights: &mut [f32],
        mixed: &mut [f32],
    ) {
        let width = query.len();
        let mut largest = f32::NEG_INFINITY;
        for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(width)) {
            *weight = dot(query, key) * scale;
            largest = largest.max(*weight);
        }
        let mut sum = 0.0;
        for weight in &mut *weights {
            *weight = exp(*weight - largest);
            sum += *weight;
        }
        mixed.fill(0.0);
        for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
            for (m, v) in mixed.iter_mut().zip(value) {
                *m += weight * v;
            }
        }
        for m in mixed {
            *m /= sum;
        }
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled for the caller's instructions")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let mut sum = 0.0;
    for i in 0..LANES / 2 {
        sum += sums[i] + sums[i + LANES / 2];
    }
    sum + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
