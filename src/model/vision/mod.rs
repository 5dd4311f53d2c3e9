//! Image encoders and what goes before them.

pub mod efficientnet_lite;
pub mod encoder;
pub mod eva_qformer;
pub mod eva_vit;
pub mod imagenet;
pub mod preprocess;
pub mod qformer;
pub mod swin;
