//! `thorascribe train lm`.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::Common;
use super::pairs::{Pace, Pairs};
use crate::cli::number::{above_zero, at_least_one, not_negative};
use crate::train::optimise::{Constants, Schedule};
use crate::train::pairs::{self, LowRankSettings, Trained};
use crate::train::run::Plan;
use crate::train::{TrainError, language};

/// What may be asked of `train lm`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    pairs: Pairs,
    #[command(flatten)]
    tuning: Tuning,
    /// A folder with labels.csv, and metadata/Data_Entry_2017_v2020.csv (or .csv.gz) where there is
    /// one, for how often findings go together.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    data: Option<PathBuf>,
    /// Passes: over the pairs [default: 3], or rounds of 2000 summaries [default: 8], or as many as
    /// fit into --minutes.
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    epochs: Option<u64>,
    /// Summaries a round.
    #[arg(long, value_name = "N", default_value_t = 2000, conflicts_with = "model",
        value_parser = at_least_one::<usize>)]
    summaries: usize,
    /// Pieces of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 1024, conflicts_with = "model",
        value_parser = at_least_one::<usize>)]
    pieces: usize,
    /// Width of the language model.
    #[arg(long, value_name = "N", default_value_t = 160, conflicts_with = "model",
        value_parser = at_least_one::<usize>)]
    width: usize,
    /// Its blocks.
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "model",
        value_parser = at_least_one::<usize>)]
    layers: usize,
    /// Attention heads of each block.
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "model",
        value_parser = at_least_one::<usize>)]
    heads: usize,
    /// Pairs [default: 4] or summaries [default: 16] a step.
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    batch: Option<usize>,
    /// The highest learning rate [default: 3e-3; with --model 2e-4; with --full 2e-5].
    #[arg(long, value_name = "F", value_parser = not_negative::<f32>)]
    rate: Option<f32>,
}

/// How the language model of a model directory is trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --model")]
struct Tuning {
    /// Train every tensor of the language model, not a low-rank change of some layers.
    #[arg(long, requires = "model", conflicts_with_all = ["rank", "alpha", "adapt"])]
    full: bool,
    /// The rank of the change.
    #[arg(long, value_name = "N", requires = "model", default_value_t = 16,
        value_parser = at_least_one::<usize>)]
    rank: usize,
    /// The change is weighed by this over the rank [default: the rank].
    #[arg(long, value_name = "F", requires = "model", value_parser = above_zero::<f64>)]
    alpha: Option<f64>,
    /// The layers of each block that are changed: q_proj, k_proj, v_proj, o_proj, gate_proj,
    /// up_proj, down_proj.
    #[arg(
        long,
        value_name = "NAME,NAME,..",
        value_delimiter = ',',
        requires = "model",
        default_value = "q_proj,v_proj"
    )]
    adapt: Vec<String>,
}

impl Tuning {
    fn trained(&self) -> Trained {
        if self.full {
            return Trained::Language;
        }
        let alpha = self.alpha.unwrap_or(self.rank as f64);
        Trained::LowRank(LowRankSettings { rank: self.rank, alpha, layers: self.adapt.clone() })
    }

    /// Vicuna's rate for the whole model, that of Hu et al. for a low-rank change.
    fn preset(&self) -> Plan {
        Plan {
            epochs: Some(3),
            batch: 4,
            rate: if self.full { 2e-5 } else { 2e-4 },
            schedule: Schedule::WarmUp { first: 1e-6, steps: 100, least: 0.0 },
            constants: Constants { decay: 0.0, beta2: 0.999, clip: 1.0 },
            every: Some(500),
            ..Plan::default()
        }
    }
}

impl Arguments {
    pub(super) fn run(&self, bar: &ProgressBar) -> Result<Map<String, Value>, TrainError> {
        if self.pairs.model.is_some() {
            let pace = Pace { epochs: self.epochs, batch: self.batch, rate: self.rate };
            let plan = self.pairs.plan(&self.common, pace, self.tuning.preset());
            let settings = self.pairs.settings(self.tuning.trained(), &self.common);
            return pairs::train(&settings, &plan, bar);
        }
        let (batch, rate) = (self.batch.unwrap_or(16), self.rate.unwrap_or(3e-3));
        let plan = self.common.plan(self.epochs, 8, Plan { batch, rate, ..Plan::default() });
        let sizes = language::Sizes {
            pieces: self.pieces,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            summaries: self.summaries,
        };
        language::train(self.data.as_deref(), &self.common.out, &sizes, &plan, bar)
    }
}
