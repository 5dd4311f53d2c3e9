//! What can go wrong in a measurement.

use std::path::PathBuf;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
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
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// An image that the table names is not there.
    #[error(
        "{}: no such image, in line {line} of the table; correct the table or --images, or pass such rows over with --skip-missing",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: usize,
    },
    /// An image could not be read, or is none to measure on.
    #[error(
        "{}: nothing to measure on; correct the table, or pass such rows over with --skip-missing",
        path.display()
    )]
    Image {
        /// The image.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Hypotheses and references are not as many.
    #[error(
        "{hypotheses} hypotheses but {references} references: each line of one file belongs to the same line of the other"
    )]
    Pairs {
        /// Lines of the one.
        hypotheses: usize,
        /// Lines of the other.
        references: usize,
    },
    /// The model failed on an image.
    #[error("the model failed on {}", path.display())]
    Model {
        /// The image.
        path: PathBuf,
        /// Why.
        source: crate::model::ModelError,
    },
    /// A plot could not be drawn.
    #[error("{}: cannot draw the plot: {reason}", path.display())]
    Plot {
        /// Where it should go.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The threads could not be started, or one ended early.
    #[error("a thread of the measurement failed: {0}")]
    Thread(String),
    /// A change of an image could not be made.
    #[error("the image cannot be changed: {0}")]
    Change(String),
}
