//! Text to tokens and back, by the `tokenizers` library.

pub mod sentencepiece;

use std::path::Path;

use super::error::ModelError;

/// A tokenizer of one model.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: Vec<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `special` are ids that [`decode`](Self::decode) leaves out.
    pub fn from_json(json: &[u8], special: Vec<u32>) -> Result<Self, ModelError> {
        let inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| ModelError::invalid("tokenizer.json", e.to_string()))?;
        Ok(Self { inner, special })
    }

    /// Reads `tokenizer.json`, or a SentencePiece `tokenizer.model`, by the file's name.
    pub fn open(path: &Path, special: Vec<u32>) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        if path.extension().is_some_and(|e| e == "model") {
            let pieces = sentencepiece::SentencePiece::parse(&bytes)
                .map_err(|reason| ModelError::invalid(path, reason))?;
            return Self::from_json(&pieces.to_json(), special);
        }
        Self::from_json(&bytes, special)
    }

    /// How many ids there are.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// How many of the last ids are bytes that a later one may still make a character of.
    pub fn open_bytes(&self, ids: &[u32]) -> usize {
        let byte = |id: &&u32| {
            let token = self.inner.id_to_token(**id);
            token.is_some_and(|t| t.len() == 6 && t.starts_with("<0x") && t.ends_with('>'))
        };
        ids.iter().rev().take_while(byte).count()
    }

    /// The ids of a text, without begin or end of sequence.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|e| ModelError::Request(format!("the text cannot be tokenized: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids; special ids are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        let ids = ids.iter().copied().filter(|id| !self.special.contains(id)).collect::<Vec<_>>();
        self.inner
            .decode(&ids, true)
            .map_err(|e| ModelError::Request(format!("the tokens cannot be decoded: {e}")))
    }
}
