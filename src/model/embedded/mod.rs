//! The model that lies in the program, so that a fresh machine drafts without a download.

use super::checkpoint::ModelFiles;
use super::error::ModelError;

/// Its files by name.
const FILES: &[(&str, &[u8])] = &[];

/// The embedded model's files.
pub(super) fn files() -> Result<ModelFiles, ModelError> {
    ModelFiles::embedded(FILES)
}
