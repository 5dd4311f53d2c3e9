//! Training any model on pairs of image and summary. The linear alignment, as the paper does it:
//! image encoder and language model frozen, only the projection between them trained. Or the
//! language model, whole or by a low-rank change of it, behind encoder and projection as they are.
//!
//! Comes in: a model directory, the `dataset.jsonl` of `dataset build` and the images that it
//! names. Goes out: the same model directory with another projection or language model.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::TrainError;
use super::files;
use super::run::{Plan, Task, fit};
use super::workers::Workers;
use crate::dataset::split::Split;
use crate::dataset::{self, Pair};
use crate::model::Model;
use crate::model::checkpoint::ModelFiles;
use crate::model::checkpoint::manifest::MANIFEST;
use crate::model::checkpoint::replace::replace;
use crate::model::checkpoint::stored::Stored;
use crate::vocabulary::hexadecimal;

mod alignment;
mod features;
mod stage;
mod trained;

pub use alignment::{Alignment, Item};
pub use features::Features;
pub use stage::Stage;
pub use trained::{LowRankSettings, Trained};

/// What is trained on what, and where it goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The part that is trained.
    pub trained: Trained,
    /// The model directory to begin with.
    pub model: PathBuf,
    /// The pairs.
    pub dataset: PathBuf,
    /// The archive that the pairs' images lie in.
    pub source: PathBuf,
    /// The run's folder; the new model directory is `model` in it.
    pub out: PathBuf,
    /// Where the encoder's outputs are kept; `None`: `features` in the run's folder.
    pub cache: Option<PathBuf>,
    /// Pairs that one thread takes at once.
    pub at_once: usize,
    /// Tokens of the longest summary, its end included; what is longer is cut.
    pub longest: usize,
    /// What the new model is called; `None`: as the old one.
    pub name: Option<String>,
}

/// Trains that part and writes the model directory `out/model`. Gives the loss on the
/// development split, counts, and the new model's digest.
pub fn train(
    settings: &Settings,
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Map<String, Value>, TrainError> {
    let _held = files::run_folder(&settings.out)?;
    let files = ModelFiles::open(&settings.model)?;
    let model = Model::open(&settings.model)?;
    let pairs = dataset::read(&settings.dataset).map_err(|e| TrainError::Dataset(Box::new(e)))?;
    let cache = settings.cache.clone().unwrap_or_else(|| settings.out.join("features"));
    let features = Features::new(&model, &cache)?;
    let workers = Workers::new(plan.threads)?;
    let mut texts = Texts { model: &model, settings, cut: 0 };
    bar.set_message("encoding the images");
    let mut counts = (0, 0);
    let mut split = |split: Split| {
        let shown: Vec<(&Pair, PathBuf)> = shown(&pairs, split, &settings.source).collect();
        let paths: Vec<&Path> = shown.iter().map(|(_, path)| path.as_path()).collect();
        let kept = features.keep(&paths, &workers, bar)?;
        counts.0 += kept.iter().filter(|(_, fresh)| *fresh).count();
        counts.1 += kept.len();
        let items = shown.iter().zip(kept).map(|((pair, _), (file, _))| {
            Ok(Item { features: file, text: texts.tokens(&pair.summary)? })
        });
        items.collect::<Result<Vec<_>, TrainError>>()
    };
    let (train, development) = (split(Split::Train)?, split(Split::Development)?);
    if train.is_empty() {
        let reason = "no frontal radiograph of the split `train` in it".to_owned();
        return Err(TrainError::Run { path: settings.dataset.clone(), reason });
    }
    let start = files.stored()?;
    let items = [train, development];
    let task = Alignment::new(model.clone(), &start, &settings.trained, items, plan.seed)?
        .with(settings.at_once, told(settings, plan, &model)?);
    let mut figures = fit(&task, plan, &settings.out, bar)?;
    let digest = write((&files, &start), settings, &task, pairs.len())?;
    figures.extend([
        ("pairs".to_owned(), json!(task.items())),
        ("images_encoded".to_owned(), json!(counts.0)),
        ("images_cached".to_owned(), json!(counts.1 - counts.0)),
        ("summaries_cut".to_owned(), json!(texts.cut)),
        ("digest".to_owned(), json!(digest)),
    ]);
    Ok(figures)
}

/// The pairs of a split with each frontal image; the paper's models see no lateral ones.
fn shown<'a>(
    pairs: &'a [Pair],
    split: Split,
    source: &'a Path,
) -> impl Iterator<Item = (&'a Pair, PathBuf)> {
    let frontal = |view: Option<&str>| {
        view.is_none_or(|view| ["PA", "AP", "FRONTAL"].contains(&view.to_uppercase().as_str()))
    };
    pairs.iter().filter(move |pair| pair.split == split).flat_map(move |pair| {
        let images = pair.images.iter().filter(move |image| frontal(image.view.as_deref()));
        images.map(move |image| (pair, source.join(&image.file)))
    })
}

/// What a run must share with the one that it goes on from, beside its plan.
fn told(settings: &Settings, plan: &Plan, model: &Model) -> Result<Value, TrainError> {
    Ok(json!({
        "train": settings.trained, "model": model.digest(),
        "dataset": hexadecimal(&Sha256::digest(files::read(&settings.dataset)?)),
        "at_once": settings.at_once, "threads": plan.threads, "longest": settings.longest,
    }))
}

/// Summaries to the tokens that should be answered.
struct Texts<'a> {
    model: &'a Model,
    settings: &'a Settings,
    cut: usize,
}

impl Texts<'_> {
    /// With what ends an answer: the stop text of a model that was aligned with one, as XrayGPT
    /// with `###`, else the end of sequence.
    fn tokens(&mut self, summary: &str) -> Result<Vec<u32>, TrainError> {
        let manifest = self.model.manifest();
        let conversation = &manifest.conversation;
        let end = conversation.stop_texts.first().filter(|_| !conversation.stop_tokens.is_empty());
        let text = format!("{summary}{}", end.map_or("", String::as_str));
        let mut ids = self.model.tokenizer().encode(&text)?;
        if end.is_none() {
            ids.push(manifest.tokenizer.eos);
        }
        if ids.len() > self.settings.longest {
            self.cut += 1;
            ids.truncate(self.settings.longest);
        }
        Ok(ids)
    }
}

/// Writes the model directory with what was trained, and gives its digest.
fn write(
    (files, stored): (&ModelFiles, &Stored),
    settings: &Settings,
    task: &Alignment,
    pairs: usize,
) -> Result<String, TrainError> {
    let out = settings.out.join("model");
    if out.join(MANIFEST).exists() {
        let failed = |source| TrainError::File { action: "replace it", path: out.clone(), source };
        std::fs::remove_dir_all(&out).map_err(failed)?;
    }
    let (tensors, precision) = settings.trained.results(task.variables(), stored)?;
    replace(files, &out, &tensors, precision, |manifest| {
        if let Some(name) = &settings.name {
            manifest.name.clone_from(name);
        }
        let source = &manifest.source;
        let done = settings.trained.describe();
        manifest.source = format!("{source}; {done} on {pairs} pairs");
    })?;
    Ok(ModelFiles::open(&out)?.digest().to_owned())
}
