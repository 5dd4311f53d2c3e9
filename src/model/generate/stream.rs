//! The text of an answer while it comes: never half a character, never part of a stop sequence.

use std::fmt;

use crate::model::error::ModelError;
use crate::model::stop::Stop;
use crate::model::tokenizer::Tokenizer;

/// Is given each new piece of an answer's text, on the thread that makes it.
pub type Watch = Box<dyn FnMut(&str) + Send>;

/// Tells a [`Watch`] of an answer's text. All pieces together are the text of the draft.
pub(super) struct Stream {
    watch: Watch,
    told: String,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("told", &self.told.len()).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(watch: Watch) -> Self {
        Self { watch, told: String::new() }
    }

    /// Tells what no later token can take back.
    pub(super) fn tell(
        &mut self,
        ids: &[u32],
        stop: &Stop,
        tokenizer: &Tokenizer,
    ) -> Result<(), ModelError> {
        let open = stop.pending_tokens(ids).max(tokenizer.open_bytes(ids));
        let mut settled = ids.len().saturating_sub(open);
        let start = |settled| tokenizer.decode(ids.get(..settled).unwrap_or_default());
        let mut text = start(settled)?;
        let pending = stop.pending_bytes(&text);
        let end = text.len() - pending;
        // A stop text takes with it the whole token that it begins in.
        while pending > 0 && settled > 0 && text.len() > end {
            settled -= 1;
            text = start(settled)?;
        }
        // What stands for the bytes of a character that is not complete.
        self.pass(text.trim_end_matches(char::REPLACEMENT_CHARACTER).trim());
        Ok(())
    }

    /// Tells the rest of the answer.
    pub(super) fn complete(
        &mut self,
        ids: &[u32],
        tokenizer: &Tokenizer,
    ) -> Result<(), ModelError> {
        let text = tokenizer.decode(ids)?;
        self.pass(text.trim());
        Ok(())
    }

    fn pass(&mut self, text: &str) {
        if let Some(new) = text.strip_prefix(self.told.as_str())
            && !new.is_empty()
        {
            (self.watch)(new);
            self.told.push_str(new);
        }
    }
}
