//! The paper's other half: training an image encoder, a language model and the linear alignment
//! between them.
//!
//! Comes in: labelled radiographs (`labels.csv` and `images/`), settings and a seed. Goes out:
//! weights, a log, checkpoints, and in the end a model directory that the node can draft with.
//! Promises: the same settings, data and seed give the same run; a run that was stopped goes on
//! from its last epoch; the encoder and the language model stay as they are while they are
//! aligned. May use: `vocabulary`, `object`, `radiograph`, `findings`, `model`, `dataset`,
//! `evaluate`.

pub mod align;
pub mod architecture;
pub mod assemble;
pub mod assess;
pub mod augment;
mod auxiliary;
pub mod average;
mod calibrate;
pub mod card;
mod curve;
pub mod data;
pub mod development;
pub mod encoder;
mod error;
mod files;
pub mod grammar;
pub mod known;
pub mod label;
pub mod language;
mod loss;
mod next_token;
pub mod optimise;
pub mod pairs;
pub mod provenance;
pub mod recipe;
pub mod release;
pub mod run;
pub mod tokenizer;
pub mod variables;
pub mod workers;

pub use crate::evaluate::{auroc, chance};
pub use error::TrainError;
