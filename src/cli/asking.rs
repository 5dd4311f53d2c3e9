//! What `draft` and `chat` have in common: the model and how its answers are drawn.

use std::path::PathBuf;

use super::number::{above_zero, at_least_one, not_negative, probability};
use crate::config::{Config, Device};
use crate::model::{Model, PromptChoice, Sampling, device};

/// The model and how its answers are drawn.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    /// The model directory; else the configuration's, else the embedded model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where it computes: auto, cpu or cuda:N; else the configuration's.
    #[arg(long, value_name = "DEVICE")]
    device: Option<Device>,
    /// The conversation template, by its name in the model's manifest.
    #[arg(long, value_name = "NAME")]
    pub(super) template: Option<String>,
    /// 0 is greedy; higher is more random.
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = not_negative::<f64>)]
    temperature: f64,
    /// With a temperature: the likeliest tokens that together reach this probability.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = probability::<f64>)]
    top_p: f64,
    /// Above 1: tokens that were said are less likely to come again.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = above_zero::<f32>)]
    repetition_penalty: f32,
    /// How many answers a beam search follows; 1 is none.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one::<usize>)]
    beams: usize,
    /// With beams: above 0 favours long answers.
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true)]
    length_penalty: f64,
    /// The shortest answer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_tokens: usize,
    /// The longest answer.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    max_tokens: Option<usize>,
    /// Of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Asking {
    /// Loads the model.
    pub(super) fn open(&self, config: &Config) -> anyhow::Result<Model> {
        let device = device::open(self.device.unwrap_or(config.model.device))?;
        let folder = self.model.as_deref().or(config.model.path.as_deref());
        Ok(Model::open_on(folder, &device)?)
    }

    /// What to say of a question that the model was not made for.
    pub(super) fn warning(
        &self,
        prompt: &PromptChoice,
        model: &Model,
        config: &Config,
    ) -> Option<String> {
        let embedded = self.model.is_none() && config.model.path.is_none();
        embedded.then(|| prompt.unknown_to_embedded(model.prompts()))?
    }

    /// How answers are drawn.
    pub(super) fn sampling(&self, config: &Config) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            min_tokens: self.min_tokens,
            max_tokens: self.max_tokens.unwrap_or(config.model.max_tokens),
            seed: self.seed,
            beams: self.beams,
            length_penalty: self.length_penalty,
        }
    }
}
