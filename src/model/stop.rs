//! Where an answer ends: at the end of sequence, a stop sequence of tokens, or a stop text.

use super::checkpoint::Manifest;
use super::checkpoint::manifest::ConversationTemplate;
use super::error::ModelError;
use super::tokenizer::Tokenizer;

/// How many of the last tokens can hold a stop text that the last one completed.
const TAIL: usize = 16;

/// The ends of an answer in one conversation template of a model.
#[derive(Clone, Debug)]
pub struct Stop {
    eos: u32,
    tokens: Vec<Vec<u32>>,
    texts: Vec<String>,
}

impl Stop {
    /// As manifest and template say.
    pub fn new(manifest: &Manifest, template: &ConversationTemplate) -> Self {
        let conversation = &manifest.conversation;
        Self {
            eos: manifest.tokenizer.eos,
            tokens: [&conversation.stop_tokens[..], &template.stop_tokens].concat(),
            texts: [&conversation.stop_texts[..], &template.stop_texts].concat(),
        }
    }

    /// How many tokens of `ids` are the answer, when the last of them ends it.
    pub fn end(&self, ids: &[u32], tokenizer: &Tokenizer) -> Result<Option<usize>, ModelError> {
        if ids.last() == Some(&self.eos) {
            return Ok(Some(ids.len() - 1));
        }
        if let Some(stop) = self.tokens.iter().find(|stop| ids.ends_with(stop)) {
            return Ok(Some(ids.len() - stop.len()));
        }
        if self.texts.is_empty() {
            return Ok(None);
        }
        // The same text may come in other tokens; only the last few can complete it.
        let tail = ids.get(ids.len().saturating_sub(TAIL)..).unwrap_or_default();
        let text = tokenizer.decode(tail)?;
        if !self.texts.iter().any(|stop| text.contains(stop.as_str())) {
            return Ok(None);
        }
        let whole = tokenizer.decode(ids)?;
        let Some(end) = self.texts.iter().filter_map(|stop| whole.find(stop.as_str())).min() else {
            return Ok(None);
        };
        let mut length = ids.len();
        while length > 0 && tokenizer.decode(ids.get(..length).unwrap_or_default())?.len() > end {
            length -= 1;
        }
        Ok(Some(length))
    }

    /// How many of the last tokens may still turn out to be the start of a stop sequence.
    pub fn pending_tokens(&self, ids: &[u32]) -> usize {
        let starts =
            self.tokens.iter().flat_map(|stop| (1..stop.len()).map(move |n| stop.get(..n)));
        let met = starts.flatten().filter(|start| ids.ends_with(start)).map(<[u32]>::len);
        met.max().unwrap_or(0)
    }

    /// How many bytes at the end of `text` may still turn out to be the start of a stop text.
    pub fn pending_bytes(&self, text: &str) -> usize {
        let starts = self
            .texts
            .iter()
            .flat_map(|stop| stop.char_indices().skip(1).filter_map(move |(n, _)| stop.get(..n)));
        starts.filter(|start| text.ends_with(start)).map(str::len).max().unwrap_or(0)
    }
}
