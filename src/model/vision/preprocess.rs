//! From a grey image to the encoder's input.

use candle_core::{Device, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::model::checkpoint::Manifest;
use crate::model::checkpoint::manifest::Fit;
use crate::radiograph::GreyImage;
use crate::radiograph::resize::{bicubic, bicubic_in_square};

/// The image as the encoder's size has it, 8 bits.
pub fn resized(image: &GreyImage, manifest: &Manifest) -> GreyImage {
    fitted(image, manifest.image.fit, manifest.image_encoder.image_size() as u32)
}

/// The image as a square of `side` columns.
pub fn fitted(image: &GreyImage, fit: Fit, side: u32) -> GreyImage {
    match fit {
        Fit::Stretch => bicubic(image, side, side),
        Fit::PadToSquare => {
            let (width, height) = (image.width(), image.height());
            // In the middle of a black square, of at least `side` columns (MedCLIP).
            let square = square(width, height, side);
            if width == height && width >= side {
                bicubic(image, side, side)
            } else {
                bicubic_in_square(image, square, side)
            }
        }
    }
}

/// An image as the encoder's size has it, and where it lies there: what a model needs of an image,
/// which itself may be a hundred times as large.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub(in crate::model) image: GreyImage,
    pub(in crate::model) frame: Frame,
}

/// How an encoder wants its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    fit: Fit,
    side: u32,
}

impl Shape {
    /// That of a model's encoder.
    pub fn of(manifest: &Manifest) -> Self {
        Self { fit: manifest.image.fit, side: manifest.image_encoder.image_size() as u32 }
    }

    /// An image in this shape.
    pub fn fitted(self, image: &GreyImage) -> Fitted {
        let Self { fit, side } = self;
        Fitted { image: fitted(image, fit, side), frame: Frame::of(image, fit, side) }
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

/// Where an image lies in the encoder's square, as fractions of the square's side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Left of the image.
    pub left: f64,
    /// Above it.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

impl Frame {
    /// Of an image that [`fitted`] makes a square of `side` columns.
    pub fn of(image: &GreyImage, fit: Fit, side: u32) -> Self {
        match fit {
            Fit::Stretch => Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 },
            Fit::PadToSquare => {
                let (width, height) = (image.width(), image.height());
                let (square, left, top) = square(width, height, side);
                let part = |pixels: u32| f64::from(pixels) / f64::from(square);
                Self { left: part(left), top: part(top), width: part(width), height: part(height) }
            }
        }
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

/// The side of the square around an image, and what of it lies left of the image and above.
fn square(width: u32, height: u32, least: u32) -> (u32, u32, u32) {
    let side = width.max(height).max(least);
    (side, (side - width) / 2, (side - height) / 2)
}
