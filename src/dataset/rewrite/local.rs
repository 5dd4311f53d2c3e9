//! The language model of a model directory, asked without an image.

use std::path::Path;

use crate::dataset::error::DatasetError;
use crate::model::prompt::{PromptTokens, template};
use crate::model::stop::Stop;
use crate::model::{Model, ModelError};

/// The most tokens of an answer.
const MOST: usize = 300;

/// A model that words summaries.
#[derive(Debug)]
pub struct Local {
    model: Model,
}

impl Local {
    /// Opens a model directory.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        Ok(Self { model: Model::open(dir)? })
    }

    /// Its name and version.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.model.name(), self.model.digest())
    }

    /// Its answer to an instruction and a text.
    pub(super) fn ask(&self, instruction: &str, text: &str) -> Result<String, DatasetError> {
        let answer = self.answer(&format!("{instruction}\n\n{text}"));
        answer.map_err(|source| DatasetError::Model { name: self.name(), source })
    }

    /// Greedy, in the model's own template, without its image.
    fn answer(&self, question: &str) -> Result<String, ModelError> {
        let (manifest, tokenizer) = (self.model.manifest(), self.model.tokenizer());
        let template = template(manifest, None)?;
        let mut before = vec![manifest.tokenizer.bos];
        before.extend(tokenizer.encode(&format!("{}{question}", template.user))?);
        // What an image would be stands between two parts of a prompt; here it is the last of the
        // words that open the answer.
        let mut opening = tokenizer.encode(&template.assistant)?;
        let last = opening.pop().map_or_else(Vec::new, |last| vec![last]);
        before.extend(opening);
        let failed = |source| ModelError::Compute { step: "embedding the prompt", source };
        let last = self.model.chain().language.embed_tokens(&last).map_err(failed)?;
        let stop = Stop::new(manifest, &template);
        let mut ids = Vec::new();
        let mut kept = None;
        self.model.generate(&PromptTokens { before, after: vec![] }, &last, MOST, |logits| {
            let values = logits.to_vec1::<f32>().map_err(failed)?;
            let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let Some((token, _)) = best else { return Ok(None) };
            ids.push(token as u32);
            kept = stop.end(&ids, tokenizer)?;
            Ok(kept.is_none().then_some(token as u32))
        })?;
        ids.truncate(kept.unwrap_or(ids.len()));
        tokenizer.decode(&ids)
    }
}
