//! The prompt: the conversation template around a question, cut where the image stands.

use super::checkpoint::Manifest;
use super::checkpoint::manifest::ConversationTemplate;
use super::error::ModelError;
use super::tokenizer::Tokenizer;
use crate::config::PromptSetting;

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

    /// What to say of a text that is none of the embedded model's own prompts.
    pub fn unknown_to_embedded(&self, prompts: &[String]) -> Option<String> {
        let Self::Text(text) = self else { return None };
        if prompts.iter().any(|own| own == text) {
            return None;
        }
        let count = prompts.len();
        Some(format!(
            "the embedded model was made for drafts alone and knows no prompts but its own {count}: it \
             answers {text:?} with a draft all the same; write a number from 1 to {count}, or import a \
             checkpoint that answers questions"
        ))
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

impl From<&PromptSetting> for PromptChoice {
    fn from(setting: &PromptSetting) -> Self {
        match setting {
            PromptSetting::Number(number) => Self::Number(*number),
            PromptSetting::Text(text) => Self::Text(text.clone()),
        }
    }
}

/// The token ids before and after the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    /// Before, with the begin of sequence: the same for every question.
    pub before: Vec<u32>,
    /// After.
    pub after: Vec<u32>,
}

impl PromptTokens {
    /// The first turn with `question`. Each side of the image is tokenized on its own, and only
    /// the first gets a begin of sequence, as XrayGPT does.
    pub fn new(
        manifest: &Manifest,
        tokenizer: &Tokenizer,
        template: &ConversationTemplate,
        question: &str,
    ) -> Result<Self, ModelError> {
        let (before, after) = template.first_turn(question);
        let mut ids = vec![manifest.tokenizer.bos];
        ids.extend(tokenizer.encode(&before)?);
        Ok(Self { before: ids, after: tokenizer.encode(&after)? })
    }
}

/// The model's template of this name; without one, its first.
pub fn template(
    manifest: &Manifest,
    name: Option<&str>,
) -> Result<ConversationTemplate, ModelError> {
    let choices = manifest.conversation.choices();
    let found = match name {
        Some(name) => choices.iter().find(|template| template.name == name),
        None => choices.first(),
    };
    found.cloned().ok_or_else(|| {
        let names = choices.iter().map(|template| template.name.as_str()).collect::<Vec<_>>();
        ModelError::Template { name: name.unwrap_or_default().to_owned(), names: names.join(", ") }
    })
}
