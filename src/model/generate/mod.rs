//! Prefill and decode of any number of answers at once, each by its own rules.
//!
//! A [`Run`] is one answer in the making: one lane, or a lane a beam. [`forward`] takes one step
//! of all lanes it is given together; whether they belong to one run or to many is all the same
//! to it. So an answer alone and an answer in a batch come the same way.

mod answer;
mod beams;
mod draft_run;
mod stream;

use candle_core::Tensor;

use super::error::{ModelError, Step};
use super::language::cache::Cache;
use super::language::llama::{Llama, Segment};
use super::sample::Logits;
use super::tokenizer::Tokenizer;

pub use answer::Ended;
pub(super) use answer::{Answer, Rules};
use beams::Beams;
pub(super) use draft_run::{DraftRun, Question, alone};
pub use stream::Watch;

/// What a lane takes in at its next step.
#[derive(Debug)]
enum Feed {
    /// `[1, rows, width]`: a prompt.
    Embeddings(Tensor),
    /// The token chosen last.
    Token(u32),
}

/// One sequence of positions.
#[derive(Debug)]
pub(super) struct Lane {
    cache: Cache,
    feed: Feed,
}

/// One answer in the making.
#[derive(Debug)]
pub(super) struct Run {
    lanes: Vec<Lane>,
    search: Search,
}

#[derive(Debug)]
enum Search {
    One(Box<Answer>),
    Beams(Box<Beams>),
}

/// An answer's tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Without what ended it.
    pub(super) ids: Vec<u32>,
    /// The natural logarithm of each token's probability, by the model's own logits.
    pub(super) log_probabilities: Vec<f32>,
    /// What ended it.
    pub(super) ended: Ended,
}

impl Run {
    /// A run that continues `cache` by `embeddings` `[1, rows, width]`.
    pub(super) fn new(
        cache: Cache,
        embeddings: Tensor,
        rules: Rules,
        watch: Option<Watch>,
    ) -> Self {
        let search = match rules.beams() {
            0 | 1 => Search::One(Box::new(Answer::new(rules, watch))),
            _ => Search::Beams(Box::new(Beams::new(rules))),
        };
        Self { lanes: vec![Lane { cache, feed: Feed::Embeddings(embeddings) }], search }
    }

    /// Its lanes, for [`forward`].
    pub(super) fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// Goes on by the logits of its lanes; true when the answer is complete.
    pub(super) fn advance(
        &mut self,
        logits: &[Logits],
        tokenizer: &Tokenizer,
    ) -> Result<bool, ModelError> {
        match (&mut self.search, logits) {
            (Search::One(answer), [logits]) => {
                let token = answer.next(logits, tokenizer)?;
                if let (Some(token), Some(lane)) = (token, self.lanes.first_mut()) {
                    lane.feed = Feed::Token(token);
                }
                Ok(token.is_none())
            }
            (Search::Beams(beams), _) => beams.advance(&mut self.lanes, logits, tokenizer),
            (Search::One(_), _) => {
                Err(ModelError::Engine(format!("{} rows of logits for one lane", logits.len())))
            }
        }
    }

    /// The answer, and the cache of a run with one lane.
    pub(super) fn finish(self) -> (Outcome, Option<Cache>) {
        let outcome = match self.search {
            Search::One(answer) => answer.finish(),
            Search::Beams(beams) => beams.finish(),
        };
        (outcome, self.lanes.into_iter().next().map(|lane| lane.cache))
    }

    /// The caches, when the answer is no longer wanted.
    pub(super) fn into_caches(self) -> impl Iterator<Item = Cache> {
        self.lanes.into_iter().map(|lane| lane.cache)
    }
}

/// One step of all lanes together: the logits after each.
pub(super) fn forward(
    language: &Llama,
    lanes: &mut [&mut Lane],
) -> Result<Vec<Logits>, ModelError> {
    let embeddings = embeddings(language, lanes).step("embedding the tokens")?;
    let mut segments = Vec::with_capacity(lanes.len());
    for lane in lanes.iter_mut() {
        let time = match &lane.feed {
            Feed::Embeddings(rows) => rows.dim(1).step("embedding the prompt")?,
            Feed::Token(_) => 1,
        };
        segments.push(Segment { cache: &mut lane.cache, time });
    }
    let logits = language.forward_ragged(&embeddings, &mut segments).step("decoding")?;
    read(&logits).step("reading logits")
}

/// The logits of each row, in one copy.
fn read(logits: &Tensor) -> candle_core::Result<Vec<Logits>> {
    #[cfg(feature = "cuda")]
    if let Some(logits) = super::layer::cuda::logits_in_f32(logits)? {
        return Ok(logits.to_vec2()?.into_iter().map(Logits::with_log_sum).collect());
    }
    let rows = logits.to_dtype(candle_core::DType::F32)?.to_vec2()?;
    Ok(rows.into_iter().map(Logits::new).collect())
}

/// The logits after each of several ends of one prompt, whose start `prefix` holds.
pub(super) fn forward_prompts(
    language: &Llama,
    prefix: &Cache,
    ends: &[&[u32]],
) -> Result<Vec<Logits>, ModelError> {
    let mut lanes = Vec::with_capacity(ends.len());
    for end in ends {
        let room = language.cache(prefix.length() + end.len());
        let mut cache = room.step("making room for the prompt")?;
        cache.copy_from(prefix).step("taking over the prompt's start")?;
        let rows = language.embed_tokens(end).step("embedding the prompt")?;
        lanes.push(Lane { cache, feed: Feed::Embeddings(rows) });
    }
    forward(language, &mut lanes.iter_mut().collect::<Vec<_>>())
}

/// What all lanes take in, one after another; neighbouring tokens are looked up together.
fn embeddings(language: &Llama, lanes: &[&mut Lane]) -> candle_core::Result<Tensor> {
    let mut parts = Vec::new();
    for same in
        lanes.chunk_by(|a, b| matches!((&a.feed, &b.feed), (Feed::Token(_), Feed::Token(_))))
    {
        let tokens = same.iter().filter_map(|lane| match lane.feed {
            Feed::Token(token) => Some(token),
            Feed::Embeddings(_) => None,
        });
        let tokens = tokens.collect::<Vec<_>>();
        if !tokens.is_empty() {
            parts.push(language.embed_tokens(&tokens)?);
        }
        for lane in same {
            if let Feed::Embeddings(rows) = &lane.feed {
                parts.push(rows.clone());
            }
        }
    }
    Tensor::cat(&parts, 1)
}
