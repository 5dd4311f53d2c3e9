//! The model that lies in the program, so that a fresh machine drafts without a download.

use super::checkpoint::ModelFiles;
use super::error::ModelError;

/// Its files by name, as `train align` wrote them; `CARD.md` beside them says how good it is.
const FILES: &[(&str, &[u8])] = &[
    ("manifest.toml", include_bytes!("manifest.toml")),
    ("tokenizer.json", include_bytes!("tokenizer.json")),
    ("weights.safetensors", include_bytes!("weights.safetensors")),
];

/// The embedded model's files.
pub(super) fn files() -> Result<ModelFiles, ModelError> {
    ModelFiles::embedded(FILES)
}
