//! One answer, token by token.

use super::Outcome;
use super::stream::{Stream, Watch};
use crate::model::error::ModelError;
use crate::model::sample::{Logits, Sampler, Sampling};
use crate::model::stop::Stop;
use crate::model::tokenizer::Tokenizer;

/// What ended an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model: a stop sequence or the end of sequence.
    Stop,
    /// It has as many tokens as were asked for.
    MaxTokens,
    /// The model's context is full.
    Context,
}

/// By what an answer is drawn, and where it ends.
#[derive(Debug)]
pub(in crate::model) struct Rules {
    pub(super) sampler: Sampler,
    pub(super) sampling: Sampling,
    pub(super) stop: Stop,
    /// The most tokens that it may have.
    pub(super) most: usize,
    /// Why it may have no more.
    pub(super) bound: Ended,
}

impl Rules {
    /// By `sampling`, with room for so many tokens in the context.
    pub(in crate::model) fn new(
        sampling: &Sampling,
        stop: Stop,
        room: usize,
    ) -> Result<Self, ModelError> {
        let (most, bound) = if sampling.max_tokens <= room {
            (sampling.max_tokens, Ended::MaxTokens)
        } else {
            (room, Ended::Context)
        };
        let sampler = Sampler::new(sampling)?;
        Ok(Self { sampler, sampling: sampling.clone(), stop, most, bound })
    }

    /// How many beams it follows.
    pub(super) fn beams(&self) -> usize {
        self.sampling.beams
    }

    /// How many tokens of `ids` are the answer when the last one ends it: `None` when it does not,
    /// `Some(Err)` when it would leave the answer too short.
    pub(super) fn end(
        &self,
        ids: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<Option<Result<usize, TooShort>>, ModelError> {
        let end = self.stop.end(ids, tokenizer)?;
        Ok(end.map(|end| if end < self.sampling.min_tokens { Err(TooShort) } else { Ok(end) }))
    }
}

/// An end that may not be yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooShort;

/// One answer, token by token.
#[derive(Debug)]
pub(in crate::model) struct Answer {
    rules: Rules,
    ids: Vec<u32>,
    log_probabilities: Vec<f32>,
    ended: Ended,
    stream: Option<Stream>,
}

impl Answer {
    /// An empty answer; `watch` is given its text as it comes.
    pub(in crate::model) fn new(rules: Rules, watch: Option<Watch>) -> Self {
        Self {
            ended: rules.bound,
            rules,
            ids: vec![],
            log_probabilities: vec![],
            stream: watch.map(Stream::new),
        }
    }

    /// Chooses a token by the logits `[vocabulary]`; none when the answer is complete.
    pub(super) fn next(
        &mut self,
        logits: &Logits,
        tokenizer: &Tokenizer,
    ) -> Result<Option<u32>, ModelError> {
        let mut choices = self.rules.sampler.penalized(logits, &self.ids)?;
        let token = loop {
            let token = self.rules.sampler.choose(&choices)?;
            self.ids.push(token);
            match self.rules.end(&self.ids, tokenizer)? {
                None => break token,
                Some(Ok(length)) => {
                    self.ids.truncate(length);
                    self.log_probabilities.truncate(length);
                    self.ended = Ended::Stop;
                    self.complete(tokenizer)?;
                    return Ok(None);
                }
                Some(Err(_too_short)) => {
                    self.ids.pop();
                    if let Some(choice) = choices.get_mut(token as usize) {
                        *choice = f32::NEG_INFINITY;
                    }
                }
            }
        };
        let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        self.log_probabilities.push(logit - logits.log_sum());
        if self.ids.len() >= self.rules.most {
            self.complete(tokenizer)?;
            return Ok(None);
        }
        if let Some(stream) = &mut self.stream {
            stream.tell(&self.ids, &self.rules.stop, tokenizer)?;
        }
        Ok(Some(token))
    }

    fn complete(&mut self, tokenizer: &Tokenizer) -> Result<(), ModelError> {
        match &mut self.stream {
            Some(stream) => stream.complete(&self.ids, tokenizer),
            None => Ok(()),
        }
    }

    /// The answer.
    pub(super) fn finish(self) -> Outcome {
        Outcome { ids: self.ids, log_probabilities: self.log_probabilities, ended: self.ended }
    }
}
