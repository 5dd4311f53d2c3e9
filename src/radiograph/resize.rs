//! Bicubic resizing with antialiasing, bit for bit as Pillow does it with 8-bit images
//! (`src/libImaging/Resample.c`): columns first, then rows, weights of 22 bits of fraction.
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use rayon::prelude::*;

use super::GreyImage;

/// Bits of the weights' fraction: 32 - 8 for the pixel - 2 for what overshoots.
const FRACTION: u32 = 22;

/// The image at another size. A side of 0 becomes 1.
pub fn bicubic(image: &GreyImage, width: u32, height: u32) -> GreyImage {
    let (width, height) = (width.max(1), height.max(1));
    let columns = weights(image.width() as usize, width as usize);
    let rows = weights(image.height() as usize, height as usize);
    let resized = |pixels: &[u8]| plane(pixels, image.width() as usize, &columns, &rows);
    let grey = GreyImage::new(width, height, resized(image.pixels()));
    let grey = grey.unwrap_or_else(|| image.clone());
    match image.colour() {
        Some(planes) => grey.with_colour(planes.each_ref().map(|plane| resized(plane))),
        None => grey,
    }
}

/// A black square of `square` columns that has the image in it, `left` and `top` pixels from its
/// corner, at the size of `side` columns. The square itself, which may be far larger than the
/// image, is never made.
pub fn bicubic_in_square(
    image: &GreyImage,
    (square, left, top): (u32, u32, u32),
    side: u32,
) -> GreyImage {
    let side = side.max(1);
    let whole = weights(square as usize, side as usize);
    let columns = clipped(&whole, left as usize, image.width() as usize);
    let rows = clipped(&whole, top as usize, image.height() as usize);
    let pixels = plane(image.pixels(), image.width() as usize, &columns, &rows);
    GreyImage::new(side, side, pixels).unwrap_or_else(|| image.clone())
}

/// One plane of an image, `from_width` pixels a row: a column and a row of the result a weight.
fn plane(pixels: &[u8], from_width: usize, columns: &[Weight], rows: &[Weight]) -> Vec<u8> {
    let width = columns.len();
    let mut narrowed = vec![0u8; width * (pixels.len() / from_width.max(1))];
    narrowed.par_chunks_mut(width).zip(pixels.par_chunks(from_width.max(1))).for_each(
        |(to, from)| {
            for (to, weight) in to.iter_mut().zip(columns) {
                let from = &from[weight.first..weight.first + weight.factors.len()];
                let sum =
                    from.iter().zip(&weight.factors).map(|(p, f)| i32::from(*p) * f).sum::<i32>();
                *to = round(sum);
            }
        },
    );
    let mut out = vec![0u8; width * rows.len()];
    out.par_chunks_mut(width).zip(rows).for_each(|(to, weight)| {
        let mut sums = vec![0i32; width];
        for (row, factor) in weight.factors.iter().enumerate() {
            let at = (weight.first + row) * width;
            for (sum, pixel) in sums.iter_mut().zip(&narrowed[at..at + width]) {
                *sum += i32::from(*pixel) * factor;
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = round(sum);
        }
    });
    out
}

/// What weights take of `length` pixels that lie from `start` on in a line of black ones.
fn clipped(weights: &[Weight], start: usize, length: usize) -> Vec<Weight> {
    let of_image = |weight: &Weight| {
        let first = weight.first.clamp(start, start + length);
        let end = (weight.first + weight.factors.len()).clamp(first, start + length);
        let factors = weight.factors.iter().skip(first - weight.first.min(first)).take(end - first);
        Weight { first: first - start, factors: factors.copied().collect() }
    };
    weights.iter().map(of_image).collect()
}

/// What one pixel of the result takes from the source.
struct Weight {
    first: usize,
    factors: Vec<i32>,
}

fn weights(from: usize, to: usize) -> Vec<Weight> {
    let scale = from as f64 / to as f64;
    let spread = scale.max(1.0);
    let (support, narrow) = (2.0 * spread, 1.0 / spread);
    let weight = |at: usize| {
        let centre = (at as f64 + 0.5) * scale;
        // As C casts: towards 0.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let curve = |i: usize| cubic((i as f64 - centre + 0.5) * narrow);
        let factors = (first..end).map(curve).collect::<Vec<_>>();
        let total = factors.iter().sum::<f64>();
        let fixed = |f: &f64| (f / total * f64::from(1 << FRACTION)).round() as i32;
        Weight { first, factors: factors.iter().map(fixed).collect() }
    };
    (0..to).map(weight).collect()
}

/// Keys' cubic convolution with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn round(sum: i32) -> u8 {
    ((sum + (1 << (FRACTION - 1))) >> FRACTION).clamp(0, 255) as u8
}
