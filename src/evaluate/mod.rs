//! Measurements: scores and drafts against labels, texts against references, and the pictures of
//! both.
//!
//! Comes in: a model with labelled radiographs, or texts with references. Goes out: AUROC, F1,
//! calibration, ROUGE and BLEU with bootstrap intervals; plots and pages. Promises: the same input
//! and seed give the same figures. Stands before `train`, which measures its models here. May use:
//! `vocabulary`, `object`, `radiograph`, `findings`, `model`.

pub mod auroc;
pub mod bootstrap;
pub mod boxes;
pub mod calibration;
pub mod chance;
pub mod changes;
mod error;
pub mod f1;
pub mod figures;
pub mod look;
pub mod page;
pub mod plot;
pub mod table;
pub mod text;

pub use error::EvaluateError;
