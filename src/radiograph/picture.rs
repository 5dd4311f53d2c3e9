//! PNG and JPEG files.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use thiserror::Error;

use super::{GreyImage, jpeg};

/// The widest and highest picture read, pixels.
const LARGEST_SIDE: u32 = 16_384;
/// The most memory that decoding, and the file itself, may take, bytes.
const MOST_MEMORY: u64 = 1 << 30;

/// Why a file is not a picture.
#[derive(Debug, Error)]
pub enum PictureError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing in it says what it is.
    #[error("{} is neither a DICOM file (it has no DICM at byte 128) nor a PNG or JPEG picture", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// No picture that is read is so large.
    #[error("{} has more bytes than a picture that this program reads (1 GiB)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It ends before its picture does.
    #[error("{} is cut: the JPEG picture has no end; fetch the file again", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be decoded.
    #[error("{} is neither a PNG nor a JPEG picture that can be read", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: image::ImageError,
    },
}

/// Reads a PNG or JPEG file as 8-bit grey. Colour becomes grey by ITU-R 601 with the rounding of
/// Pillow, and stands beside it; of deeper pixels the upper 8 of the bits that are used stay;
/// transparency is left out; a camera's orientation is undone.
pub fn open_picture(path: &Path) -> Result<GreyImage, PictureError> {
    let read = |source| PictureError::Read { path: path.to_owned(), source };
    let decode = |source| PictureError::Decode { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(read)?;
    file.take(MOST_MEMORY + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MOST_MEMORY {
        return Err(PictureError::TooLarge { path: path.to_owned() });
    }
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(read)?;
    match reader.format() {
        None => return Err(PictureError::Unknown { path: path.to_owned() }),
        Some(ImageFormat::Jpeg) if !jpeg::is_whole(&bytes) => {
            return Err(PictureError::Cut { path: path.to_owned() });
        }
        Some(_) => {}
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(decode)?;
    limits.reserve(decoder.total_bytes()).map_err(decode)?;
    let orientation = decoder.orientation().map_err(decode)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(decode)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let unused = unused_bits(&picture);
    let upper = |value: u16| (value >> unused) as u8;
    let mut colour = None;
    let mut grey = |pixels: Vec<[u8; 3]>| {
        if pixels.iter().any(|[red, green, blue]| red != green || green != blue) {
            let plane = |channel: usize| pixels.iter().filter_map(move |p| p.get(channel).copied());
            colour = Some([0, 1, 2].map(|channel| plane(channel).collect::<Vec<u8>>()));
        }
        pixels.into_iter().map(luma).collect::<Vec<u8>>()
    };
    let pixels = match picture {
        DynamicImage::ImageLuma8(image) => image.into_raw(),
        DynamicImage::ImageLumaA8(image) => image.pixels().map(|p| p.0[0]).collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().map(|p| upper(p.0[0])).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|p| upper(p.0[0])).collect(),
        DynamicImage::ImageRgb16(image) => grey(image.pixels().map(|p| p.0.map(upper)).collect()),
        DynamicImage::ImageRgba16(image) => {
            grey(image.pixels().map(|p| [p.0[0], p.0[1], p.0[2]].map(upper)).collect())
        }
        other => grey(other.into_rgb8().pixels().map(|p| p.0).collect()),
    };
    let image = GreyImage::new(width, height, pixels).map(|image| match colour {
        Some(planes) => image.with_colour(planes),
        None => image,
    });
    image.ok_or_else(|| {
        let kind = image::error::ParameterErrorKind::DimensionMismatch;
        decode(image::ImageError::Parameter(image::error::ParameterError::from_kind(kind)))
    })
}

/// How far the values of a deep picture lie above 8 bits: data sets keep 10, 12 or 14 bits in files
/// of 16.
fn unused_bits(picture: &DynamicImage) -> u32 {
    let largest = match picture {
        DynamicImage::ImageLuma16(image) => image.as_raw().iter().max(),
        DynamicImage::ImageLumaA16(image) => image.pixels().map(|p| &p.0[0]).max(),
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().max(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|p| p.0.iter().take(3)).max(),
        _ => None,
    };
    let used = largest.map_or(8, |largest| u16::BITS - largest.leading_zeros());
    [8, 10, 12, 14].into_iter().find(|depth| used <= *depth).unwrap_or(16) - 8
}

/// ITU-R 601 in 16 bits of fraction (Pillow's `L24`).
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}
