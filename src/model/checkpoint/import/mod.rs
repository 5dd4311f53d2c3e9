//! From what users hold to a model directory.
//!
//! The files are indexed, never read whole: each tensor is read when its turn to be written comes,
//! so memory is a few times the largest tensor, whatever the model's size.

mod llama;
mod medclip;
mod minigpt4;

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use self::llama::{Language, STOP};
use super::expect::{compare_as, shapes};
use super::folder::{refuse_occupied, write_folder};
use super::layout::{self, Layout};
use super::manifest::{
    Architecture, Conversation, ConversationTemplate, IMAGE_HERE, ImageProcessing, ImageTokens,
    Manifest, ProjectionConfig, TokenizerConfig,
};
use super::quantize::{Job, WeightType};
use super::questions::Questions;
use super::stored::{Source, Stored};
use crate::model::error::ModelError;
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::vocabulary::hexadecimal;

/// The files of a model directory.
const ENCODER: &str = "image_encoder.safetensors";
const PROJECTION: &str = "projection.safetensors";
const LANGUAGE: &str = "language_model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// The questions of a checkpoint that brings none: XrayGPT's first, then the project's own.
const PROMPTS: [&str; 12] = [
    "Describe the given chest x-ray image in detail.",
    "Take a look at this chest x-ray and describe the findings and impression.",
    "Could you provide a detailed description of the given x-ray image?",
    "Describe the given chest x-ray image as detailed as possible.",
    "What are the key findings in this chest x-ray image?",
    "Could you highlight any abnormalities or concerns in this chest x-ray image?",
    "Summarise this chest radiograph in a few sentences.",
    "Write the findings section of the report on this chest radiograph.",
    "Write the impression section of the report on this chest radiograph.",
    "Describe the lungs and the pleural spaces in this chest radiograph.",
    "Describe the heart and the mediastinum in this chest radiograph.",
    "Which tubes, lines and devices does this chest radiograph show, and where do they end?",
];
/// The largest file of prompts read, bytes.
const LARGEST_PROMPTS: u64 = 1 << 20;

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Parts done.
    pub done: u64,
    /// Parts in all.
    pub of: u64,
    /// What is being done.
    pub doing: &'a str,
}

/// What may be chosen.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// What of the image becomes tokens, in the MedCLIP layout; else its patches.
    pub image_tokens: Option<ImageTokens>,
    /// What the weights are stored in; else each as it comes.
    pub dtype: Option<WeightType>,
    /// The language model's folder; else the one beside the checkpoint.
    pub language_model: Option<PathBuf>,
    /// Where the files come from, in words for the manifest.
    pub origin: Option<String>,
}

/// Files of the source and their tensors' names.
struct Part {
    /// The file of the model directory that the tensors go to.
    file: &'static str,
    paths: Vec<PathBuf>,
    /// How the architecture's names begin.
    ours: &'static str,
    /// How the files' names begin instead.
    theirs: &'static str,
    /// From a file's name to the architecture's; `None` where the published code does not use it.
    rename: Renaming,
}

type Renaming = Box<dyn Fn(&str) -> Option<String>>;

/// What comes before the language model.
struct Image {
    /// What the model is called.
    name: String,
    processing: ImageProcessing,
    encoder: ImageEncoderConfig,
    projection: ProjectionConfig,
}

/// Makes a model directory of `source` in `out`, which must be empty or absent. Nothing is left
/// there when it fails.
pub fn import(
    source: &Path,
    out: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Manifest, ModelError> {
    refuse_occupied(out)?;
    progress(Progress { done: 0, of: 1, doing: "reading what the files hold" });
    let layout = layout::recognise(source, options.language_model.as_deref())?;
    let language = Language::read(layout.language())?;
    let mut parts = parts(&layout, options)?;
    parts.push(llama::part(layout.language(), &language.config));
    let mut stored = Stored::default();
    parts.iter().try_for_each(|part| open(&mut stored, part))?;
    let image = match &layout {
        Layout::Medclip(files) => medclip::image(files, &stored, tokens(options))?,
        Layout::MiniGpt4(files) => minigpt4::image(minigpt4::geometry(files)?),
    };
    let described = match &options.origin {
        Some(origin) => format!("{}, {origin}", layout.describe()),
        None => layout.describe(),
    };
    let prompts = prompts(source)?;
    let mut manifest = manifest(image, &language, prompts, described, options.dtype);
    manifest.check().map_err(|reason| ModelError::invalid(source, reason))?;
    check(&manifest, &parts, &stored)?;
    write(&mut manifest, &language.tokenizer, &parts, &stored, out, progress)?;
    Ok(manifest)
}

fn tokens(options: &ImportOptions) -> ImageTokens {
    options.image_tokens.unwrap_or(ImageTokens::Patches)
}

/// What comes before the language model.
fn parts(layout: &Layout, options: &ImportOptions) -> Result<Vec<Part>, ModelError> {
    match layout {
        Layout::Medclip(files) => Ok(medclip::parts(files, tokens(options))),
        Layout::MiniGpt4(_) if tokens(options) == ImageTokens::Pooled => {
            let reason = "pooled image tokens belong to the MedCLIP layout; this is the MiniGPT-4 \
                          layout, whose queries are its image tokens";
            Err(ModelError::Request(reason.to_owned()))
        }
        Layout::MiniGpt4(files) => Ok(minigpt4::parts(files, &minigpt4::geometry(files)?)),
    }
}

fn manifest(
    image: Image,
    language: &Language,
    prompts: Vec<String>,
    source: String,
    dtype: Option<WeightType>,
) -> Manifest {
    Manifest {
        format: 1,
        name: image.name,
        architecture: Architecture::of(&image.encoder),
        licence: "as of the checkpoint imported; see its source".to_owned(),
        source,
        dtype,
        prompts,
        image: image.processing,
        image_encoder: image.encoder,
        projection: image.projection,
        language_model: language.config.clone(),
        tokenizer: TokenizerConfig {
            file: TOKENIZER.to_owned(),
            bos: language.bos,
            eos: language.eos,
        },
        conversation: Conversation {
            template: String::new(),
            stop_texts: vec![STOP.to_owned()],
            stop_tokens: language.stop_tokens.clone(),
            templates: ConversationTemplate::own(),
        },
        scores: None,
        questions: language.says_yes.then(Questions::own),
        scope: None,
        files: BTreeMap::from([(TOKENIZER.to_owned(), String::new())]),
    }
}

/// Opens PyTorch's and safetensors files.
fn open(stored: &mut Stored, part: &Part) -> Result<(), ModelError> {
    for path in &part.paths {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let file = File::open(path)
                .map_err(|source| ModelError::Read { path: path.clone(), source })?;
            stored.add_safetensors(Source::File(file, path.clone()), &*part.rename)?;
        } else {
            stored.add_torch(path, &*part.rename)?;
        }
    }
    Ok(())
}

