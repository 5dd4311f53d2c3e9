//! From an object, or a picture file, to one grey image.
//!
//! Comes in: a [`StoredObject`](crate::object::StoredObject). Goes out: whether a draft may be
//! made from it, with the reason; its view; and its pixels as 8-bit grey, after every table the
//! object names, dark to bright. Promises: the header is held against the code stream before a
//! codec runs, and no codec's panic gets through; with a [`Decoder`] of its own process, nothing that
//! a codec does gets through. May use: `vocabulary`, `object`.

pub mod age;
pub mod choose;
mod codec;
mod decoder;
pub mod eligible;
mod grey;
mod header;
mod image;
mod jpeg;
mod jpeg_ls;
mod lut;
mod picture;
pub mod resize;
mod rle;
mod square;
mod view;

use std::borrow::Cow;

use crate::object::ObjectError;

pub use self::image::GreyImage;
pub use age::age_years;
pub use decoder::{DecodeLimits, Decoder, Order, run as decode};
pub use eligible::{Eligible, NotEligible, eligibility, eligibility_by};
pub use grey::{Rendered, Window, WindowShape, WindowSource, render, render_in};
pub use picture::{PictureError, open_picture};
pub use view::View;

/// Why an object gives no grey image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum RadiographError {
    /// The object has no pixel data.
    #[error("the object has no pixel data")]
    NoPixelData,
    /// An attribute that says what the pixels are is missing or cannot be.
    #[error("{name} {what}")]
    Attribute {
        /// Its keyword.
        name: Cow<'static, str>,
        /// What is wrong with it.
        what: String,
    },
    /// Too large, or nothing at all.
    #[error(
        "{columns} × {rows} pixels are outside of what this node reads (1 to {side} each way, {pixels} in all)"
    )]
    Size {
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
        /// The most of either.
        side: u32,
        /// The most pixels.
        pixels: u64,
    },
    /// The file is no object that can be read.
    #[error("the object cannot be read: {0}")]
    Object(String),
    /// Its file cannot be read at present.
    #[error("the object cannot be read at present: {0}")]
    Unreadable(String),
    /// The process that decoded it ended without an answer.
    #[error("decoding it ended its process: {0}")]
    Killed(String),
    /// No process could be started to decode it.
    #[error("no process could be started to decode it: {0}")]
    Unstarted(String),
    /// The code stream is another image than the header describes.
    #[error("the code stream does not fit the header: {0}")]
    Mismatch(String),
    /// The code stream's kind is not one that the node decodes.
    #[error("{0}, which this node keeps and forwards but cannot decode")]
    Undecodable(Cow<'static, str>),
    /// The code stream is broken.
    #[error("the pixel data cannot be decoded: {0}")]
    Corrupt(String),
    /// Colour.
    #[error("the image is in colour: its channels differ")]
    Colour,
}

impl RadiographError {
    /// Whether it says nothing of the object itself: another attempt may succeed.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Killed(_) | Self::Unstarted(_) | Self::Unreadable(_))
    }
}

impl From<ObjectError> for RadiographError {
    /// Why there is no object to look at: by the system's fault, or by its own.
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Io { .. } => Self::Unreadable(error.to_string()),
            error => Self::Object(error.to_string()),
        }
    }
}
