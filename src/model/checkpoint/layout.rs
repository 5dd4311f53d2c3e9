//! Which files of a folder are what.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::NamedTempFile;

use super::torch;
use crate::model::error::ModelError;

/// EVA-CLIP's vision transformer, as BLIP-2 and MiniGPT-4 load it.
pub(super) const EVA: &str = "eva_vit_g.pth";
/// BLIP-2's Q-Former, as MiniGPT-4 loads it.
pub(super) const BLIP: &str = "blip2_pretrained_flant5xxl.pth";
/// MedCLIP's state dictionary.
const MEDCLIP: &str = "pytorch_model.bin";
/// The archives that MedCLIP's own code fetches it in, the Swin's first.
const MEDCLIP_ZIPS: [&str; 2] = ["medclip-vit-pretrained.zip", "medclip.zip"];
/// The prompts that a checkpoint was aligned on, beside it.
pub(super) const PROMPTS: &str = "prompts/alignment.txt";
/// Where a language model stands beside a checkpoint.
const LANGUAGE_FOLDERS: [&str; 4] = ["vicuna", "llm", "llama", "language_model"];
/// A language model's tensors: one file, or the index of several, in the order in which
/// `from_pretrained` looks.
const TENSORS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// A checkpoint in one of the layouts that users hold.
#[derive(Debug)]
pub(super) enum Layout {
    /// The paper's architecture.
    Medclip(MedclipFiles),
    /// The released one.
    MiniGpt4(MiniGpt4Files),
}

/// The files of a checkpoint in the paper's architecture.
#[derive(Debug)]
pub(super) struct MedclipFiles {
    /// MedCLIP's state dictionary, or the zip archive that it comes in.
    pub(super) encoder: PathBuf,
    /// What the archive held.
    unpacked: Option<NamedTempFile>,
    /// Hugging Face's configuration of its Swin.
    pub(super) encoder_config: PathBuf,
    /// The alignment layer.
    pub(super) projection: PathBuf,
    /// The language model.
    pub(super) language: LanguageFiles,
}

/// The files of a checkpoint in MiniGPT-4's layout, which is XrayGPT's.
#[derive(Debug)]
pub(super) struct MiniGpt4Files {
    /// The vision transformer's state dictionary.
    pub(super) eva: PathBuf,
    /// That of the Q-Former and the norm before it.
    pub(super) blip: PathBuf,
    /// The checkpoint of the alignment layer.
    pub(super) aligned: PathBuf,
    /// Sizes other than the released ones.
    pub(super) geometry: Option<PathBuf>,
    /// The language model.
    pub(super) language: LanguageFiles,
}

/// The files of a Hugging Face language model.
#[derive(Debug)]
pub(super) struct LanguageFiles {
    /// One file, or several.
    pub(super) tensors: Vec<PathBuf>,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// Its tokenizer.
    pub(super) tokenizer: PathBuf,
}

/// Says which layout a folder has, and where its files are. The language model is that of
/// `language` where it is named, else one beside the checkpoint.
pub(super) fn recognise(source: &Path, language: Option<&Path>) -> Result<Layout, ModelError> {
    if !source.is_dir() {
        let reason = "no such folder; name the folder that holds the checkpoint's files";
        return Err(ModelError::invalid(source, reason));
    }
    if source.join(EVA).is_file() || blip(source)?.is_some() {
        return minigpt4(source, language).map(Layout::MiniGpt4);
    }
    let encoder = existing(source, &["medclip_pytorch_model.bin", MEDCLIP]);
    let encoder = encoder.or_else(|| existing(source, &MEDCLIP_ZIPS));
    let other = source.join("config.json").is_file() && !source.join("swin_config.json").is_file();
    match encoder {
        Some(encoder) if !other => medclip(source, encoder, language).map(Layout::Medclip),
        _ if other => Err(ModelError::invalid(
            source,
            "a language model alone sees no image; name it with --language-model beside the folder \
             of the image encoder and the alignment layer",
        )),
        _ => Err(ModelError::invalid(
            source,
            format!(
                "no known layout; the MiniGPT-4 layout has {EVA}, {BLIP}, XrayGPT's checkpoint \
                 (.pth) and vicuna/; the MedCLIP layout has medclip_pytorch_model.bin \
                 (or {}), swin_config.json, projection.safetensors and vicuna/",
                MEDCLIP_ZIPS[0]
            ),
        )),
    }
}

impl MedclipFiles {
    /// MedCLIP's state dictionary.
    pub(super) fn state(&self) -> &Path {
        self.unpacked.as_ref().map_or(&self.encoder, NamedTempFile::path)
    }
}

