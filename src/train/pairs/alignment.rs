//! A part of a model under training, behind its frozen encoder's features.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::features;
use super::trained::{Halves, Trained};
use crate::model::checkpoint::stored::Stored;
use crate::model::prompt::{PromptTokens, template};
use crate::model::{Model, ModelError};
use crate::train::chance::Chance;
use crate::train::error::TrainError;
use crate::train::next_token;
use crate::train::optimise::Named;
use crate::train::run::Task;
use crate::train::workers::{Loss, Workers};

/// An image and what should be said of it.
#[derive(Debug, Clone)]
pub struct Item {
    /// The file of the image's features.
    pub features: PathBuf,
    /// The tokens of the answer, its end included.
    pub text: Vec<u32>,
}

/// A model of which a part is trained.
#[derive(Debug)]
pub struct Alignment {
    model: Model,
    halves: Halves,
    /// The tokens before the image.
    before: Vec<u32>,
    /// A question each: the tokens after the image.
    after: Vec<Vec<u32>>,
    train: Vec<Item>,
    development: Vec<Item>,
    at_once: usize,
    seed: u64,
    settings: Value,
}

impl Alignment {
    /// Begins with the tensors that the model has, which `stored` holds; `seed` is of what begins at
    /// random, and of the choice of questions.
    pub fn new(
        model: Model,
        stored: &Stored,
        trained: &Trained,
        [train, development]: [Vec<Item>; 2],
        seed: u64,
    ) -> Result<Self, TrainError> {
        let halves = trained.halves(&model, stored, seed)?;
        let manifest = model.manifest();
        let template = template(manifest, None)?;
        let prompts = manifest
            .prompts
            .iter()
            .map(|question| PromptTokens::new(manifest, model.tokenizer(), &template, question));
        let prompts = prompts.collect::<Result<Vec<_>, ModelError>>()?;
        let before = prompts.first().map(|prompt| prompt.before.clone()).unwrap_or_default();
        let after = prompts.into_iter().map(|prompt| prompt.after).collect::<Vec<_>>();
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        let texts = longest(&mut train.iter().chain(&development).map(|item| item.text.len()));
        let needed = before.len()
            + manifest.image_positions()
            + longest(&mut after.iter().map(Vec::len))
            + texts;
        let context = manifest.language_model.max_position_embeddings;
        if needed > context {
            return Err(ModelError::Context { needed, context }.into());
        }
        let (at_once, settings) = (usize::MAX, Value::Null);
        Ok(Self { model, halves, before, after, train, development, at_once, seed, settings })
    }

    /// The same with so many items at once, and what a checkpoint must share with the run.
    #[must_use]
    pub fn with(self, at_once: usize, settings: Value) -> Self {
        Self { at_once, settings, ..self }
    }

    /// The loss of items, each after a question's tokens.
    fn items_loss(&self, items: &[(&Item, &[u32])]) -> Result<Loss, TrainError> {
        let places: Vec<&Path> = items.iter().map(|(item, _)| item.features.as_path()).collect();
        let chain = self.model.chain();
        let features = features::read(&self.model, &places)?;
        let images = chain.project(&self.halves.projection, &features)?;
        let rows: Vec<(&[u32], &[u32])> =
            items.iter().map(|(item, after)| (*after, item.text.as_slice())).collect();
        let filler = self.model.manifest().tokenizer.eos;
        next_token::loss(&self.halves.language, &self.before, &images, &rows, filler)
    }
}

impl Task for Alignment {
    fn variables(&self) -> &[Named] {
        &self.halves.variables
    }

    fn items(&self) -> usize {
        self.train.len()
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    fn loss(&self, items: &[usize], epoch: u64) -> Result<Loss, TrainError> {
        let start = epoch.wrapping_mul(self.train.len() as u64);
        let asked = items.iter().filter_map(|i| {
            let mut chance = Chance::of(self.seed, start.wrapping_add(*i as u64));
            Some((self.train.get(*i)?, chance.pick(&self.after)?.as_slice()))
        });
        self.items_loss(&asked.collect::<Vec<_>>())
    }

    /// The mean loss on the development split after the first question.
    fn evaluate(&self, workers: &Workers) -> Result<Map<String, Value>, TrainError> {
        let mut figures = Map::new();
        let Some(first) = self.after.first().filter(|_| !self.development.is_empty()) else {
            return Ok(figures);
        };
        let all: Vec<usize> = (0..self.development.len()).collect();
        let parts = workers.map(&all, |part| {
            let (mut sum, mut tokens) = (0.0, 0.0);
            for few in part.chunks(self.at_once.max(1)) {
                let items = few.iter().filter_map(|i| self.development.get(*i));
                let asked: Vec<_> = items.map(|item| (item, first.as_slice())).collect();
                let (loss, count) = self.items_loss(&asked)?;
                sum += f64::from(loss.to_scalar::<f32>()?);
                tokens += f64::from(count);
            }
            Ok((sum, tokens))
        })?;
        let (sum, tokens) =
            parts.iter().fold((0.0, 0.0), |all, part| (all.0 + part.0, all.1 + part.1));
        figures.insert("loss".to_owned(), json!(sum / tokens.max(1.0)));
        Ok(figures)
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }
}
