//! Pictures as training reads them.

use std::path::Path;

use image::imageops::FilterType;

pub use image::GrayImage as GreyImage;

pub fn open_picture(path: &Path) -> Result<GreyImage, image::ImageError> {
    Ok(image::open(path)?.into_luma8())
}

/// Padded black to a square, then brought to `side`.
pub fn square(image: &GreyImage, side: u32) -> Vec<u8> {
    let longest = image.width().max(image.height());
    let mut canvas = GreyImage::new(longest, longest);
    let left = i64::from((longest - image.width()) / 2);
    let top = i64::from((longest - image.height()) / 2);
    image::imageops::overlay(&mut canvas, image, left, top);
    image::imageops::resize(&canvas, side, side, FilterType::CatmullRom).into_raw()
}
