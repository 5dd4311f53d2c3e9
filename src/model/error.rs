//! What can go wrong between a model directory and a draft.

use std::path::PathBuf;

use thiserror::Error;

/// Why there is no model, or no draft.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what its place demands.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file, or its name within a model.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A file is not the one that the manifest names.
    #[error("{}: its SHA-256 is {found}, the manifest says {expected}; import the model again", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// By the manifest, hexadecimal.
        expected: String,
        /// Of the file, hexadecimal.
        found: String,
    },
    /// Tensors are missing, of the wrong shape, or not of this architecture.
    #[error("the tensors do not fit the architecture:{}", list(problems))]
    Tensors {
        /// One sentence a tensor.
        problems: Vec<String>,
    },
    /// A hub does not give what it is asked for.
    #[error("{repository} on the hub: {reason}")]
    Hub {
        /// The repository.
        repository: String,
        /// Why not.
        reason: String,
    },
    /// The folder to write into holds something already.
    #[error("{} is not empty; name an empty or a new folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Prompt and image do not fit the model's context.
    #[error(
        "prompt and image take {needed} positions, the model's context has {context}; shorten the prompt"
    )]
    Context {
        /// Positions needed, one for the answer included.
        needed: usize,
        /// Positions there are.
        context: usize,
    },
    /// There is no prompt of that number.
    #[error("the model has no prompt {number}; its prompts are 1 to {count}")]
    Prompt {
        /// As asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// There is no conversation template of that name.
    #[error("the model has no conversation template {name:?}; its templates are {names}")]
    Template {
        /// As asked for.
        name: String,
        /// Those there are.
        names: String,
    },
    /// The device asked for cannot be used.
    #[error("model.device = {device:?}: {reason}")]
    Device {
        /// As asked for.
        device: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A request asks for something impossible.
    #[error("{0}")]
    Request(String),
    /// A tensor operation failed.
    #[error("{step} failed")]
    Compute {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: candle_core::Error,
    },
    /// The engine gave no answer.
    #[error("{0}")]
    Engine(String),
}

impl ModelError {
    /// An error about the content of a file.
    pub fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }
}

/// Names the step that a tensor error happened in.
pub(crate) trait Step<T> {
    /// The same result as a [`ModelError`].
    fn step(self, step: &'static str) -> Result<T, ModelError>;
}

impl<T> Step<T> for candle_core::Result<T> {
    fn step(self, step: &'static str) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::Compute { step, source })
    }
}

/// The problems, a line each; a checkpoint of another architecture has some thousand.
fn list(problems: &[String]) -> String {
    const MOST: usize = 2000;
    let mut text = String::new();
    for problem in problems.iter().take(MOST) {
        text.push_str("\n  ");
        text.push_str(problem);
    }
    if let Some(more) = problems.len().checked_sub(MOST).filter(|n| *n > 0) {
        text.push_str("\n  and more: ");
        text.push_str(&more.to_string());
    }
    text
}
