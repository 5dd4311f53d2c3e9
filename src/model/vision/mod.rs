//! Image encoders and what goes before them.

pub mod swin;
