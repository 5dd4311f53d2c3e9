//! Model directories and the checkpoints they are made from.
//!
//! Comes in: folders that users hold. Goes out: a manifest, tensors by name. Promises: every file
//! is checked against the manifest before use; a file that lies gives an error, never a crash.

use std::collections::HashMap;

use candle_core::Tensor;

pub mod compare;
mod conversation;
pub mod expect;
mod files;
mod folder;
pub mod gguf;
pub mod hub;
pub mod import;
mod layout;
pub mod manifest;
pub mod quantize;
mod questions;
pub mod replace;
pub mod stored;
pub mod torch;
pub mod writer;

pub use files::ModelFiles;
pub use layout::{wanted, wanted_language};
pub use manifest::Manifest;
pub use questions::Questions;

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;
