//! Where an answer ends: at the end of sequence, a stop sequence of tokens, or a stop text.

use super::checkpoint::Manifest;
use super::error::ModelError;
use super::tokenizer::Tokenizer;

/// The model's ends of an answer.
#[derive(Clone, Debug)]
pub struct Stop {
    eos: u32,
    tokens: Vec<Vec<u32>>,
    texts: Vec<String>,
}

impl Stop {
    /// As the manifest says.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            eos: manifest.tokenizer.eos,
            tokens: manifest.conversation.stop_tokens.clone(),
            texts: manifest.conversation.stop_texts.clone(),
        }
    }

    /// Whether `ids` has come to an end; if so, what ends it is taken off.
    pub fn reached(&self, ids: &mut Vec<u32>, tokenizer: &Tokenizer) -> Result<bool, ModelError> {
        if ids.last() == Some(&self.eos) {
            ids.pop();
            return Ok(true);
        }
        if let Some(stop) = self.tokens.iter().find(|stop| ids.ends_with(stop)) {
            ids.truncate(ids.len() - stop.len());
            return Ok(true);
        }
        // The same text may come in other tokens; only the last few can complete it.
        let tail = ids.get(ids.len().saturating_sub(16)..).unwrap_or_default();
        let text = tokenizer.decode(tail)?;
        if !self.texts.iter().any(|stop| text.contains(stop.as_str())) {
            return Ok(false);
        }
        let whole = tokenizer.decode(ids)?;
        let Some(end) = self.texts.iter().filter_map(|stop| whole.find(stop.as_str())).min() else {
            return Ok(false);
        };
        while !ids.is_empty() && tokenizer.decode(ids)?.len() > end {
            ids.pop();
        }
        Ok(true)
    }
}
