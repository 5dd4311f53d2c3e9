//! A conversation about one image: what was said stays in the key-value cache.

use std::time::Instant;

use candle_core::Tensor;

use super::checkpoint::manifest::ConversationTemplate;
use super::draft::{ImageFeatures, Model, ModelDraft, Seconds};
use super::error::{ModelError, Step};
use super::generate::{Outcome, Rules, Run, Watch, alone};
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
    /// What was said and still fits.
    turns: Vec<Turn>,
    forgotten: usize,
    /// Holds `turns` up to `unsaid`, or nothing.
    cache: Option<Cache>,
    /// Tokens of the last answer that the cache does not hold.
    unsaid: Vec<u32>,
}

/// A question and the tokens of its answer.
#[derive(Debug)]
struct Turn {
    question: String,
    answer: Vec<u32>,
}

/// What the model takes in before it answers.
struct Intake {
    /// Positions that the cache keeps.
    kept: usize,
    /// Turns that no longer fit.
    forgotten: usize,
    /// `[1, rows, width]`.
    embeddings: Tensor,
    rows: usize,
}

impl<'m> Chat<'m> {
    /// Begins a conversation in the template of this name, or in the model's first.
    pub fn new(
        model: &'m Model,
        features: ImageFeatures,
        name: Option<&str>,
    ) -> Result<Self, ModelError> {
        let template = template(model.manifest(), name)?;
        let (turns, unsaid) = (vec![], vec![]);
        Ok(Self { model, features, template, turns, forgotten: 0, cache: None, unsaid })
    }

    /// Forgets all questions and answers; the image stays encoded.
    pub fn reset(&mut self) {
        self.turns.clear();
        self.forgotten = 0;
        self.clear();
    }

    /// How many of the first questions and answers no longer fit the model's context.
    pub fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// How many positions of the model's context the conversation takes.
    pub fn positions(&self) -> usize {
        self.held() + self.unsaid.len()
    }

    /// Answers a question; `watch` is given the text as it comes. Where the context is full, the
    /// first questions and answers are forgotten and the rest is read again. A question that
    /// fails leaves the conversation as it was.
    pub fn ask(
        &mut self,
        question: &str,
        sampling: &Sampling,
        watch: Option<Watch>,
    ) -> Result<ModelDraft, ModelError> {
        sampling.check()?;
        let started = Instant::now();
        let Intake { kept, forgotten, embeddings, rows } = self.intake(question, sampling)?;
        let language = &self.model.chain().language;
        let context = language.config().max_position_embeddings;
        let end = kept + rows;
        let room = context.saturating_sub(end);
        let stop = Stop::new(self.model.manifest(), &self.template);
        let rules = Rules::new(sampling, stop, room)?;
        let wanted = end + room.min(sampling.max_tokens);
        let capacity = wanted.next_multiple_of(GROWTH).min(context);
        let mut cache = match self.cache.take() {
            Some(cache) => cache,
            None => language.cache(capacity).step("making room for the conversation")?,
        };
        cache.truncate(kept);
        if let Err(error) = cache.reserve(capacity).step("making room for the conversation") {
            self.clear();
            return Err(error);
        }
        let mut run = Run::new(cache, embeddings, rules, watch);
        if let Err(error) = alone(self.model, &mut run) {
            self.cache = run.into_caches().next();
            match &mut self.cache {
                Some(cache) if kept > 0 => cache.truncate(kept),
                _ => self.clear(),
            }
            return Err(error);
        }
        let (outcome, cache) = run.finish();
        self.turns.drain(..forgotten.min(self.turns.len()));
        self.forgotten += forgotten;
        self.keep(cache, end, &outcome.ids, sampling.beams > 1);
        self.turns.push(Turn { question: question.to_owned(), answer: outcome.ids.clone() });
        self.draft(question, outcome, started)
    }

