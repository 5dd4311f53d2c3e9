//! The font of pictures and plots, so that no machine needs one.
//!
//! `font/DejaVuSans-ASCII.ttf` is DejaVu Sans (DejaVu Fonts licence, free to embed and to pass on)
//! cut to the printable characters of ASCII.

use std::sync::OnceLock;

use plotters::style::{FontStyle, register_font};

/// Makes the font known as `sans-serif`.
///
/// # Errors
/// In words: the embedded font is not one.
pub fn register() -> Result<(), String> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let bytes = include_bytes!("font/DejaVuSans-ASCII.ttf");
    let known = DONE.get_or_init(|| register_font("sans-serif", FontStyle::Normal, bytes).is_ok());
    if *known { Ok(()) } else { Err("the embedded font is not one".to_owned()) }
}
