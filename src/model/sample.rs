//! The choice of the next token.

use std::fmt;

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Draw};
use candle_transformers::utils::apply_repeat_penalty;

use super::error::{ModelError, Step};

/// Beams that a search may have.
const MOST_BEAMS: usize = 16;

/// How tokens are chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; higher is more random.
    pub temperature: f64,
    /// Only the likeliest tokens that together reach this probability are drawn from; 1 is all.
    pub top_p: f64,
    /// Divides the logits of tokens that the answer has already; 1 is none.
    pub repetition_penalty: f32,
    /// The shortest answer, tokens: what would end it before is not chosen.
    pub min_tokens: usize,
    /// The longest answer, tokens.
    pub max_tokens: usize,
    /// Of the random numbers.
    pub seed: u64,
    /// How many answers a beam search follows at once; 1 is none. It takes no random numbers.
    pub beams: usize,
    /// A beam's score is its log-probability over its length to the power of this: above 0
    /// favours long answers.
    pub length_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            min_tokens: 0,
            max_tokens: 300,
            seed: 0,
            beams: 1,
            length_penalty: 1.0,
        }
    }
}

/// What a report says of how its text was drawn.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.beams > 1 {
            write!(f, "{} beams, length penalty {}", self.beams, self.length_penalty)?;
        } else if self.temperature > 0.0 {
            write!(
                f,
                "temperature {}, top-p {}, seed {}",
                self.temperature, self.top_p, self.seed
            )?;
        } else {
            f.write_str("greedy")?;
        }
        if penalizes(self.repetition_penalty) {
            write!(f, ", repetition penalty {}", self.repetition_penalty)?;
        }
        if self.min_tokens > 0 {
            write!(f, ", at least {}", self.min_tokens)?;
        }
        write!(f, ", at most {} tokens", self.max_tokens)
    }
}

impl Sampling {
    /// Whether there can be such a choice.
    pub fn check(&self) -> Result<(), ModelError> {
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
        if self.min_tokens > self.max_tokens {
            return wrong("the shortest answer must not be longer than the longest");
        }
        if !(1..=MOST_BEAMS).contains(&self.beams) {
            return wrong("the beams must be 1 to 16");
        }
        if self.beams > 1 && self.temperature > 0.0 {
            return wrong(
                "a beam search takes the likeliest answers: use it without a temperature",
            );
        }
        if !self.length_penalty.is_finite() {
            return wrong("the length penalty must be a number");
        }
        Ok(())
    }
}

/// Draws tokens by one [`Sampling`].
pub struct Sampler {
    draw: Option<LogitsProcessor>,
    temperature: f64,
    top_p: f64,
    penalty: f32,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("temperature", &self.temperature).finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(sampling: &Sampling) -> Result<Self, ModelError> {
        sampling.check()?;
        let temperature = sampling.temperature;
        let draw = || LogitsProcessor::from_sampling(sampling.seed, Draw::All { temperature });
        Ok(Self {
            // So near to 0 that dividing by it would leave no numbers: greedy.
            draw: (temperature > 1e-6).then(draw),
            temperature,
            top_p: sampling.top_p,
            penalty: sampling.repetition_penalty,
        })
    }

    /// The logits with the penalty for what `answer` has already.
    pub fn penalized(&self, logits: &[f32], answer: &[u32]) -> Result<Vec<f32>, ModelError> {
        if !penalizes(self.penalty) || answer.is_empty() {
            return Ok(logits.to_vec());
        }
        let all = Tensor::from_slice(logits, logits.len(), &Device::Cpu);
        all.and_then(|all| apply_repeat_penalty(&all, self.penalty, answer)?.to_vec1())
            .step("repetition penalty")
    }

    /// The next token by logits.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32, ModelError> {
        let token = match &mut self.draw {
            None => highest(logits),
            Some(draw) => {
                let kept = nucleus(logits, self.temperature, self.top_p);
                let kept = Tensor::from_vec(kept, logits.len(), &Device::Cpu);
                kept.and_then(|kept| draw.sample(&kept)).step("sampling")?
            }
        };
        if logits.get(token as usize).is_some_and(|logit| logit.is_finite()) {
            return Ok(token);
        }
        let reason = "the model gave no finite number: its weights are broken";
        Err(ModelError::Request(reason.to_owned()))
    }
}

fn penalizes(penalty: f32) -> bool {
    (penalty - 1.0).abs() > f32::EPSILON
}

/// The first of the highest logits.
fn highest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (token, *logit);
        }
    }
    best.0 as u32
}

/// The logits of the likeliest tokens that together reach `top_p`; the others' are -∞.
///
/// candle's own top-p sorts the vocabulary at every token; here only as many of the likeliest are
/// put in order as are needed.
fn nucleus(logits: &[f32], temperature: f64, top_p: f64) -> Vec<f32> {
    if top_p >= 1.0 {
        return logits.to_vec();
    }
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| (f64::from(logit - most) / temperature).exp();
    let enough = top_p * logits.iter().map(|logit| weight(*logit)).sum::<f64>();
    let mut order = (0..logits.len()).collect::<Vec<_>>();
    let at = |token: usize| logits.get(token).copied().unwrap_or(f32::NEG_INFINITY);
    let falling = |a: &usize, b: &usize| at(*b).total_cmp(&at(*a)).then(a.cmp(b));
    let mut kept = vec![f32::NEG_INFINITY; logits.len()];
    let (mut reached, mut done, mut size) = (0.0, 0, 64);
    while done < order.len() {
        // The next likeliest `size` tokens stand in order before all others.
        let rest = order.get_mut(done..).unwrap_or_default();
        let size_now = size.min(rest.len());
        if size_now < rest.len() {
            rest.select_nth_unstable_by(size_now, falling);
        }
        let next = rest.get_mut(..size_now).unwrap_or_default();
        next.sort_unstable_by(falling);
        for token in next.iter() {
            if let Some(place) = kept.get_mut(*token) {
                *place = at(*token);
            }
            reached += weight(at(*token));
            if reached >= enough {
                return kept;
            }
        }
        done += size_now;
        size *= 4;
    }
    kept
}

/// The logits of a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    log_sum: Option<f32>,
}

impl Logits {
    /// Logits alone.
    pub fn new(values: Vec<f32>) -> Self {
        Self { values, log_sum: None }
    }

    /// Logits with their [`log_sum`] behind them.
    #[cfg(feature = "cuda")]
    pub(super) fn with_log_sum(mut values: Vec<f32>) -> Self {
        let log_sum = values.pop();
        Self { values, log_sum }
    }

    /// The natural logarithm of the sum of their exponents.
    pub fn log_sum(&self) -> f32 {
        self.log_sum.unwrap_or_else(|| log_sum(&self.values))
    }
}

impl std::ops::Deref for Logits {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

/// The natural logarithm of the sum of the exponents: what turns a logit into a log-probability.
pub fn log_sum(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = logits.iter().map(|logit| f64::from(logit - most).exp()).sum::<f64>();
    most + sum.ln() as f32
}
