//! What is asked of a model without heads, so that it scores findings all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::{check_label, check_thresholds};
use crate::vocabulary::Observation;

/// How a model without heads scores findings: by the probability of "yes" against "no" after a
/// question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// The conversation template, by name; the model's first without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// A question a label: `abnormal`, or an observation.
    pub ask: BTreeMap<String, String>,
    /// What the logit of a label's probability is divided by; 1 without one.
    #[serde(default)]
    pub temperatures: BTreeMap<String, f64>,
    /// From which score on, 0 to 1, an observation counts as positive, by label.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f32>,
}

impl Questions {
    /// One for each observation but "no finding".
    pub fn own() -> Self {
        let findings = Observation::ALL.into_iter().filter(|o| *o != Observation::NoFinding);
        let ask = |finding: Observation| {
            let name = finding.display_name().to_lowercase();
            let question = format!("Does this chest x-ray show {name}? Answer yes or no.");
            (finding.name().to_owned(), question)
        };
        Self {
            template: None,
            ask: findings.map(ask).collect(),
            temperatures: BTreeMap::new(),
            thresholds: BTreeMap::new(),
        }
    }

    /// What does not fit together.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=256).contains(&self.ask.len()) {
            return Err("ask needs 1 to 256 questions".to_owned());
        }
        for label in self.ask.keys() {
            check_label(label).map_err(|e| format!("ask: {e}"))?;
        }
        for (label, temperature) in &self.temperatures {
            if !self.ask.contains_key(label) {
                return Err(format!("temperatures: no question is asked for {label:?}; remove it"));
            }
            if !temperature.is_finite() || *temperature <= 0.0 {
                return Err(format!(
                    "temperatures: {label} = {temperature} is not above 0; write 1.0 for none"
                ));
            }
        }
        check_thresholds(&self.thresholds, |label| self.ask.contains_key(label))
    }
}
