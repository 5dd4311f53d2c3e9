//! A grey radiograph to the text of a draft.
//!
//! Comes in: a grey image and a prompt; model directories and checkpoints. Goes out: text, token
//! ids, scores and how long each step took. Promises: no panic on any checkpoint, one thread on
//! the device, the same tensors for training and for inference. May use: `vocabulary`, `config`,
//! `radiograph`, `findings`.

pub mod chain;
pub mod chat;
pub mod checkpoint;
pub mod device;
mod draft;
mod embedded;
pub mod engine;
mod error;
mod generate;
pub mod language;
pub mod layer;
pub mod prompt;
pub mod quantized;
pub mod saliency;
pub mod sample;
pub mod scope;
mod score;
pub mod stop;
pub mod tokenizer;
pub mod vision;

pub use checkpoint::Manifest;
pub use draft::{ABNORMAL, DraftRequest, ImageFeatures, Model, ModelDraft, Seconds};
pub use error::ModelError;
pub use generate::{Ended, Watch};
pub use prompt::PromptChoice;
pub use saliency::{Region, Saliency};
pub use sample::Sampling;
pub use score::{logit, tempered};
