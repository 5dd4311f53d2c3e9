//! Depthwise convolution: each channel with a small kernel of its own.
//!
//! Images lie as `[batch, rows, columns, channels]`, so every inner loop runs over neighbouring
//! channels and a 1 × 1 convolution beside it is a plain matrix product. The output is
//! `ceil(side / stride)`, padded with zeros as TensorFlow's SAME: the odd one after, not before.
#![expect(clippy::indexing_slicing, reason = "a kernel whose tables are built within its bounds")]

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{add, fused, slice};
use super::wide::wide;

/// Channels that one round of the inner loop takes; they stay in registers over all taps.
const LANES: usize = 16;

/// How the kernel moves over a side of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Columns and rows of the kernel.
    pub kernel: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
}

impl Steps {
    /// The output's length for an input of `side` pixels.
    pub fn output(self, side: usize) -> usize {
        side.div_ceil(self.stride)
    }

    /// Zeros before the first pixel.
    fn before(self, side: usize) -> usize {
        let reach = (self.output(side).max(1) - 1) * self.stride + self.kernel;
        reach.saturating_sub(side) / 2
    }

    /// The input pixel under tap `tap` of output `at`, if it lies in the image.
    fn input(self, side: usize, at: usize, tap: usize) -> Option<usize> {
        (at * self.stride + tap).checked_sub(self.before(side)).filter(|input| *input < side)
    }

    /// For each output the inputs that it sees, each with its tap.
    fn seen(self, side: usize) -> Vec<Vec<(usize, usize)>> {
        let of = |at| (0..self.kernel).filter_map(move |t| Some((self.input(side, at, t)?, t)));
        (0..self.output(side)).map(|at| of(at).collect()).collect()
    }

    /// For each input the outputs that see it, each with the tap.
    fn seeing(self, side: usize) -> Vec<Vec<(usize, usize)>> {
        let mut table = vec![Vec::new(); side];
        for (output, seen) in self.seen(side).into_iter().enumerate() {
            for (input, tap) in seen {
                table[input].push((output, tap));
            }
        }
        table
    }

    /// For each tap the outputs over which it lies in the image.
    fn within(self, side: usize) -> Vec<Range<usize>> {
        let inside = |tap: usize| {
            let mut at = (0..self.output(side)).filter(|at| self.input(side, *at, tap).is_some());
            let first = at.next();
            first.map_or(0..0, |first| first..at.next_back().unwrap_or(first) + 1)
        };
        (0..self.kernel).map(inside).collect()
    }
}

/// Convolves `[batch, rows, columns, channels]` with `[kernel · kernel, channels]`.
pub fn depthwise(x: &Tensor, weight: &Tensor, steps: Steps) -> Result<Tensor> {
    let (_, rows, columns, channels) = x.dims4()?;
    if weight.dims2()? != (steps.kernel * steps.kernel, channels) || steps.stride == 0 {
        bail!("a kernel of {:?} for {channels} channels, {steps:?}", weight.dims());
    }
    if fused(x) && fused(weight) {
        let op = Depthwise { steps, rows, columns };
        return x.contiguous()?.apply_op2(&weight.contiguous()?, op);
    }
    let mut sum: Option<Tensor> = None;
    for tap in 0..steps.kernel * steps.kernel {
        let part = tap_image(x, steps, tap)?.broadcast_mul(&weight.get(tap)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    sum.map_or_else(|| bail!("a kernel without taps"), Ok)
}

/// What each output sees under one tap, as plain tensor operations.
pub fn tap_image(x: &Tensor, steps: Steps, tap: usize) -> Result<Tensor> {
    let (_, rows, columns, _) = x.dims4()?;
    let along = |x: &Tensor, dim: usize, side: usize, tap: usize| {
        // One row of zeros stands behind the image for what lies outside.
        let padded = x.pad_with_zeros(dim, 0, 1)?;
        let index = (0..steps.output(side))
            .map(|at| steps.input(side, at, tap).unwrap_or(side) as u32)
            .collect::<Vec<_>>();
        let index = Tensor::from_vec(index, steps.output(side), &Device::Cpu)?;
        padded.index_select(&index.to_device(x.device())?, dim)
    };
    let x = along(x, 1, rows, tap / steps.kernel)?;
    along(&x, 2, columns, tap % steps.kernel)
}

/// The sizes that forward and backward share.
#[derive(Clone, Copy, Debug)]
struct Depthwise {
    steps: Steps,
    rows: usize,
    columns: usize,
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, rows, columns, channels) = x_layout.shape().dims4()?;
        let from = Picture { numbers: slice(x, x_layout)?, rows, columns, channels };
        let (down, across) = (self.steps.seen(rows), self.steps.seen(columns));
        let weight = slice(weight, weight_layout)?;
        let out = correlate(&from, batch, weight, self.steps.kernel, &down, &across);
        let shape = Shape::from((batch, down.len(), across.len(), channels));
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let of_input = gradient.apply_op2_no_bwd(&weight.contiguous()?, &OfInput(*self))?;
        let of_weight = x.contiguous()?.apply_op2_no_bwd(&gradient, &OfWeight(*self))?;
        Ok((Some(of_input), Some(of_weight)))
    }
}

/// The gradient by the input, from that of the output and the kernel.
struct OfInput(Depthwise);

impl CustomOp2 for OfInput {
    fn name(&self) -> &'static str {
        "depthwise-input"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Depthwise { steps, rows, columns } = self.0;
        let (batch, out_rows, out_columns, channels) = layout.shape().dims4()?;
        let numbers = slice(gradient, layout)?;
        let from = Picture { numbers, rows: out_rows, columns: out_columns, channels };
        let (down, across) = (steps.seeing(rows), steps.seeing(columns));
        let weight = slice(weight, weight_layout)?;
        let out = correlate(&from, batch, weight, steps.kernel, &down, &across);
        Ok((CpuStorage::F32(out), Shape::from((batch, rows, columns, channels))))
    }
}

