//! Which split a patient belongs to: a draw from the name alone.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A part of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To train on.
    Train,
    /// To choose by.
    Development,
    /// To quote.
    Test,
}

/// The shares of patients that are kept back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// Of `development`.
    pub development: f64,
    /// Of `test`.
    pub test: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { development: 0.1, test: 0.1 }
    }
}

impl Shares {
    /// Where a patient belongs; the same for every run, source and order.
    pub fn of(self, patient: &str) -> Split {
        let digest = Sha256::digest(patient.as_bytes());
        let first = digest.iter().take(6).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let place = first as f64 / (1_u64 << 48) as f64;
        if place < self.test {
            Split::Test
        } else if place < self.test + self.development {
            Split::Development
        } else {
            Split::Train
        }
    }
}