/// The prompts beside a checkpoint, where there are any: a line each, with the image's place.
fn prompts(source: &Path) -> Result<Vec<String>, ModelError> {
    let path = source.join(layout::PROMPTS);
    if !path.is_file() {
        return Ok(PROMPTS.map(str::to_owned).to_vec());
    }
    let length = fs::metadata(&path).map(|data| data.len());
    if length.is_ok_and(|length| length > LARGEST_PROMPTS) {
        return Err(ModelError::invalid(path, format!("more than {LARGEST_PROMPTS} bytes")));
    }
    let bytes = read(&path)?;
    let text = String::from_utf8(bytes).map_err(|e| ModelError::invalid(&path, e.to_string()))?;
    let question = |line: &str| {
        let (before, after) = line.split_once(IMAGE_HERE)?;
        let before = before.strip_suffix("<Img>").unwrap_or(before).trim();
        let after = after.strip_prefix("</Img>").unwrap_or(after).trim();
        // The template puts the image first.
        let words = [before, after].into_iter().filter(|part| !part.is_empty());
        Some(words.collect::<Vec<_>>().join(" ")).filter(|question| !question.is_empty())
    };
    let all = text.lines().filter_map(question).collect::<Vec<_>>();
    if all.is_empty() {
        let reason = format!("no line has {IMAGE_HERE} and a question");
        return Err(ModelError::invalid(path, reason));
    }
    Ok(all)
}

/// Every tensor that is missing, unexpected or of another shape, in the checkpoint's own words.
fn check(manifest: &Manifest, parts: &[Part], stored: &Stored) -> Result<(), ModelError> {
    let part = |name: &str| parts.iter().find(|part| name.starts_with(part.ours));
    let said = |name: &str| {
        let own = part(name)
            .and_then(|part| Some(format!("{}{}", part.theirs, name.strip_prefix(part.ours)?)));
        own.unwrap_or_else(|| name.to_owned())
    };
    let place = |name: &str| {
        let path = stored.file_of(name).map(layout::name);
        let folder = |part: &Part| match part.paths.as_slice() {
            [one] => Some(layout::name(one)),
            several => several.first().and_then(|path| path.parent()).map(layout::name),
        };
        path.or_else(|| part(name).and_then(folder)).map_or(String::new(), |p| format!(" in {p}"))
    };
    compare_as(&shapes(manifest)?, &stored.shapes(), said, place)
}

/// Writes the tokenizer and the tensors.
fn write(
    manifest: &mut Manifest,
    tokenizer: &[u8],
    parts: &[Part],
    stored: &Stored,
    out: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), ModelError> {
    let mut files = BTreeMap::<&str, Vec<String>>::new();
    let names = stored.names();
    let of = names.len();
    for name in names {
        if let Some(part) = parts.iter().find(|part| name.starts_with(part.ours)) {
            files.entry(part.file).or_default().push(name);
        }
    }
    let (target, layers) = (manifest.dtype, manifest.language_model.num_hidden_layers);
    write_folder(manifest, out, |folder| {
        let place = folder.join(TOKENIZER);
        fs::write(&place, tokenizer).map_err(|source| ModelError::Write { path: place, source })?;
        let digest = hexadecimal(&Sha256::digest(tokenizer));
        let mut digests = BTreeMap::from([(TOKENIZER.to_owned(), digest)]);
        let mut job = Job { stored, target, layers, done: 0, of, progress };
        for (file, names) in &files {
            digests.insert((*file).to_owned(), job.write(names, &folder.join(file))?);
        }
        Ok(digests)
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    serde_json::from_slice(&read(path)?).map_err(|e| ModelError::invalid(path, e.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })
}
