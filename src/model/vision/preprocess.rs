//! From a grey image to the encoder's input.

use candle_core::{Device, Result, Tensor};

use crate::model::checkpoint::Manifest;
use crate::model::checkpoint::manifest::Fit;
use crate::radiograph::GreyImage;
use crate::radiograph::resize::bicubic;

/// The image as the encoder's size has it, 8 bits.
pub fn resized(image: &GreyImage, manifest: &Manifest) -> GreyImage {
    fitted(image, manifest.image.fit, manifest.image_encoder.image_size() as u32)
}

/// The image as a square of `side` columns.
pub fn fitted(image: &GreyImage, fit: Fit, side: u32) -> GreyImage {
    match fit {
        Fit::Stretch => bicubic(image, side, side),
        Fit::PadToSquare => bicubic(&padded(image, side), side, side),
    }
}

/// What stands in each channel: the picture's colours where the encoder was trained on colours and
/// the picture has some, else grey in every channel.
pub fn planes<'a>(resized: &'a GreyImage, manifest: &Manifest) -> Vec<&'a [u8]> {
    let channels = manifest.image_encoder.num_channels();
    match resized.colour().filter(|planes| manifest.image.colour && planes.len() == channels) {
        Some(planes) => planes.iter().map(Vec::as_slice).collect(),
        None => vec![resized.pixels(); channels],
    }
}

/// A batch of one: `[1, channels, side, side]`, normalised.
pub fn pixels(resized: &GreyImage, manifest: &Manifest, device: &Device) -> Result<Tensor> {
    let channels = manifest.image_encoder.num_channels();
    let side = manifest.image_encoder.image_size();
    let of = |values: &[f64], channel: usize| {
        values.get(channel).or(values.first()).copied().unwrap_or_default()
    };
    let mut data = Vec::with_capacity(channels * side * side);
    for (channel, plane) in planes(resized, manifest).into_iter().enumerate() {
        let (mean, std) = (of(&manifest.image.mean, channel), of(&manifest.image.std, channel));
        let normalized = |value: u8| ((f64::from(value) / 255.0 - mean) / std) as f32;
        data.extend(plane.iter().map(|value| normalized(*value)));
    }
    Tensor::from_vec(data, (1, channels, side, side), device)
}

/// The image in the middle of a black square, of at least `least` columns (MedCLIP).
fn padded(image: &GreyImage, least: u32) -> GreyImage {
    let (width, height) = (image.width(), image.height());
    let side = width.max(height).max(least);
    if width == side && height == side {
        return image.clone();
    }
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let mut square = vec![0u8; side as usize * side as usize];
    let rows = image.pixels().chunks_exact(width.max(1) as usize);
    for (to, from) in square.chunks_exact_mut(side as usize).skip(top as usize).zip(rows) {
        if let Some(to) = to.get_mut(left as usize..(left + width) as usize) {
            to.copy_from_slice(from);
        }
    }
    GreyImage::new(side, side, square).unwrap_or_else(|| image.clone())
}