impl Layout {
    /// The language model's files.
    pub(super) fn language(&self) -> &LanguageFiles {
        match self {
            Self::Medclip(files) => &files.language,
            Self::MiniGpt4(files) => &files.language,
        }
    }

    /// In words, for the manifest.
    pub(super) fn describe(&self) -> String {
        let (parts, layout) = match self {
            Self::Medclip(files) => (vec![&files.encoder, &files.projection], "MedCLIP"),
            Self::MiniGpt4(files) => (vec![&files.eva, &files.blip, &files.aligned], "MiniGPT-4"),
        };
        let names = |paths: &mut dyn Iterator<Item = &PathBuf>| {
            paths.map(|path| name(path)).collect::<Vec<_>>().join(", ")
        };
        let language = names(&mut self.language().tensors.iter());
        format!("imported from {} and {language} ({layout} layout)", names(&mut parts.into_iter()))
    }
}

/// A file's name in words.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn medclip(
    source: &Path,
    encoder: PathBuf,
    language: Option<&Path>,
) -> Result<MedclipFiles, ModelError> {
    let zipped = encoder.extension().is_some_and(|e| e == "zip");
    let unpacked = zipped.then(|| torch::unpack(&encoder, MEDCLIP)).transpose()?;
    Ok(MedclipFiles {
        encoder,
        unpacked,
        encoder_config: need(source, "MedCLIP", "swin_config.json")?,
        projection: need(source, "MedCLIP", "projection.safetensors")?,
        language: language_of(source, language)?,
    })
}

fn minigpt4(source: &Path, language: Option<&Path>) -> Result<MiniGpt4Files, ModelError> {
    let blip = match blip(source)? {
        Some(blip) => blip,
        None => need(source, "MiniGPT-4", BLIP)?,
    };
    Ok(MiniGpt4Files {
        eva: need(source, "MiniGPT-4", EVA)?,
        aligned: aligned(source, &blip)?,
        blip,
        geometry: existing(source, &["geometry.json"]),
        language: language_of(source, language)?,
    })
}

/// The Q-Former's file: under its published name, or as the only one that begins like it.
fn blip(source: &Path) -> Result<Option<PathBuf>, ModelError> {
    if let Some(path) = existing(source, &[BLIP]) {
        return Ok(Some(path));
    }
    let mut found = checkpoints(source)?;
    found.retain(|path| name(path).starts_with("blip2"));
    one(source, "BLIP-2's Q-Former", found)
}

/// XrayGPT's checkpoint: under any name, it holds the alignment layer.
fn aligned(source: &Path, blip: &Path) -> Result<PathBuf, ModelError> {
    if let Some(path) = existing(source, &["xraygpt_checkpoint.pth"]) {
        return Ok(path);
    }
    let (mut found, mut unread) = (Vec::new(), None);
    for path in checkpoints(source)? {
        if path != blip && name(&path) != EVA {
            match holds_alignment(&path) {
                Ok(true) => found.push(path),
                Ok(false) => {}
                Err(error) => unread = Some(error),
            }
        }
    }
    // Another file that is no checkpoint does not matter beside the one that is.
    if let (true, Some(error)) = (found.is_empty(), unread) {
        return Err(error);
    }
    one(source, "the alignment layer (llama_proj)", found)?.ok_or_else(|| {
        let reason = "the MiniGPT-4 layout needs XrayGPT's checkpoint here, a .pth that holds \
                      llama_proj.weight and llama_proj.bias";
        ModelError::invalid(source, reason)
    })
}

fn holds_alignment(path: &Path) -> Result<bool, ModelError> {
    let read = |source| ModelError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    Ok(!torch::index(path, &file, &|name| name.starts_with("llama_proj."))?.is_empty())
}

/// The `.pth` files of a folder, by name.
fn checkpoints(source: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let failed = |error| ModelError::Read { path: source.to_owned(), source: error };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(source).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "pth") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn one(source: &Path, what: &str, found: Vec<PathBuf>) -> Result<Option<PathBuf>, ModelError> {
    if found.len() > 1 {
        let names = found.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ");
        let reason = format!("{names} all hold {what}; leave one of them here");
        return Err(ModelError::invalid(source, reason));
    }
    Ok(found.into_iter().next())
}

fn need(source: &Path, layout: &str, name: &str) -> Result<PathBuf, ModelError> {
    existing(source, &[name]).ok_or_else(|| {
        ModelError::invalid(source, format!("the {layout} layout needs {name} here"))
    })
}

