//! What can go wrong in making a data set.

use std::path::PathBuf;

/// A data set that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The folder's layout is none that is known.
    #[error(
        "{}: no reports that this program knows; expected MIMIC-CXR (files/p10/p10000032/s50414267.txt), \
         Open-i (ecgen-radiology/*.xml, or indiana_reports.csv with indiana_projections.csv) or DICOM \
         files with reports as SR objects or text files", path.display()
    )]
    Unknown {
        /// The folder.
        path: PathBuf,
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
    /// A table or document is not what its layout says.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The project's own phrase file is wrong.
    #[error("the phrases of the data set are wrong: {0}")]
    Phrases(String),
    /// A language model could not reword a summary.
    #[error("{endpoint}: {reason}")]
    Endpoint {
        /// Where it was asked.
        endpoint: String,
        /// What came back, and what to do.
        reason: String,
    },
    /// A model directory could not word a summary.
    #[error("{name}: it cannot word a summary")]
    Model {
        /// The model.
        name: String,
        /// Why.
        source: crate::model::ModelError,
    },
}

/// Names a file in an error.
pub(super) fn failed(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> DatasetError {
    move |source| DatasetError::File { action, path: path.to_owned(), source }
}
