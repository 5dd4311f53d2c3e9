//! From an object or a picture to one grey image.
//!
//! Comes in: stored objects, PNG and JPEG files. Goes out: 8-bit grey images, low values dark.
//! Promises: sizes are bounded before memory is taken. May use: `vocabulary`, `object`.

mod image;
mod picture;
pub mod resize;

pub use self::image::GreyImage;
pub use picture::{PictureError, open_picture};