fn existing(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The language model of `language`, else of the one folder beside the checkpoint that has one.
fn language_of(source: &Path, language: Option<&Path>) -> Result<LanguageFiles, ModelError> {
    if let Some(folder) = language {
        return language_files(folder);
    }
    let named = LANGUAGE_FOLDERS.iter().map(|name| source.join(name));
    if let Some(folder) = { named }.find(|folder| folder.join("config.json").is_file()) {
        return language_files(&folder);
    }
    let reason = "a language model is needed here: vicuna/ with config.json, tokenizer.model and \
                  its tensors; or name its folder with --language-model";
    Err(ModelError::invalid(source, reason))
}

/// The files of a Hugging Face language model.
fn language_files(folder: &Path) -> Result<LanguageFiles, ModelError> {
    let missing = |names: &[&str]| {
        let reason = format!("a language model needs {} here", names.join(" or "));
        ModelError::invalid(folder, reason)
    };
    let need = |names: &[&str]| existing(folder, names).ok_or_else(|| missing(names));
    let tensors = need(&TENSORS)?;
    let tensors = if tensors.extension().is_some_and(|e| e == "json") {
        shards(folder, &tensors)?
    } else {
        vec![tensors]
    };
    Ok(LanguageFiles {
        tensors,
        config: need(&["config.json"])?,
        tokenizer: need(&["tokenizer.model", "tokenizer.json"])?,
    })
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let bytes = std::fs::read(index)
        .map_err(|source| ModelError::Read { path: index.to_owned(), source })?;
    let names = shard_names(&bytes).map_err(|reason| ModelError::invalid(index, reason))?;
    let absent = names.iter().filter(|name| !folder.join(name).is_file());
    let absent = absent.map(String::as_str).collect::<Vec<_>>();
    if !absent.is_empty() {
        let reason = format!("it names {}, missing here", absent.join(", "));
        return Err(ModelError::invalid(index, reason));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// The files that an index names, each once; all lie beside it.
fn shard_names(index: &[u8]) -> Result<Vec<String>, String> {
    let index = serde_json::from_slice::<Index>(index).map_err(|e| e.to_string())?;
    let mut names = index.weight_map.into_values().collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|n| n.contains(['/', '\\']) || n.starts_with('.')) {
        Some(name) => Err(format!("{name:?} is not a file beside the index")),
        None if names.is_empty() => Err("it names no file".to_owned()),
        None => Ok(names),
    }
}

/// Of a repository's files those that an import reads.
pub fn wanted(names: &[String]) -> Vec<String> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let root = |name: &str| {
        Path::new(name).extension().is_some_and(|e| e == "pth")
            || ["geometry.json", "swin_config.json", "projection.safetensors"].contains(&name)
            || name == "medclip_pytorch_model.bin"
            || (MEDCLIP_ZIPS.contains(&name) && !has("medclip_pytorch_model.bin"))
            || (name == "pytorch_model.bin" && has("swin_config.json"))
    };
    let mut wanted =
        names.iter().filter(|n| root(n) && !n.contains('/')).cloned().collect::<Vec<_>>();
    wanted.extend(names.iter().filter(|name| *name == PROMPTS).cloned());
    let mut folders = LANGUAGE_FOLDERS.iter().map(|folder| format!("{folder}/"));
    if let Some(folder) = folders.find(|folder| has(&format!("{folder}config.json"))) {
        wanted.extend(language_below(names, &folder));
    }
    wanted
}

/// The same of a repository that is a language model alone.
pub fn wanted_language(names: &[String]) -> Vec<String> {
    language_below(names, "")
}

fn language_below(names: &[String], folder: &str) -> Vec<String> {
    let inner = |name: &String| name.strip_prefix(folder).is_some_and(|n| !n.contains('/'));
    let own = |name: &str| format!("{folder}{name}");
    let has = |name: &str| names.iter().any(|other| *other == own(name));
    let mut wanted = Vec::new();
    wanted.extend(["config.json"].iter().filter(|name| has(name)).map(|name| own(name)));
    let tokenizer = ["tokenizer.model", "tokenizer.json"].into_iter().find(|name| has(name));
    wanted.extend(tokenizer.map(own));
    let Some(tensors) = TENSORS.into_iter().find(|name| has(name)) else { return wanted };
    wanted.push(own(tensors));
    if let Some(whole) = tensors.strip_suffix(".index.json") {
        // model.safetensors.index.json goes with model-00001-of-00002.safetensors.
        let (stem, kind) = whole.rsplit_once('.').unwrap_or((whole, ""));
        let (start, end) = (own(&format!("{stem}-")), format!(".{kind}"));
        let shard =
            |name: &&String| inner(name) && name.starts_with(&start) && name.ends_with(&end);
        wanted.extend(names.iter().filter(shard).cloned());
    }
    wanted
}
