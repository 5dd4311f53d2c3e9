//! `[conversation]` of a manifest: how image, questions and answers stand together as text.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The place of the image in a template.
pub const IMAGE_HERE: &str = "<ImageHere>";
/// The place of the prompt in a single template.
pub const PROMPT_HERE: &str = "{prompt}";

/// The name of a manifest's single template, where it is none of the project's own.
const SINGLE: &str = "single";
/// The image in both of the project's own templates.
const IMAGE: &str = "<Img><ImageHere></Img> ";

/// How a conversation is written, and where an answer ends.
///
/// A manifest names its templates, the first being the default, or gives a single one as a text
/// with `<ImageHere>` and `{prompt}`; the project's own templates then stand beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// The single template: the first turn, with `<ImageHere>` and `{prompt}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// Texts that end an answer, whatever the template.
    #[serde(default)]
    pub stop_texts: Vec<String>,
    /// Token sequences that end an answer, whatever the template.
    #[serde(default)]
    pub stop_tokens: Vec<Vec<u32>>,
    /// The named templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<ConversationTemplate>,
}

/// One way to write a conversation: `system`, then for each turn `user`, on the first turn
/// `image`, the question, `assistant`, the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversationTemplate {
    /// What it is chosen by.
    pub name: String,
    /// What stands before the first turn.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// Who asks, with the separators around: `###Patient: `.
    pub user: String,
    /// What the first turn has before its question, with `<ImageHere>`.
    pub image: String,
    /// Who answers, with the separators around: ` ###Doctor: `.
    pub assistant: String,
    /// Texts that end an answer, beside those of every template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_texts: Vec<String>,
    /// Token sequences that end an answer, beside those of every template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_tokens: Vec<Vec<u32>>,
}

impl ConversationTemplate {
    /// The conversation that XrayGPT was aligned in.
    pub fn patient_doctor() -> Self {
        Self {
            name: "patient-doctor".to_owned(),
            user: "###Patient: ".to_owned(),
            image: IMAGE.to_owned(),
            assistant: " ###Doctor: ".to_owned(),
            ..Self::default()
        }
    }

    /// MiniGPT-4's conversation, in which XrayGPT's demonstration talks: a system text, then
    /// Human and Assistant.
    pub fn human_assistant() -> Self {
        Self {
            name: "human-assistant".to_owned(),
            system: "Give the following image: <Img>ImageContent</Img>. You will be able to see \
                     the image once I provide it to you. Please answer my questions."
                .to_owned(),
            user: "###Human: ".to_owned(),
            image: IMAGE.to_owned(),
            assistant: "###Assistant:".to_owned(),
            ..Self::default()
        }
    }

    /// The project's own, the default first.
    pub fn own() -> Vec<Self> {
        vec![Self::patient_doctor(), Self::human_assistant()]
    }

    /// One that says what a single template says, where its prompt stands after the image.
    fn single(text: &str) -> Option<Self> {
        let own = Self::patient_doctor();
        if text == format!("{}{}{PROMPT_HERE}{}", own.user, own.image, own.assistant) {
            return Some(own);
        }
        let (start, assistant) = text.split_once(PROMPT_HERE)?;
        let (before, after) = start.split_once(IMAGE_HERE)?;
        // The tag around the image belongs to it, and comes once.
        let user = before.strip_suffix("<Img>").unwrap_or(before);
        let tag = before.strip_prefix(user).unwrap_or_default();
        Some(Self {
            name: SINGLE.to_owned(),
            user: user.to_owned(),
            image: format!("{tag}{IMAGE_HERE}{after}"),
            assistant: assistant.to_owned(),
            ..Self::default()
        })
    }

    /// The texts before and after the image of the first turn.
    pub fn first_turn(&self, question: &str) -> (String, String) {
        let (before, after) = self.image.split_once(IMAGE_HERE).unwrap_or((&self.image, ""));
        let before = format!("{}{}{before}", self.system, self.user);
        (before, format!("{after}{question}{}", self.assistant))
    }

    /// What stands between the image of the first turn and its question, and what after it.
    pub fn first_turn_around(&self) -> (String, String) {
        let after = self.image.split_once(IMAGE_HERE).map_or("", |(_, after)| after);
        (after.to_owned(), self.assistant.clone())
    }

    /// The text of a later turn.
    pub fn later_turn(&self, question: &str) -> String {
        format!("{}{question}{}", self.user, self.assistant)
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() {
            return Err("a template needs a name".to_owned());
        }
        if self.image.matches(IMAGE_HERE).count() != 1 {
            return Err(format!("template {name}: image needs {IMAGE_HERE} once"));
        }
        let others = [&self.system, &self.user, &self.assistant];
        if others.iter().any(|text| text.contains(IMAGE_HERE)) {
            return Err(format!("template {name}: {IMAGE_HERE} belongs into image alone"));
        }
        Ok(())
    }
}

impl Conversation {
    /// The templates there are, the default first.
    pub fn choices(&self) -> Cow<'_, [ConversationTemplate]> {
        if !self.templates.is_empty() {
            return Cow::Borrowed(&self.templates);
        }
        let mut all = Vec::from_iter(ConversationTemplate::single(&self.template));
        for own in ConversationTemplate::own() {
            if all.iter().all(|template| template.name != own.name) {
                all.push(own);
            }
        }
        Cow::Owned(all)
    }

    /// The token sequences named anywhere.
    fn all_stop_tokens(&self) -> impl Iterator<Item = &Vec<u32>> {
        let named = self.templates.iter().flat_map(|template| &template.stop_tokens);
        self.stop_tokens.iter().chain(named)
    }

    /// Says in words what cannot be, in a vocabulary of so many tokens.
    pub fn check(&self, vocabulary: usize) -> Result<(), String> {
        match (self.template.is_empty(), self.templates.is_empty()) {
            (true, true) => return Err("no template".to_owned()),
            (false, false) => {
                return Err("a single template and templates; keep one of the two".to_owned());
            }
            (false, true) => {
                let once = |mark| self.template.matches(mark).count() == 1;
                if !once(IMAGE_HERE) || !once(PROMPT_HERE) {
                    return Err(format!("template needs {IMAGE_HERE} and {PROMPT_HERE} once each"));
                }
                if self.template.find(PROMPT_HERE) < self.template.find(IMAGE_HERE) {
                    return Err(format!("template needs {PROMPT_HERE} after {IMAGE_HERE}"));
                }
            }
            (true, false) => {}
        }
        for (i, template) in self.templates.iter().enumerate() {
            template.check()?;
            if self.templates.iter().take(i).any(|other| other.name == template.name) {
                return Err(format!("two templates are called {}", template.name));
            }
        }
        if self.all_stop_tokens().flatten().any(|id| *id as usize >= vocabulary) {
            return Err(format!("a stop token lies outside the vocabulary of {vocabulary}"));
        }
        let mut texts =
            self.stop_texts.iter().chain(self.templates.iter().flat_map(|t| &t.stop_texts));
        if self.all_stop_tokens().any(Vec::is_empty) || texts.any(String::is_empty) {
            return Err("an empty stop sequence would end every answer".to_owned());
        }
        Ok(())
    }
}
