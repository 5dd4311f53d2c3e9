//! The choice of the next token.

use std::fmt;

use candle_core::{DType, Tensor};
use candle_transformers::generation::LogitsProcessor;
use candle_transformers::utils::apply_repeat_penalty;

use super::error::{ModelError, Step};

/// How tokens are chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; higher is more random.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this probability are drawn from; 1 is all.
    pub top_p: f64,
    /// Divides the logits of tokens that the answer has already; 1 is none.
    pub repetition_penalty: f32,
    /// The longest answer, tokens.
    pub max_tokens: usize,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, repetition_penalty: 1.0, max_tokens: 300, seed: 0 }
    }
}

/// What a report says of how its text was drawn.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.temperature > 0.0 {
            write!(
                f,
                "temperature {}, top-p {}, seed {}",
                self.temperature, self.top_p, self.seed
            )?;
        } else {
            f.write_str("greedy")?;
        }
        if (self.repetition_penalty - 1.0).abs() > f32::EPSILON {
            write!(f, ", repetition penalty {}", self.repetition_penalty)?;
        }
        write!(f, ", at most {} tokens", self.max_tokens)
    }
}

impl Sampling {
    fn check(&self) -> Result<(), ModelError> {
        let wrong = |what: &str| Err(ModelError::Request(what.to_owned()));
        if !(0.0..=100.0).contains(&self.temperature) {
            return wrong("the temperature must lie in 0 to 100");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p must lie above 0 and not above 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("the repetition penalty must be a number above 0");
        }
        if self.max_tokens == 0 {
            return wrong("an answer needs at least one token");
        }
        Ok(())
    }
}

/// Draws tokens by one [`Sampling`].
pub struct Sampler {
    processor: LogitsProcessor,
    penalty: f32,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(sampling: &Sampling) -> Result<Self, ModelError> {
        sampling.check()?;
        let top_p = (sampling.top_p < 1.0).then_some(sampling.top_p);
        let processor = LogitsProcessor::new(sampling.seed, Some(sampling.temperature), top_p);
        Ok(Self { processor, penalty: sampling.repetition_penalty })
    }

    /// The next token after `answer`, by the logits `[vocabulary]`.
    pub fn next(&mut self, logits: &Tensor, answer: &[u32]) -> Result<u32, ModelError> {
        let logits = logits.to_dtype(DType::F32).step("reading logits")?;
        let logits = if (self.penalty - 1.0).abs() > f32::EPSILON {
            apply_repeat_penalty(&logits, self.penalty, answer).step("repetition penalty")?
        } else {
            logits
        };
        let token = self.processor.sample(&logits).step("sampling")?;
        let logit = logits.get(token as usize).and_then(|l| l.to_scalar::<f32>());
        if !logit.step("reading logits")?.is_finite() {
            let reason = "the model gave no finite number: its weights are broken";
            return Err(ModelError::Request(reason.to_owned()));
        }
        Ok(token)
    }
}
