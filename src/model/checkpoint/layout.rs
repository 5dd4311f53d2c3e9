//! Which files of a folder are what.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::error::ModelError;

/// The files of a checkpoint in the paper's architecture.
#[derive(Debug)]
pub(super) struct MedclipFiles {
    /// MedCLIP's state dictionary.
    pub(super) encoder: PathBuf,
    /// Hugging Face's configuration of its Swin.
    pub(super) encoder_config: PathBuf,
    /// The alignment layer.
    pub(super) projection: PathBuf,
    /// The language model's tensors, one or several files.
    pub(super) language: Vec<PathBuf>,
    /// Its configuration.
    pub(super) language_config: PathBuf,
    /// Its tokenizer.
    pub(super) tokenizer: PathBuf,
}

/// Finds the paper's architecture in a folder.
pub(super) fn medclip(source: &Path) -> Result<MedclipFiles, ModelError> {
    let encoder = existing(source, &["medclip_pytorch_model.bin", "pytorch_model.bin"]);
    let Some(encoder) = encoder else {
        return Err(ModelError::invalid(source, unknown(source)));
    };
    let need = |names: &[&str]| {
        existing(source, names).ok_or_else(|| {
            let reason = format!("the MedCLIP layout needs {} here", names.join(" or "));
            ModelError::invalid(source, reason)
        })
    };
    let language_config = need(&["vicuna/config.json", "llm/config.json"])?;
    let folder = language_config.parent().unwrap_or(source).to_owned();
    let tokenizer = existing(&folder, &["tokenizer.model", "tokenizer.json"]);
    let tokenizer = tokenizer.ok_or_else(|| {
        ModelError::invalid(&folder, "a language model needs tokenizer.model or tokenizer.json")
    })?;
    Ok(MedclipFiles {
        encoder,
        encoder_config: need(&["swin_config.json"])?,
        projection: need(&["projection.safetensors"])?,
        language: language(&folder)?,
        language_config,
        tokenizer,
    })
}

impl MedclipFiles {
    /// In words, for the manifest.
    pub(super) fn describe(&self) -> String {
        let name = |path: &Path| {
            path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let language = self.language.iter().map(|p| name(p)).collect::<Vec<_>>().join(", ");
        format!(
            "imported from {}, {} and {language} (MedCLIP layout)",
            name(&self.encoder),
            name(&self.projection)
        )
    }
}

fn existing(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The tensors of a Hugging Face language model: one file, or the shards that an index names; the
/// first there is in the order in which `from_pretrained` looks.
fn language(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let names = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    let Some(path) = existing(folder, &names) else {
        return Err(ModelError::invalid(
            folder,
            "a language model needs model.safetensors, pytorch_model.bin, or their index and shards",
        ));
    };
    if path.extension().is_some_and(|e| e == "json") {
        shards(folder, &path)
    } else {
        Ok(vec![path])
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let bytes = std::fs::read(index)
        .map_err(|source| ModelError::Read { path: index.to_owned(), source })?;
    let index_of = serde_json::from_slice::<Index>(&bytes)
        .map_err(|e| ModelError::invalid(index, e.to_string()))?;
    let mut names = index_of.weight_map.into_values().collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    if let Some(name) = names.iter().find(|n| n.contains(['/', '\\']) || n.starts_with('.')) {
        return Err(ModelError::invalid(index, format!("{name:?} is not a file beside the index")));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

fn unknown(source: &Path) -> String {
    if !source.is_dir() {
        return "no such folder; name the folder that holds the checkpoint's files".to_owned();
    }
    if existing(source, &["eva_vit_g.pth", "blip2_pretrained_flant5xxl.pth"]).is_some() {
        return "the MiniGPT-4 layout (EVA ViT-g and Q-Former) cannot be imported yet".to_owned();
    }
    "no known layout; the MedCLIP layout has medclip_pytorch_model.bin, swin_config.json, \
     projection.safetensors and vicuna/"
        .to_owned()
}
