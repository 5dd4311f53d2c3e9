//! The two stages of XrayGPT's training, as its published configurations have them
//! (`train_configs/xraygpt_mimic_pretrain.yaml` and `xraygpt_openi_finetune.yaml`).

use crate::train::optimise::{Constants, Schedule};
use crate::train::run::Plan;

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// On MIMIC-CXR.
    First,
    /// On Open-i, beginning with what the first stage gave.
    Second,
}

impl Stage {
    /// Steps, batch, learning rate and optimiser. The configurations clip no gradients; a norm of 1
    /// is a guard that they rarely meet.
    pub fn plan(self) -> Plan {
        let (steps, batch, rate, rise, least) = match self {
            Self::First => (4 * 5000, 3, 1e-4, 500, 8e-5),
            Self::Second => (2501, 1, 3e-5, 200, 1e-5),
        };
        Plan {
            steps: Some(steps),
            batch,
            rate,
            schedule: Schedule::WarmUp { first: 1e-6, steps: rise, least },
            constants: Constants { decay: 0.05, beta2: 0.999, clip: 1.0 },
            every: Some(500),
            ..Plan::default()
        }
    }

    /// Tokens of the longest summary: the configurations' `max_txt_len`.
    pub const LONGEST: usize = 160;
}
