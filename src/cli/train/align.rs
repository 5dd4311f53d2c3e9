//! `thorascribe train align`.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::Common;
use super::pairs::{Pace, Pairs};
use crate::cli::number::{at_least_one, not_negative};
use crate::train::TrainError;
use crate::train::align::{self, Parts};
use crate::train::pairs::{self, Stage, Trained};
use crate::train::run::Plan;

/// What may be asked of `train align`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("halves").required(true).args(["model", "encoder"]))]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pairs: Pairs,
    /// With --model: steps, batch, rates and optimiser of XrayGPT's first stage (MIMIC-CXR: 20000
    /// steps of 3, rate 1e-4 to 8e-5, warm-up 500) or second (Open-i: 2501 steps of 1, 3e-5 to
    /// 1e-5, warm-up 200); decay 0.05, beta2 0.999, clip 1.
    #[arg(long, value_name = "1|2", requires = "model", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: u8,
    /// What `train encoder` wrote.
    #[arg(long, value_name = "DIR", requires = "language", requires = "data")]
    encoder: Option<PathBuf>,
    /// What `train lm` wrote.
    #[arg(long, value_name = "DIR", requires = "encoder")]
    language: Option<PathBuf>,
    /// With --encoder: the folder with labels.csv and images/.
    #[arg(long, value_name = "DIR", requires = "encoder")]
    data: Option<PathBuf>,
    /// With --encoder: what the summaries say: the encoder's scores at their thresholds, or the
    /// table's labels.
    #[arg(long, value_enum, default_value_t = Targets::Scores)]
    targets: Targets,
    /// With --encoder: score the splits test and findings_test too, for the card: once, for a model
    /// to ship.
    #[arg(long)]
    test: bool,
    /// Passes over the data [default: by the stage's steps; with --encoder: 1, or as many as fit
    /// into --minutes].
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    epochs: Option<u64>,
    /// Pairs a step [default: by --stage; with --encoder: 16].
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    batch: Option<usize>,
    /// The highest learning rate [default: by --stage; with --encoder: 3e-4].
    #[arg(long, value_name = "F", value_parser = not_negative::<f32>)]
    rate: Option<f32>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Targets {
    Scores,
    Labels,
}

impl Arguments {
    pub(super) fn run(&self, bar: &ProgressBar) -> Result<Map<String, Value>, TrainError> {
        if self.pairs.model.is_some() {
            let stage = if self.stage == 1 { Stage::First } else { Stage::Second };
            let pace = Pace { epochs: self.epochs, batch: self.batch, rate: self.rate };
            let plan = self.pairs.plan(&self.common, pace, stage.plan());
            let settings = self.pairs.settings(Trained::Projection, &self.common);
            return pairs::train(&settings, &plan, bar);
        }
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let (batch, rate) = (self.batch.unwrap_or(16), self.rate.unwrap_or(3e-4));
        let plan = self.common.plan(self.epochs, 1, Plan { batch, rate, ..Plan::default() });
        let parts = Parts {
            encoder: path(&self.encoder),
            language: path(&self.language),
            data: path(&self.data),
            out: self.common.out.clone(),
            targets: match self.targets {
                Targets::Scores => align::Targets::Scores,
                Targets::Labels => align::Targets::Labels,
            },
            name: self.pairs.name.clone().unwrap_or_else(|| "thorascribe-small".to_owned()),
            test: self.test,
        };
        align::train(&parts, &plan, bar)
    }
}