/// The gradient by the kernel, from the input and the gradient of the output.
struct OfWeight(Depthwise);

impl CustomOp2 for OfWeight {
    fn name(&self) -> &'static str {
        "depthwise-weight"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let steps = self.0.steps;
        let (batch, rows, columns, channels) = x_layout.shape().dims4()?;
        let (_, out_rows, out_columns, _) = layout.shape().dims4()?;
        let (x, gradient) = (slice(x, x_layout)?, slice(gradient, layout)?);
        let (down, across) = (steps.seen(rows), steps.within(columns));
        let taps = steps.kernel * steps.kernel;
        let one_row = |mut total: Vec<f32>, at: usize| {
            let (image, row) = (at / out_rows, at % out_rows);
            let slopes = &gradient[at * out_columns * channels..][..out_columns * channels];
            for &(from, tap_row) in &down[row] {
                let x = &x[(image * rows + from) * columns * channels..][..columns * channels];
                for (tap_column, over) in across.iter().enumerate() {
                    let Some(first) = steps.input(columns, over.start, tap_column) else {
                        continue;
                    };
                    let tap = tap_row * steps.kernel + tap_column;
                    let sums = &mut total[tap * channels..][..channels];
                    products(
                        sums,
                        &x[first * channels..],
                        steps.stride * channels,
                        &slopes[over.start * channels..over.end * channels],
                    );
                }
            }
            total
        };
        let zeros = || vec![0f32; taps * channels];
        let sums =
            (0..batch * out_rows).into_par_iter().fold(zeros, one_row).reduce(zeros, |mut a, b| {
                add(&mut a, &b);
                a
            });
        Ok((CpuStorage::F32(sums), Shape::from((taps, channels))))
    }
}

wide! {
    /// Adds to `sums` the products of the pixels of `slopes` with those of `x`, `stride` numbers
    /// apart.
    fn products(sums: &mut [f32], x: &[f32], stride: usize, slopes: &[f32]) {
        let channels = sums.len();
        let (blocks, rest) = sums.as_chunks_mut::<LANES>();
        let whole = blocks.len() * LANES;
        for (block, sums) in blocks.iter_mut().enumerate() {
            let mut total = *sums;
            for (at, slopes) in slopes.chunks_exact(channels).enumerate() {
                let x = &x[at * stride + block * LANES..][..LANES];
                let slopes = &slopes[block * LANES..][..LANES];
                for lane in 0..LANES {
                    total[lane] += x[lane] * slopes[lane];
                }
            }
            *sums = total;
        }
        for (lane, sum) in rest.iter_mut().enumerate() {
            let pixels = slopes.chunks_exact(channels).enumerate();
            *sum += pixels
                .map(|(at, slopes)| x[at * stride + whole + lane] * slopes[whole + lane])
                .sum::<f32>();
        }
    }
}

/// A batch of images of one size.
struct Picture<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    channels: usize,
}

/// For each result the sum over the pixels that the tables `down` and `across` name, each times
/// the weight of its tap.
fn correlate(
    from: &Picture<'_>,
    batch: usize,
    weight: &[f32],
    kernel: usize,
    down: &[Vec<(usize, usize)>],
    across: &[Vec<(usize, usize)>],
) -> Vec<f32> {
    let Picture { numbers, rows, columns, channels } = *from;
    let mut out = vec![0f32; batch * down.len() * across.len() * channels];
    let width = (across.len() * channels).max(1);
    out.par_chunks_mut(width).enumerate().for_each(|(at, out)| {
        let (image, row) = (at / down.len(), at % down.len());
        let mut taps: Vec<(usize, usize)> = Vec::with_capacity(kernel * kernel);
        for (out, across) in out.chunks_exact_mut(channels).zip(across) {
            taps.clear();
            for &(from_row, tap_row) in &down[row] {
                let start = (image * rows + from_row) * columns;
                taps.extend(across.iter().map(|(from_column, tap_column)| {
                    let pixel = (start + from_column) * channels;
                    (pixel, (tap_row * kernel + tap_column) * channels)
                }));
            }
            pixel(out, numbers, weight, &taps);
        }
    });
    out
}

wide! {
    /// One pixel of all channels.
    fn pixel(out: &mut [f32], numbers: &[f32], weight: &[f32], taps: &[(usize, usize)]) {
        let (blocks, rest) = out.as_chunks_mut::<LANES>();
        let whole = blocks.len() * LANES;
        for (block, out) in blocks.iter_mut().enumerate() {
            let mut sum = [0f32; LANES];
            for (pixel, tap) in taps {
                let x = &numbers[pixel + block * LANES..][..LANES];
                let w = &weight[tap + block * LANES..][..LANES];
                for lane in 0..LANES {
                    sum[lane] += x[lane] * w[lane];
                }
            }
            *out = sum;
        }
        for (lane, out) in rest.iter_mut().enumerate() {
            let at = whole + lane;
            *out = taps.iter().map(|(pixel, tap)| numbers[pixel + at] * weight[tap + at]).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Steps;

    #[test]
    fn padding_is_as_tensorflows_same() {
        for (kernel, stride, side, before, output) in [
            (3, 2, 224, 0, 112),
            (5, 2, 56, 1, 28),
            (3, 1, 7, 1, 7),
            (5, 1, 7, 2, 7),
            (3, 2, 7, 1, 4),
        ] {
            let steps = Steps { kernel, stride };
            assert_eq!((steps.before(side), steps.output(side)), (before, output), "{steps:?}");
        }
    }
}
