//! Language models and their key-value cache.

pub mod cache;
pub mod llama;
