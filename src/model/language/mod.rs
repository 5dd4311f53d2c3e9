//! Language models and their key-value cache.

pub mod cache;
#[cfg(feature = "cuda")]
mod gpu;
pub mod llama;
pub mod step;
