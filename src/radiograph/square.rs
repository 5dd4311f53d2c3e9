//! Square pixels.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::decoder::DecodeLimits;
use super::header;
use super::image::GreyImage;
use super::resize;
use crate::object::StoredObject;

/// Differences of the sides below this part are those of rounding.
const TOLERANCE: f64 = 0.01;
/// A pixel that is so many times as high as wide, or as wide as high, is a mistake.
const MOST: f64 = 8.0;

/// The image with pixels as wide as high, where the object says that its own are not: the side with
/// the fewer pixels is enlarged, or, where that would be more than is read, the other made smaller.
pub(super) fn square(object: &StoredObject, image: GreyImage, limits: &DecodeLimits) -> GreyImage {
    let Some(height) = height_over_width(object) else { return image };
    let by = |side: u32, factor: f64| (f64::from(side) * factor).round() as u32;
    let (width, rows) = (image.width(), image.height());
    let enlarged = (by(width, (1.0 / height).max(1.0)), by(rows, height.max(1.0)));
    let (width, rows) = match header::check_size(enlarged.0, enlarged.1, limits.side, limits.pixels)
    {
        Ok(()) => enlarged,
        Err(_) => (by(width, (1.0 / height).min(1.0)), by(rows, height.min(1.0))),
    };
    resize::bicubic(&image, width, rows)
}

/// How high a pixel is over how wide, if that is not 1: by Pixel Aspect Ratio (PS3.3 §C.7.6.3.1.7),
/// which is there only where no spacing is, else by the spacings (§10.7.1.3), vertical first.
fn height_over_width(object: &StoredObject) -> Option<f64> {
    const SPACINGS: [Tag; 4] = [
        tags::PIXEL_ASPECT_RATIO,
        tags::PIXEL_SPACING,
        tags::IMAGER_PIXEL_SPACING,
        tags::NOMINAL_SCANNED_PIXEL_SPACING,
    ];
    let ratio = |tag| match object.decimals(tag).as_slice() {
        &[vertical, horizontal, ..] if vertical > 0.0 && horizontal > 0.0 => {
            Some(vertical / horizontal)
        }
        _ => None,
    };
    let ratio = SPACINGS.into_iter().find_map(ratio)?;
    ((ratio - 1.0).abs() > TOLERANCE && (1.0 / MOST..=MOST).contains(&ratio)).then_some(ratio)
}
