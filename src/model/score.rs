//! The probability of "yes" to questions about one image: what an open-ended model knows, as
//! numbers that can be ranked.

use std::time::Instant;

use super::draft::{ImageFeatures, Model};
use super::error::{ModelError, Step};
use super::generate::forward_prompts;
use super::prompt::{PromptTokens, template};
use super::tokenizer::Tokenizer;
use super::vision::preprocess::Fitted;
use crate::radiograph::GreyImage;

/// Questions that are put at once.
const TOGETHER: usize = 16;
/// How an answer can begin.
const YES: [&str; 4] = ["Yes", "yes", "YES", " Yes"];
const NO: [&str; 4] = ["No", "no", "NO", " No"];

/// The tokens that "yes" and "no" can begin with.
#[derive(Debug, Clone)]
pub(in crate::model) struct Answers {
    yes: Vec<u32>,
    no: Vec<u32>,
}

impl Answers {
    /// Of a tokenizer.
    ///
    /// # Errors
    /// Its tokens do not tell one from the other.
    pub(in crate::model) fn new(tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let starts = |words: [&str; 4]| {
            let mut starts = Vec::new();
            for word in words {
                starts.extend(tokenizer.encode(word)?.first());
            }
            Ok::<_, ModelError>(starts)
        };
        let (all_yes, all_no) = (starts(YES)?, starts(NO)?);
        let only = |own: &[u32], other: &[u32]| {
            let mut own = own.to_vec();
            own.retain(|id| !other.contains(id));
            own.sort_unstable();
            own.dedup();
            own
        };
        let (yes, no) = (only(&all_yes, &all_no), only(&all_no, &all_yes));
        if yes.is_empty() || no.is_empty() {
            let reason = "the model's tokens do not tell \"yes\" from \"no\" at their start";
            return Err(ModelError::Request(reason.to_owned()));
        }
        Ok(Self { yes, no })
    }
}

impl Model {
    /// What the text of a draft comes from, and what the model says of each finding: by its heads,
    /// or asked with the questions of its manifest.
    pub fn examine(&self, image: &GreyImage) -> Result<ImageFeatures, ModelError> {
        self.examine_fitted(&self.shape().fitted(image))
    }

    /// The same for an image of the encoder's size.
    pub(in crate::model) fn examine_fitted(
        &self,
        image: &Fitted,
    ) -> Result<ImageFeatures, ModelError> {
        let features = self.encode_fitted(image)?;
        let Some(questions) = &self.manifest().questions else { return Ok(features) };
        if !features.is_known() {
            return Ok(features);
        }
        let started = Instant::now();
        let texts: Vec<&str> = questions.ask.values().map(String::as_str).collect();
        let answers = self.yes_probabilities(&features, &texts, questions.template.as_deref())?;
        let scores = questions.ask.keys().zip(answers).map(|(label, probability)| {
            let temperature = questions.temperatures.get(label).copied().unwrap_or(1.0);
            (label.clone(), tempered(probability, temperature))
        });
        Ok(features.with_answers(scores.collect(), started.elapsed().as_secs_f64()))
    }

    /// Whether the questions of its manifest can be asked.
    pub(in crate::model) fn check_questions(&self) -> Result<(), ModelError> {
        let Some(questions) = &self.manifest().questions else { return Ok(()) };
        template(self.manifest(), questions.template.as_deref())?;
        Answers::new(self.tokenizer()).map(drop)
    }

    /// The probability of "yes" against "no" as the first word of the answer to each question, in
    /// the template of this name or in the model's first. The image and what stands before it are
    /// read once for all questions.
    pub fn yes_probabilities(
        &self,
        features: &ImageFeatures,
        questions: &[&str],
        name: Option<&str>,
    ) -> Result<Vec<f32>, ModelError> {
        let answers = Answers::new(self.tokenizer())?;
        let template = template(self.manifest(), name)?;
        let prompt = |question: &&str| {
            PromptTokens::new(self.manifest(), self.tokenizer(), &template, question)
        };
        let prompts = questions.iter().map(prompt).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = prompts.first() else { return Ok(vec![]) };
        let language = &self.chain().language;
        let shared = self
            .chain()
            .prompt(&first.before, features.image_tokens(), &[])
            .step("embedding the prompt")?;
        let held = shared.dim(1).step("embedding the prompt")?;
        let context = language.config().max_position_embeddings;
        let longest = prompts.iter().map(|prompt| prompt.after.len()).max().unwrap_or(0);
        if held + longest > context {
            return Err(ModelError::Context { needed: held + longest, context });
        }
        let mut prefix = language.cache(held).step("making room for the prompt")?;
        language.prefill(&shared, &mut prefix).step("prefill")?;
        let mut probabilities = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(TOGETHER) {
            let ends = prompts.iter().map(|prompt| prompt.after.as_slice()).collect::<Vec<_>>();
            for logits in forward_prompts(language, &prefix, &ends)? {
                probabilities.push(share(&logits, &answers)?);
            }
        }
        Ok(probabilities)
    }
}

/// The probability after its logit was divided by a temperature.
pub fn tempered(probability: f32, temperature: f64) -> f32 {
    (1.0 / (1.0 + (-logit(probability) / temperature).exp())) as f32
}

/// The logarithm of the odds of a probability, finite.
pub fn logit(probability: f32) -> f64 {
    let p = f64::from(probability).clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// The share of `yes` in the probability of both.
fn share(logits: &[f32], answers: &Answers) -> Result<f32, ModelError> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |ids: &[u32]| {
        let logits = ids.iter().filter_map(|id| logits.get(*id as usize));
        logits.map(|logit| f64::from(logit - most).exp()).sum::<f64>()
    };
    let (yes, no) = (weight(&answers.yes), weight(&answers.no));
    let share = yes / (yes + no);
    if share.is_finite() {
        return Ok(share as f32);
    }
    let reason = "the model gave no finite number: its weights are broken";
    Err(ModelError::Request(reason.to_owned()))
}
