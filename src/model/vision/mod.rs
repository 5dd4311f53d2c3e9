//! Image encoders.

pub mod swin;
