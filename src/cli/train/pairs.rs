//! What training on pairs of image and summary takes, whichever part is trained.

use std::path::PathBuf;

use super::Common;
use crate::cli::number::{above_zero, at_least_one, below_one};
use crate::train::optimise::{Constants, Schedule};
use crate::train::pairs::{Settings, Stage, Trained};
use crate::train::run::Plan;

/// What belongs to `--model`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --model")]
pub(super) struct Pairs {
    /// A model directory of which a part is trained.
    #[arg(long, value_name = "DIR", requires = "dataset", requires = "source")]
    pub(super) model: Option<PathBuf>,
    /// The pairs: dataset.jsonl of `dataset build`.
    #[arg(long, value_name = "FILE", requires = "model")]
    dataset: Option<PathBuf>,
    /// The archive that the pairs' images lie in.
    #[arg(long, value_name = "DIR", requires = "model")]
    source: Option<PathBuf>,
    /// Where the encoder's outputs are kept [default: OUT/features].
    #[arg(long, value_name = "DIR", requires = "model")]
    cache: Option<PathBuf>,
    /// The new model's name [default: as that of --model].
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Steps in all.
    #[arg(long, value_name = "N", requires = "model", conflicts_with = "epochs",
        value_parser = at_least_one::<u64>)]
    steps: Option<u64>,
    /// Pairs that a thread takes at once; the gradients of a batch are summed over such parts.
    #[arg(long, value_name = "N", requires = "model", default_value_t = 4,
        value_parser = at_least_one::<usize>)]
    at_once: usize,
    /// Steps of the linear warm-up.
    #[arg(long, value_name = "N", requires = "model")]
    warm_up: Option<u64>,
    /// The learning rate that the warm-up begins with.
    #[arg(long, value_name = "F", requires = "model", value_parser = below_one::<f32>)]
    first_rate: Option<f32>,
    /// The learning rate that the cosine ends near.
    #[arg(long, value_name = "F", requires = "model", value_parser = below_one::<f32>)]
    least_rate: Option<f32>,
    /// Weight decay.
    #[arg(long, value_name = "F", requires = "model", value_parser = below_one::<f32>)]
    decay: Option<f32>,
    /// AdamW's second beta.
    #[arg(long, value_name = "F", requires = "model", value_parser = below_one::<f32>)]
    beta2: Option<f32>,
    /// The largest norm of the gradients.
    #[arg(long, value_name = "F", requires = "model", value_parser = above_zero::<f32>)]
    clip: Option<f32>,
    /// A checkpoint and a line of the log after so many steps, beside those after an epoch.
    #[arg(long, value_name = "N", requires = "model", value_parser = at_least_one::<u64>)]
    every: Option<u64>,
    /// Tokens of the longest summary; what is longer is cut.
    #[arg(long, value_name = "N", requires = "model", default_value_t = Stage::LONGEST,
        value_parser = at_least_one::<usize>)]
    longest: usize,
}

/// What was asked of the length and pace of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) epochs: Option<u64>,
    pub(super) batch: Option<usize>,
    pub(super) rate: Option<f32>,
}

impl Pairs {
    /// What is trained on what.
    pub(super) fn settings(&self, trained: Trained, common: &Common) -> Settings {
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        Settings {
            trained,
            model: path(&self.model),
            dataset: path(&self.dataset),
            source: path(&self.source),
            out: common.out.clone(),
            cache: self.cache.clone(),
            at_once: self.at_once,
            longest: self.longest,
            name: self.name.clone(),
        }
    }

    /// The preset with what was asked for in its place.
    pub(super) fn plan(&self, common: &Common, pace: Pace, preset: Plan) -> Plan {
        let schedule = match preset.schedule {
            Schedule::WarmUp { first, steps, least } => Schedule::WarmUp {
                first: self.first_rate.unwrap_or(first),
                steps: self.warm_up.unwrap_or(steps),
                least: self.least_rate.unwrap_or(least),
            },
            other @ Schedule::OneCycle { .. } => other,
        };
        // Epochs, steps or minutes alone mean: as long as those take.
        let free = pace.epochs.is_some() || self.steps.is_some() || common.minutes.is_some();
        common.extend(Plan {
            epochs: pace.epochs.or(preset.epochs.filter(|_| !free)),
            steps: self.steps.or(preset.steps.filter(|_| !free)),
            batch: pace.batch.unwrap_or(preset.batch),
            rate: pace.rate.unwrap_or(preset.rate),
            schedule,
            constants: Constants {
                decay: self.decay.unwrap_or(preset.constants.decay),
                beta2: self.beta2.unwrap_or(preset.constants.beta2),
                clip: self.clip.unwrap_or(preset.constants.clip),
            },
            every: self.every.or(preset.every),
            ..preset
        })
    }
}
