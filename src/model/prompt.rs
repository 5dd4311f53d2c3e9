//! The prompt: the conversation template around a question, cut where the image stands.

use super::checkpoint::Manifest;
use super::checkpoint::manifest::{IMAGE_HERE, PROMPT_HERE};
use super::error::ModelError;
use super::tokenizer::Tokenizer;

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptChoice {
    /// One of the model's own prompts, the first being 1.
    Number(usize),
    /// A text to put inside the model's template.
    Text(String),
}

impl PromptChoice {
    /// Reads a number as the number of a prompt and anything else as its text.
    pub fn parse(text: &str) -> Self {
        match text.trim().parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Text(text.to_owned()),
        }
    }

    /// The question itself.
    pub fn resolve<'a>(&'a self, prompts: &'a [String]) -> Result<&'a str, ModelError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(number) => number
                .checked_sub(1)
                .and_then(|i| prompts.get(i))
                .map(String::as_str)
                .ok_or(ModelError::Prompt { number: *number, count: prompts.len() }),
        }
    }
}

/// The token ids before and after the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    /// Before, with the begin of sequence.
    pub before: Vec<u32>,
    /// After.
    pub after: Vec<u32>,
}

impl PromptTokens {
    /// Fills the template with `question`. Each side of the image is tokenized on its own, and only
    /// the first gets a begin of sequence, as XrayGPT does.
    pub fn new(
        manifest: &Manifest,
        tokenizer: &Tokenizer,
        question: &str,
    ) -> Result<Self, ModelError> {
        let template = &manifest.conversation.template;
        let (before, after) = template.split_once(IMAGE_HERE).unwrap_or((template, ""));
        let fill = |part: &str| tokenizer.encode(&part.replace(PROMPT_HERE, question));
        let mut ids = vec![manifest.tokenizer.bos];
        ids.extend(fill(before)?);
        Ok(Self { before: ids, after: fill(after)? })
    }
}
