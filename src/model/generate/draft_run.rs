//! The draft of one image in the making.

use std::time::Instant;

use super::answer::Rules;
use super::stream::Watch;
use super::{Lane, Run, forward};
use crate::model::draft::{DraftRequest, ImageFeatures, Model, ModelDraft, Seconds};
use crate::model::error::{ModelError, Step};
use crate::model::language::cache::Cache;
use crate::model::prompt::{PromptTokens, template};
use crate::model::sample::{Logits, Sampling};
use crate::model::stop::Stop;

/// A request made ready: what can be wrong with it has been found.
#[derive(Debug)]
pub(in crate::model) struct Question {
    text: String,
    tokens: PromptTokens,
    stop: Stop,
    sampling: Sampling,
}

impl Question {
    /// Reads a request.
    pub(in crate::model) fn new(model: &Model, request: &DraftRequest) -> Result<Self, ModelError> {
        request.sampling.check()?;
        let manifest = model.manifest();
        let text = request.prompt.resolve(model.prompts())?.to_owned();
        let template = template(manifest, request.template.as_deref())?;
        let tokens = PromptTokens::new(manifest, model.tokenizer(), &template, &text)?;
        let needed = tokens.before.len() + manifest.image_positions() + tokens.after.len() + 1;
        let context = manifest.language_model.max_position_embeddings;
        if needed > context {
            return Err(ModelError::Context { needed, context });
        }
        let stop = Stop::new(manifest, &template);
        Ok(Self { text, tokens, stop, sampling: request.sampling.clone() })
    }

    /// The question as it is put.
    pub(in crate::model) fn text(&self) -> &str {
        &self.text
    }

    /// The tokens before the image.
    pub(in crate::model) fn before(&self) -> &[u32] {
        &self.tokens.before
    }
}

/// The draft of one image in the making.
#[derive(Debug)]
pub(in crate::model) struct DraftRun {
    run: Run,
    question: String,
    features: ImageFeatures,
    started: Instant,
    first: Option<f64>,
}

impl DraftRun {
    /// Makes ready for the first step. `prefix` holds the tokens before the image already;
    /// `cache` is room that is free.
    pub(in crate::model) fn start(
        model: &Model,
        question: Question,
        features: ImageFeatures,
        prefix: Option<&Cache>,
        cache: Option<Cache>,
        watch: Option<Watch>,
    ) -> Result<Self, ModelError> {
        let started = Instant::now();
        let language = &model.chain().language;
        let Question { text, tokens, stop, sampling } = question;
        let before = if prefix.is_some() { &[][..] } else { &tokens.before };
        let embeddings = model
            .chain()
            .prompt(before, features.image_tokens(), &tokens.after)
            .step("embedding the prompt")?;
        let rows = embeddings.dim(1).step("embedding the prompt")?;
        let held = prefix.map_or(0, Cache::length);
        let context = language.config().max_position_embeddings;
        let Some(room) = context.checked_sub(held + rows).filter(|room| *room > 0) else {
            return Err(ModelError::Context { needed: held + rows + 1, context });
        };
        let capacity = held + rows + room.min(sampling.max_tokens);
        let mut cache = match cache {
            Some(cache) => cache,
            None => language.cache(capacity).step("making room for the answer")?,
        };
        cache.truncate(0);
        if let Some(prefix) = prefix {
            cache.copy_from(prefix).step("taking over the prompt's start")?;
        }
        cache.reserve(capacity).step("making room for the answer")?;
        let run = Run::new(cache, embeddings, Rules::new(&sampling, stop, room)?, watch);
        Ok(Self { run, question: text, features, started, first: None })
    }

    /// Its lanes, for [`forward`].
    pub(in crate::model) fn lanes(&mut self) -> &mut [Lane] {
        self.run.lanes()
    }

    /// Goes on by the logits of its lanes; true when the draft is complete.
    pub(in crate::model) fn advance(
        &mut self,
        model: &Model,
        logits: &[Logits],
    ) -> Result<bool, ModelError> {
        let over = self.run.advance(logits, model.tokenizer())?;
        self.first.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
        Ok(over)
    }

    /// Takes one step without any other.
    pub(in crate::model) fn step(&mut self, model: &Model) -> Result<bool, ModelError> {
        let logits =
            forward(&model.chain().language, &mut self.lanes().iter_mut().collect::<Vec<_>>())?;
        self.advance(model, &logits)
    }

    /// The draft, and room that is free again.
    pub(in crate::model) fn finish(
        self,
        model: &Model,
    ) -> Result<(ModelDraft, Option<Cache>), ModelError> {
        let (outcome, cache) = self.run.finish();
        let prefill = self.first.unwrap_or_default();
        let seconds = Seconds {
            encode: self.features.seconds(),
            ask: self.features.asked_seconds(),
            prefill,
            decode: self.started.elapsed().as_secs_f64() - prefill,
        };
        let draft = ModelDraft {
            text: model.tokenizer().decode(&outcome.ids)?.trim().to_owned(),
            token_ids: outcome.ids,
            log_probabilities: outcome.log_probabilities,
            ended: outcome.ended,
            prompt: self.question,
            abnormal: self.features.abnormal(),
            scores: self.features.scores().to_vec(),
            looked: model.looked(&self.features),
            seconds,
        };
        Ok((draft, cache))
    }

    /// Room that is free again, when the draft is no longer wanted.
    pub(in crate::model) fn into_caches(self) -> impl Iterator<Item = Cache> {
        self.run.into_caches()
    }
}

/// Takes a run to its end without any other.
pub(in crate::model) fn alone(model: &Model, run: &mut Run) -> Result<(), ModelError> {
    loop {
        let logits =
            forward(&model.chain().language, &mut run.lanes().iter_mut().collect::<Vec<_>>())?;
        if run.advance(&logits, model.tokenizer())? {
            return Ok(());
        }
    }
}
