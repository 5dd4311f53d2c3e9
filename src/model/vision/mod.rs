//! Image encoders and what goes before them.

pub mod preprocess;
pub mod swin;
