//! The recipe of the embedded model: every step of its training, one after the other.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::{Map, Value};

use super::align::{self, Parts, Targets};
use super::architecture::Architecture;
use super::error::TrainError;
use super::run::Plan;
use super::{encoder, language};

/// What may be chosen; the defaults made the embedded model.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The folder with labels.csv and images/.
    pub data: PathBuf,
    /// ImageNet weights of EfficientNet-Lite0.
    pub imagenet: PathBuf,
    /// A folder a step, and the model in `aligned/model`.
    pub out: PathBuf,
    /// Columns and rows of the encoder's input.
    pub size: usize,
    /// Encoders to keep the best of, with the seeds `seed`, `seed` + 1 and so on.
    pub encoders: u64,
    /// Passes over the radiographs for each.
    pub encoder_epochs: u64,
    /// Rounds of summaries for the language model.
    pub language_epochs: u64,
    /// The language model.
    pub language: language::Sizes,
    /// What every random choice depends on.
    pub seed: u64,
    /// Threads that share each batch.
    pub threads: usize,
    /// Score the test splits for the card too.
    pub test: bool,
}

impl Recipe {
    fn plan(&self, seed: u64, epochs: u64, (batch, rate): (usize, f32), habit: Plan) -> Plan {
        let (epochs, threads) = (Some(epochs), self.threads);
        Plan { epochs, batch, rate, seed, threads, ..habit }
    }

    /// Runs every step and gives the figures of the last. Steps that an earlier call finished cost
    /// little; one that was stopped goes on.
    pub fn run(
        &self,
        bar: &mut dyn FnMut(&str) -> ProgressBar,
    ) -> Result<Map<String, Value>, TrainError> {
        let mut best: Option<(f64, PathBuf)> = None;
        for seed in self.seed..self.seed + self.encoders {
            let out = self.out.join(format!("encoder-{seed}"));
            let plan = self.plan(seed, self.encoder_epochs, (24, 4e-4), Plan::tuning());
            let sizes = encoder::Sizes {
                architecture: Architecture::EfficientNetLite0,
                image: self.size,
                head_pace: 5.0,
            };
            let bar = bar(&format!("image encoder, seed {seed}"));
            let figures =
                encoder::train(&self.data, Some(&self.imagenet), &out, &sizes, &plan, &bar)?;
            let figure = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or_default();
            let worth = figure("abnormal") + figure("mean_of_findings");
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, out));
            }
        }
        let Some((_, encoder)) = best else {
            let reason = "no encoder to train".to_owned();
            return Err(TrainError::Run { path: self.out.clone(), reason });
        };
        let language = self.out.join("language");
        let plan = self.plan(self.seed, self.language_epochs, (16, 3e-3), Plan::default());
        let known: Option<&Path> = Some(&self.data);
        language::train(known, &language, &self.language, &plan, &bar("language model"))?;
        let parts = Parts {
            encoder,
            language,
            data: self.data.clone(),
            out: self.out.join("aligned"),
            targets: Targets::Scores,
            name: "thorascribe-small".to_owned(),
            test: self.test,
        };
        let plan = self.plan(self.seed, 1, (16, 3e-4), Plan::default());
        align::train(&parts, &plan, &bar("alignment"))
    }
}
