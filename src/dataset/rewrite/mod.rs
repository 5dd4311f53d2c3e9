//! How a cleaned report becomes the summary to train on: by rules, or reworded by a language model.
//!
//! A language model is asked once for each text: what it said is kept in `rewrites.jsonl`, so a
//! build that was stopped goes on where it was, and one that is repeated asks nothing.

use std::path::Path;

use super::build::{Pair, Progress};
use super::error::DatasetError;

mod cache;
mod endpoint;
mod local;

use cache::Cache;
pub use endpoint::Endpoint;
pub use local::Local;

/// What a language model is asked to do, in the words of the paper's section 3.1: "interactive and
/// clean summaries" that keep to what was found.
pub const INSTRUCTION: &str = "Rewrite the following chest radiograph report as one short, \
fluent paragraph. Keep every finding, its side, place, size and severity, and every finding that is \
said to be absent. Do not add anything that the report does not say, do not mention earlier \
studies, dates, names, views or recommendations to staff, and answer with the paragraph alone.";

/// What words the summaries.
#[derive(Debug)]
pub enum Rewriter {
    /// Nothing more: findings and impression joined.
    Rules,
    /// A language model behind an OpenAI-compatible endpoint.
    Endpoint(Endpoint),
    /// The language model of a model directory.
    Local(Box<Local>),
}

impl Rewriter {
    /// The name in the manifest.
    pub fn name(&self) -> String {
        match self {
            Self::Rules => "rules".to_owned(),
            Self::Endpoint(endpoint) => format!("endpoint, model {}", endpoint.model),
            Self::Local(local) => format!("model {}", local.name()),
        }
    }

    /// Rewords the summaries in place. An empty answer leaves a summary as the rules made it; gives
    /// how many were left so.
    pub(super) fn reword(
        &self,
        pairs: &mut [Pair],
        out: &Path,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<usize, DatasetError> {
        if matches!(self, Self::Rules) {
            return Ok(0);
        }
        let mut left = 0;
        progress(Progress::Rewording(pairs.len()));
        let mut cache = Cache::open(&out.join("rewrites.jsonl"))?;
        for pair in pairs {
            let key = cache::key(&self.name(), INSTRUCTION, &pair.summary);
            let reworded = if let Some(text) = cache.get(&key) {
                text.to_owned()
            } else {
                let text = self.ask(&pair.summary)?;
                // None at all is asked for again: the limit may have been raised since.
                if !text.trim().is_empty() {
                    cache.put(key, &text)?;
                }
                text
            };
            let text = reworded.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.is_empty() {
                left += 1;
            } else {
                pair.summary = text;
            }
            progress(Progress::Reworded);
        }
        Ok(left)
    }

    fn ask(&self, summary: &str) -> Result<String, DatasetError> {
        match self {
            Self::Rules => Ok(summary.to_owned()),
            Self::Endpoint(endpoint) => endpoint.ask(INSTRUCTION, summary),
            Self::Local(local) => local.ask(INSTRUCTION, summary),
        }
    }
}
