//! What can go wrong in training.

use std::path::PathBuf;

/// A training run that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The grammar's phrase file is wrong.
    #[error("the summary grammar is wrong: {reason}")]
    Grammar {
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}: cannot {action}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A label table is not what it should be.
    #[error("{}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// NIH's table of the whole release is not what it should be.
    #[error("{}: {reason}; expected NIH's table with the columns Image Index, Finding Labels and Patient ID (Patient Age, Patient Gender and View Position where known)", path.display())]
    Release {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image could not be read.
    #[error("{}: not a readable picture: {reason}", path.display())]
    Picture {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is no number at step {step}: the training diverged; begin anew with a lower --rate"
    )]
    Diverged {
        /// Steps taken until then.
        step: u64,
    },
    /// A run's folder holds something that does not fit.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The folder or file.
        path: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// Sizes that no part can have.
    #[error("these sizes cannot be: {reason}")]
    Sizes {
        /// What makes them impossible, and what to choose.
        reason: String,
    },
    /// The tokenizer could not be made or used.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// Why.
        reason: String,
    },
    /// A tensor operation failed.
    #[error("training step failed")]
    Tensor(#[from] candle_core::Error),
    /// The model refused its parts.
    #[error("the assembled model cannot be used")]
    Model(#[from] crate::model::ModelError),
    /// The pairs could not be read.
    #[error("the pairs of image and summary cannot be used")]
    Dataset(#[source] Box<crate::dataset::DatasetError>),
    /// A curve could not be drawn.
    #[error("the loss curve cannot be drawn")]
    Curve(#[source] Box<crate::evaluate::EvaluateError>),
    /// A worker of the data-parallel step ended early.
    #[error("a training thread ended early: {reason}")]
    Worker {
        /// What is known of it.
        reason: String,
    },
}
