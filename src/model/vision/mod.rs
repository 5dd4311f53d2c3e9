//! Image encoders and what goes before them.

pub mod efficientnet_lite;
pub mod encoder;
pub mod imagenet;
pub mod preprocess;
pub mod swin;
