//! A grey radiograph to the text of a draft.
//!
//! Comes in: a grey image and a prompt; model directories and checkpoints. Goes out: text, token
//! ids, scores and how long each step took. Promises: no panic on any checkpoint, one thread on
//! the device, the same tensors for training and for inference. May use: `vocabulary`,
//! `radiograph`, `findings`.

pub mod language;
pub mod layer;
pub mod vision;
