//! A conversation about one image: what was said stays in the key-value cache.

use std::time::Instant;

use candle_core::Tensor;

use super::checkpoint::manifest::ConversationTemplate;
use super::draft::{ImageFeatures, Model, ModelDraft, Seconds};
use super::error::{ModelError, Step};
use super::generate::{Rules, Run, Watch, alone};
use super::language::cache::Cache;
use super::prompt::{PromptTokens, template};
use super::sample::Sampling;
use super::stop::Stop;

/// By how many positions the cache grows.
const GROWTH: usize = 256;

/// A conversation about one image.
#[derive(Debug)]
pub struct Chat<'m> {
    model: &'m Model,
    features: ImageFeatures,
    template: ConversationTemplate,
    cache: Option<Cache>,
    /// Tokens of the last answer that the cache does not hold.
    unsaid: Vec<u32>,
}

impl<'m> Chat<'m> {
    /// Begins a conversation in the template of this name, or in the model's first.
    pub fn new(
        model: &'m Model,
        features: ImageFeatures,
        name: Option<&str>,
    ) -> Result<Self, ModelError> {
        let template = template(model.manifest(), name)?;
        Ok(Self { model, features, template, cache: None, unsaid: vec![] })
    }

    /// Forgets all questions and answers; the image stays encoded.
    pub fn reset(&mut self) {
        self.unsaid.clear();
        if let Some(cache) = &mut self.cache {
            cache.truncate(0);
        }
    }

    /// How many positions of the model's context the conversation takes.
    pub fn positions(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::length) + self.unsaid.len()
    }

    /// Answers a question; `watch` is given the text as it comes. A question that fails leaves the
    /// conversation as it was.
    ///
    /// # Errors
    /// [`ModelError::Full`] when the question no longer fits beside what was said.
    pub fn ask(
        &mut self,
        question: &str,
        sampling: &Sampling,
        watch: Option<Watch>,
    ) -> Result<ModelDraft, ModelError> {
        if sampling.beams > 1 {
            let reason = "a conversation goes on from one answer: ask without beams";
            return Err(ModelError::Request(reason.to_owned()));
        }
        let started = Instant::now();
        let language = &self.model.chain().language;
        let context = language.config().max_position_embeddings;
        let held = self.cache.as_ref().map_or(0, Cache::length);
        let embeddings = self.turn(question, held == 0)?;
        let rows = embeddings.dim(1).step("embedding the question")?;
        let Some(room) = context.checked_sub(held + rows).filter(|room| *room > 0) else {
            let needed = rows + 1;
            return Err(match held {
                0 => ModelError::Context { needed, context },
                _ => ModelError::Full { held, needed, context },
            });
        };
        let stop = Stop::new(self.model.manifest(), &self.template);
        let rules = Rules::new(sampling, stop, room)?;
        let wanted = held + rows + room.min(sampling.max_tokens);
        let capacity = wanted.next_multiple_of(GROWTH).min(context);
        let mut cache = match self.cache.take() {
            Some(cache) => cache,
            None => language.cache(capacity).step("making room for the conversation")?,
        };
        cache.reserve(capacity).step("making room for the conversation")?;
        let mut run = Run::new(cache, embeddings, rules, watch);
        if let Err(error) = alone(self.model, &mut run) {
            self.cache = run.into_caches().next();
            if let Some(cache) = &mut self.cache {
                cache.truncate(held);
            }
            return Err(error);
        }
        let (outcome, cache) = run.finish();
        self.cache = cache;
        let ids = outcome.ids;
        if let Some(cache) = &mut self.cache {
            // What ended the answer is no part of the conversation: the next turn opens with it.
            cache.truncate(held + rows + ids.len());
            let said = cache.length().saturating_sub(held + rows);
            self.unsaid = ids.get(said..).unwrap_or_default().to_vec();
        }
        Ok(ModelDraft {
            text: self.model.tokenizer().decode(&ids)?.trim().to_owned(),
            token_ids: ids,
            log_probabilities: outcome.log_probabilities,
            ended: outcome.ended,
            prompt: question.to_owned(),
            abnormal: self.features.abnormal(),
            scores: self.features.scores().to_vec(),
            seconds: Seconds {
                encode: self.features.seconds(),
                prefill: 0.0,
                decode: started.elapsed().as_secs_f64(),
            },
        })
    }

    /// The embeddings of the next turn, up to where its answer begins.
    fn turn(&self, question: &str, first: bool) -> Result<Tensor, ModelError> {
        let (model, chain) = (self.model, self.model.chain());
        if first {
            let tokens =
                PromptTokens::new(model.manifest(), model.tokenizer(), &self.template, question)?;
            return chain
                .prompt(&tokens.before, self.features.image_tokens(), &tokens.after)
                .step("embedding the question");
        }
        let mut ids = self.unsaid.clone();
        ids.extend(model.tokenizer().encode(&self.template.later_turn(question))?);
        chain.language.embed_tokens(&ids).step("embedding the question")
    }
}
