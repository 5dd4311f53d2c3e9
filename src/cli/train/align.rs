//! `thorascribe train align`.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::Common;
use crate::train::TrainError;
use crate::train::align::{self, Parts};
use crate::train::optimise::{Constants, Schedule};
use crate::train::pairs::{self, Settings, Stage};
use crate::train::run::Plan;

/// What may be asked of `train align`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// A model directory whose projection is trained.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["encoder", "language", "data"])]
    model: Option<PathBuf>,
    #[command(flatten)]
    pairs: Pairs,
    /// What `train encoder` wrote.
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    encoder: Option<PathBuf>,
    /// What `train lm` wrote.
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    language: Option<PathBuf>,
    /// With --encoder: the folder with labels.csv and images/.
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    data: Option<PathBuf>,
    /// With --encoder: what the summaries say: the encoder's scores at their thresholds, or the
    /// table's labels.
    #[arg(long, value_enum, default_value_t = Targets::Scores)]
    targets: Targets,
    /// The model's name [default: as that of --model; with --encoder: thorascribe-small].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// With --encoder: score the splits test and findings_test too, for the card: once, for a model
    /// to ship.
    #[arg(long)]
    test: bool,
    /// Passes over the data [default: by --steps; with --encoder: 1, or as many as fit into
    /// --minutes].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Pairs a step [default: by --stage; with --encoder: 16].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// The highest learning rate [default: by --stage; with --encoder: 3e-4].
    #[arg(long, value_name = "F")]
    rate: Option<f32>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Targets {
    Scores,
    Labels,
}

/// What belongs to `--model`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --model")]
struct Pairs {
    /// The pairs: dataset.jsonl of `dataset build`.
    #[arg(long, value_name = "FILE", requires = "model", required_unless_present = "encoder")]
    dataset: Option<PathBuf>,
    /// The archive that the pairs' images lie in.
    #[arg(long, value_name = "DIR", requires = "model", required_unless_present = "encoder")]
    source: Option<PathBuf>,
    /// Where the encoder's outputs are kept [default: OUT/features].
    #[arg(long, value_name = "DIR", requires = "model")]
    cache: Option<PathBuf>,
    /// Steps, batch, rates and optimiser of XrayGPT's first stage (MIMIC-CXR) or second (Open-i).
    #[arg(long, value_name = "1|2", requires = "model", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: u8,
    /// Steps in all [default: 20000; stage 2: 2501].
    #[arg(long, value_name = "N", requires = "model", conflicts_with = "epochs")]
    steps: Option<u64>,
    /// Pairs that a thread takes at once; the gradients of a batch are summed over such parts.
    #[arg(long, value_name = "N", requires = "model", default_value_t = 4)]
    at_once: usize,
    /// Steps of the linear warm-up [default: 500; stage 2: 200].
    #[arg(long, value_name = "N", requires = "model")]
    warm_up: Option<u64>,
    /// The learning rate that the warm-up begins with [default: 1e-6].
    #[arg(long, value_name = "F", requires = "model")]
    first_rate: Option<f32>,
    /// The learning rate that the cosine ends near [default: 8e-5; stage 2: 1e-5].
    #[arg(long, value_name = "F", requires = "model")]
    least_rate: Option<f32>,
    /// Weight decay [default: 0.05].
    #[arg(long, value_name = "F", requires = "model")]
    decay: Option<f32>,
    /// AdamW's second beta [default: 0.999].
    #[arg(long, value_name = "F", requires = "model")]
    beta2: Option<f32>,
    /// The largest norm of the gradients [default: 1].
    #[arg(long, value_name = "F", requires = "model")]
    clip: Option<f32>,
    /// A checkpoint and a line of the log after so many steps, beside those after an epoch
    /// [default: 500].
    #[arg(long, value_name = "N", requires = "model")]
    every: Option<u64>,
    /// Tokens of the longest summary; what is longer is cut.
    #[arg(long, value_name = "N", requires = "model", default_value_t = Stage::LONGEST,
        value_parser = at_least_one)]
    longest: usize,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

impl Arguments {
    pub(super) fn run(&self, bar: &ProgressBar) -> Result<Map<String, Value>, TrainError> {
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let out = self.common.out.clone();
        if let Some(model) = &self.model {
            let settings = Settings {
                model: model.clone(),
                dataset: path(&self.pairs.dataset),
                source: path(&self.pairs.source),
                out,
                cache: self.pairs.cache.clone(),
                at_once: self.pairs.at_once,
                longest: self.pairs.longest,
                name: self.name.clone(),
            };
            return pairs::train(&settings, &self.plan(), bar);
        }
        let (batch, rate) = (self.batch.unwrap_or(16), self.rate.unwrap_or(3e-4));
        let plan = self.common.plan(self.epochs, 1, batch, rate);
        let parts = Parts {
            encoder: path(&self.encoder),
            language: path(&self.language),
            data: path(&self.data),
            out,
            targets: match self.targets {
                Targets::Scores => align::Targets::Scores,
                Targets::Labels => align::Targets::Labels,
            },
            name: self.name.clone().unwrap_or_else(|| "thorascribe-small".to_owned()),
            test: self.test,
        };
        align::train(&parts, &plan, bar)
    }

    /// The stage's plan with what was asked for in its place.
    fn plan(&self) -> Plan {
        let (asked, stage) =
            (&self.pairs, if self.pairs.stage == 1 { Stage::First } else { Stage::Second });
        let preset = stage.plan();
        let schedule = match preset.schedule {
            Schedule::WarmUp { first, steps, least } => Schedule::WarmUp {
                first: asked.first_rate.unwrap_or(first),
                steps: asked.warm_up.unwrap_or(steps),
                least: asked.least_rate.unwrap_or(least),
            },
            other @ Schedule::OneCycle => other,
        };
        // Epochs or minutes alone mean: as many steps as those take.
        let free = self.epochs.is_some() || self.common.minutes.is_some();
        self.common.extend(Plan {
            epochs: self.epochs,
            steps: asked.steps.or(preset.steps.filter(|_| !free)),
            batch: self.batch.unwrap_or(preset.batch),
            rate: self.rate.unwrap_or(preset.rate),
            schedule,
            constants: Constants {
                decay: asked.decay.unwrap_or(preset.constants.decay),
                beta2: asked.beta2.unwrap_or(preset.constants.beta2),
                clip: asked.clip.unwrap_or(preset.constants.clip),
            },
            every: asked.every.or(preset.every),
            ..preset
        })
    }
}