    /// Positions that the cache holds.
    fn held(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::length)
    }

    /// Empties the cache: the next question reads everything again.
    fn clear(&mut self) {
        self.unsaid.clear();
        if let Some(cache) = &mut self.cache {
            cache.truncate(0);
        }
    }

    /// Keeps what the cache holds of an answer that begins at position `end`. What ended the
    /// answer is no part of the conversation: the next turn opens with it. After a search the
    /// cache holds the answer of some beam.
    fn keep(&mut self, cache: Option<Cache>, end: usize, answer: &[u32], searched: bool) {
        self.cache = cache;
        if let Some(cache) = &mut self.cache {
            cache.truncate(if searched { end } else { end + answer.len() });
            let said = cache.length().saturating_sub(end);
            self.unsaid = answer.get(said..).unwrap_or_default().to_vec();
        }
    }

    /// The next turn up to where its answer begins: what the cache lacks, or where that does not
    /// fit, all that does.
    fn intake(&self, question: &str, sampling: &Sampling) -> Result<Intake, ModelError> {
        let context = self.model.chain().language.config().max_position_embeddings;
        // So much of the context an answer should have before anything is forgotten for it.
        let reserve = sampling.max_tokens.min(context / 4).max(1);
        let kept = self.held();
        if kept > 0 {
            let mut ids = self.unsaid.clone();
            ids.extend(self.model.tokenizer().encode(&self.template.later_turn(question))?);
            let rows = ids.len();
            if kept + rows + reserve <= context {
                let embeddings = self.model.chain().language.embed_tokens(&ids);
                let embeddings = embeddings.step("embedding the question")?;
                return Ok(Intake { kept, forgotten: 0, embeddings, rows });
            }
        }
        let mut forgotten = usize::from(kept > 0);
        loop {
            let turns = self.turns.get(forgotten..).unwrap_or_default();
            let tokens = self.transcript(turns, question)?;
            let positions = self.model.manifest().image_positions();
            let rows = tokens.before.len() + positions + tokens.after.len();
            let alone = turns.is_empty();
            let needed = rows + if alone { 1 } else { reserve };
            if needed <= context {
                let image = self.features.image_tokens();
                let chain = self.model.chain();
                let embeddings = chain.prompt(&tokens.before, image, &tokens.after);
                let embeddings = embeddings.step("embedding the question")?;
                return Ok(Intake { kept: 0, forgotten, embeddings, rows });
            }
            if alone {
                return Err(ModelError::Context { needed, context });
            }
            forgotten += 1;
        }
    }

    /// The tokens of these turns and of a question after them.
    fn transcript(&self, turns: &[Turn], question: &str) -> Result<PromptTokens, ModelError> {
        let (manifest, tokenizer) = (self.model.manifest(), self.model.tokenizer());
        let first = turns.first().map_or(question, |turn| turn.question.as_str());
        let mut tokens = PromptTokens::new(manifest, tokenizer, &self.template, first)?;
        let later = turns.iter().skip(1).map(|turn| turn.question.as_str()).chain([question]);
        for (turn, next) in turns.iter().zip(later) {
            tokens.after.extend(&turn.answer);
            tokens.after.extend(tokenizer.encode(&self.template.later_turn(next))?);
        }
        Ok(tokens)
    }

    fn draft(
        &self,
        question: &str,
        outcome: Outcome,
        started: Instant,
    ) -> Result<ModelDraft, ModelError> {
        Ok(ModelDraft {
            text: self.model.tokenizer().decode(&outcome.ids)?.trim().to_owned(),
            token_ids: outcome.ids,
            log_probabilities: outcome.log_probabilities,
            ended: outcome.ended,
            prompt: question.to_owned(),
            abnormal: self.features.abnormal(),
            scores: self.features.scores().to_vec(),
            looked: self.model.looked(&self.features),
            seconds: Seconds {
                encode: self.features.seconds(),
                ask: self.features.asked_seconds(),
                prefill: 0.0,
                decode: started.elapsed().as_secs_f64(),
            },
        })
    }
}
