//! A model ready to draft: an image and a question in, a text out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::chain::{Chain, Encoded};
use super::checkpoint::{Manifest, ModelFiles};
use super::error::{ModelError, Step};
use super::generate::{DraftRun, Ended, Question};
use super::prompt::{PromptChoice, PromptTokens};
use super::saliency::{self, Saliency};
use super::sample::Sampling;
use super::scope::NOT_MADE_FOR;
use super::tokenizer::Tokenizer;
use super::vision::preprocess::{self, Fitted, Frame, Shape};
use crate::findings::{self, Assessed, Score};
use crate::radiograph::GreyImage;

/// The label of the score that says whether a study is abnormal.
pub const ABNORMAL: &str = "abnormal";

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftRequest {
    /// The question.
    pub prompt: PromptChoice,
    /// The conversation template, by name; the model's first without one.
    pub template: Option<String>,
    /// How the answer is drawn.
    pub sampling: Sampling,
    /// Whether a model without heads is asked for its findings too.
    pub ask_findings: bool,
}

impl Default for DraftRequest {
    fn default() -> Self {
        let (prompt, sampling) = (PromptChoice::Number(1), Sampling::default());
        Self { prompt, template: None, sampling, ask_findings: true }
    }
}

/// What a model says of an image.
#[derive(Clone, PartialEq)]
pub struct ModelDraft {
    /// The text, without white space around it.
    pub text: String,
    /// The generated tokens, without prompt, stop sequence and end of sequence.
    pub token_ids: Vec<u32>,
    /// The natural logarithm of the probability of each of these tokens, by the model's own
    /// logits: before temperature and penalties.
    pub log_probabilities: Vec<f32>,
    /// What ended the text.
    pub ended: Ended,
    /// The question as it was put.
    pub prompt: String,
    /// Probability that the study is abnormal, where the model gives one.
    pub abnormal: Option<f32>,
    /// Probability of each observation that the model scores.
    pub scores: Vec<(String, f32)>,
    /// Where the model looked for its strongest finding, where it can tell.
    pub looked: Option<Saliency>,
    /// How long each step took.
    pub seconds: Seconds,
}

/// The text and the scores are a patient's: only their size is shown.
impl std::fmt::Debug for ModelDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.token_ids.len();
        f.debug_struct("ModelDraft").field("tokens", &tokens).finish_non_exhaustive()
    }
}

impl ModelDraft {
    /// The scores of known observations, with the thresholds of the model.
    pub fn scored(&self, thresholds: &BTreeMap<String, f32>) -> Vec<Score> {
        let one = |(name, value): &(String, f32)| {
            let threshold = thresholds.get(name).copied();
            Some(Score { observation: name.parse().ok()?, value: *value, threshold })
        };
        self.scores.iter().filter_map(one).collect()
    }

    /// What text and scores say together.
    pub fn assessed(&self, thresholds: &BTreeMap<String, f32>) -> Vec<Assessed> {
        findings::assess(&findings::label(&self.text), &self.scored(thresholds))
    }
}

/// How long each step took, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// From the grey image to image tokens.
    pub encode: f64,
    /// The questions after findings, of a model that is asked them.
    pub ask: f64,
    /// From image tokens to the first token.
    pub prefill: f64,
    /// The tokens after the first.
    pub decode: f64,
}

impl Seconds {
    /// By the name of the step; without the questions where none were asked.
    pub fn by_step(&self) -> serde_json::Map<String, serde_json::Value> {
        let steps = [
            ("encode", self.encode),
            ("ask", self.ask),
            ("prefill", self.prefill),
            ("decode", self.decode),
        ];
        let taken = steps.into_iter().filter(|(step, seconds)| *step != "ask" || *seconds > 0.0);
        taken.map(|(step, seconds)| (step.to_owned(), seconds.into())).collect()
    }
}

/// What the text of a draft comes from: all of the image that the language model sees.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    image_tokens: Tensor,
    abnormal: Option<f32>,
    scores: Vec<(String, f32)>,
    maps: Vec<Saliency>,
    known: bool,
    seconds: f64,
    asked: f64,
}

impl ImageFeatures {
    /// `[1, positions, hidden size]`.
    pub fn image_tokens(&self) -> &Tensor {
        &self.image_tokens
    }

    /// Probability that the study is abnormal.
    pub fn abnormal(&self) -> Option<f32> {
        self.abnormal
    }

    /// The draft of an image that the model is not made for: neither a text about it nor a score.
    pub(in crate::model) fn not_made_for(&self, question: &str) -> ModelDraft {
        ModelDraft {
            text: NOT_MADE_FOR.to_owned(),
            token_ids: vec![],
            log_probabilities: vec![],
            ended: Ended::Stop,
            prompt: question.to_owned(),
            abnormal: None,
            scores: vec![],
            looked: None,
            seconds: Seconds { encode: self.seconds, ..Seconds::default() },
        }
    }

    /// Whether the image is of the kind that the model is made for.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Passed off as an image of that kind: to see that the model writes at all.
    #[must_use]
    pub fn taken_as_known(self) -> Self {
        Self { known: true, ..self }
    }

    /// Probability of each observation that the model scores.
    pub fn scores(&self) -> &[(String, f32)] {
        &self.scores
    }

    /// What each patch gives to each score, "abnormal" included; empty for a model that cannot tell.
    pub fn saliency(&self) -> &[Saliency] {
        &self.maps
    }

    /// How long encoding took, seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// How long the questions after findings took, seconds.
    pub fn asked_seconds(&self) -> f64 {
        self.asked
    }

    /// With the scores that questions gave.
    pub(in crate::model) fn with_answers(mut self, scores: Vec<(String, f32)>, asked: f64) -> Self {
        self.scores = scores;
        self.abnormal = take_abnormal(&mut self.scores);
        self.asked = asked;
        self
    }
}

/// "Abnormal" stands apart from the observations.
fn take_abnormal(scores: &mut Vec<(String, f32)>) -> Option<f32> {
    let at = scores.iter().position(|(label, _)| label == ABNORMAL)?;
    Some(scores.remove(at).1)
}

/// A model in memory.
#[derive(Clone, Debug)]
pub struct Model {
    manifest: Manifest,
    digest: String,
    tokenizer: Tokenizer,
    chain: Chain,
    device: Device,
}

impl Model {
    /// Loads a model directory, or without one the model that lies in the program, to a device.
    pub fn open_on(folder: Option<&Path>, device: &Device) -> Result<Self, ModelError> {
        Self::load(&Self::files(folder)?, device)
    }

    /// The files of a model directory, or of the model that lies in the program: no weights are
    /// read.
    pub fn files(folder: Option<&Path>) -> Result<ModelFiles, ModelError> {
        folder.map_or_else(super::embedded::files, ModelFiles::open)
    }

    /// Loads a model directory to the CPU.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        Self::open_on(Some(folder), &Device::Cpu)
    }

    /// Loads the model that lies in the program.
    pub fn embedded() -> Result<Self, ModelError> {
        Self::open_on(None, &Device::Cpu)
    }

    /// Loads a model to a device. On the CPU it computes in f32, and the matrices of linear layers
    /// stay as small as they are in the file; a GPU computes in 16 bits what is stored in 16 bits
    /// or less.
    pub fn load(files: &ModelFiles, device: &Device) -> Result<Self, ModelError> {
        let manifest = files.manifest().clone();
        let special = vec![manifest.tokenizer.bos, manifest.tokenizer.eos];
        let tokenizer = Tokenizer::from_json(&files.read(&manifest.tokenizer.file)?, special)?;
        let (ids, vocabulary) = (tokenizer.size(), manifest.language_model.vocab_size);
        if ids > vocabulary {
            let reason = format!("{ids} ids for a language model of {vocabulary}");
            return Err(ModelError::invalid(&manifest.tokenizer.file, reason));
        }
        let stored = files.stored()?;
        let expected = super::checkpoint::expect::shapes(&manifest)?;
        super::checkpoint::expect::compare(&expected, &stored.shapes())?;
        let dtype = super::device::computes_in(device, &manifest, &stored);
        let source = VarBuilder::from_backend(Box::new(stored), dtype, device.clone());
        let chain = Chain::load(&manifest, &source).step("loading the model")?;
        let digest = files.digest().to_owned();
        let model = Self { manifest, digest, tokenizer, chain, device: device.clone() };
        model.check_questions()?;
        Ok(model)
    }

    /// What the model is called.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// SHA-256 of the manifest, hexadecimal: the model's version.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The questions it was aligned on.
    pub fn prompts(&self) -> &[String] {
        &self.manifest.prompts
    }

    /// The age in years from which on it is made for patients, where it says so.
    pub fn youngest(&self) -> Option<u32> {
        self.manifest.scope.as_ref().and_then(|scope| scope.youngest_years)
    }

    /// Everything about it but its numbers.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// From which score on an observation counts as positive, by its name.
    pub fn thresholds(&self) -> BTreeMap<String, f32> {
        let heads = self.manifest.scores.as_ref().map(|scores| &scores.thresholds);
        let asked = self.manifest.questions.as_ref().map(|questions| &questions.thresholds);
        heads.or(asked).cloned().unwrap_or_default()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its tensors.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// How its encoder wants an image.
    pub fn shape(&self) -> Shape {
        Shape::of(&self.manifest)
    }

    /// Encodes an image and keeps every step, for comparisons.
    pub fn encode_steps(&self, image: &GreyImage) -> Result<(Tensor, Encoded), ModelError> {
        self.steps(&self.shape().fitted(image).image)
    }

    /// The same for an image of the encoder's size.
    fn steps(&self, resized: &GreyImage) -> Result<(Tensor, Encoded), ModelError> {
        let pixels = preprocess::pixels(resized, &self.manifest, &self.device)
            .step("preparing the image")?;
        let encoded = self.chain.encode(&pixels).step("encoding the image")?;
        Ok((pixels, encoded))
    }

    /// Encodes an image.
    pub fn encode(&self, image: &GreyImage) -> Result<ImageFeatures, ModelError> {
        self.encode_fitted(&self.shape().fitted(image))
    }

    /// Encodes an image of the encoder's size.
    pub(in crate::model) fn encode_fitted(
        &self,
        fitted: &Fitted,
    ) -> Result<ImageFeatures, ModelError> {
        let start = Instant::now();
        let (_, encoded) = self.steps(&fitted.image)?;
        let labels = self.manifest.scores.as_ref().map_or(&[][..], |scores| &scores.labels);
        let values = match &encoded.scores {
            Some(scores) => {
                let flat = scores.to_dtype(DType::F32).and_then(|s| s.flatten_all());
                flat.and_then(|s| s.to_vec1::<f32>()).step("reading the scores")?
            }
            None => vec![],
        };
        let maps = self.maps(fitted.frame, &encoded, labels, &values)?;
        let mut scores = labels.iter().cloned().zip(values).collect::<Vec<_>>();
        let abnormal = take_abnormal(&mut scores);
        let known = encoded.known.iter().all(|known| *known);
        let seconds = start.elapsed().as_secs_f64();
        let image_tokens = encoded.image_tokens;
        Ok(ImageFeatures { image_tokens, abnormal, scores, maps, known, seconds, asked: 0.0 })
    }

    /// Where the model looked, for each of its scores.
    fn maps(
        &self,
        frame: Frame,
        encoded: &Encoded,
        labels: &[String],
        scores: &[f32],
    ) -> Result<Vec<Saliency>, ModelError> {
        if !self.manifest.image_encoder.has_patches() {
            return Ok(vec![]);
        }
        match self.chain.shares(&encoded.vision).step("telling where the model looked")? {
            Some(shares) => Saliency::maps(labels, scores, &shares, frame),
            None => Ok(vec![]),
        }
    }

    /// The map to show beside a draft of this image.
    pub(in crate::model) fn looked(&self, features: &ImageFeatures) -> Option<Saliency> {
        saliency::shown(&features.maps, &self.manifest)
    }

    /// Whether drafts can be asked for like this: a node says so at its start, not a job at a time.
    ///
    /// # Errors
    /// A prompt that the model has not or that does not fit, or a sampling that cannot be.
    pub fn check(&self, request: &DraftRequest) -> Result<(), ModelError> {
        Question::new(self, request).map(drop)
    }

    /// Drafts the text for an image.
    pub fn draft(
        &self,
        image: &GreyImage,
        request: &DraftRequest,
    ) -> Result<ModelDraft, ModelError> {
        self.draft_from(&self.features(&self.shape().fitted(image), request)?, request)
    }

    /// What the text of a draft comes from, with the scores that this request wants.
    pub(in crate::model) fn features(
        &self,
        image: &Fitted,
        request: &DraftRequest,
    ) -> Result<ImageFeatures, ModelError> {
        if request.ask_findings { self.examine_fitted(image) } else { self.encode_fitted(image) }
    }

    /// Drafts the text for an image already encoded.
    pub fn draft_from(
        &self,
        features: &ImageFeatures,
        request: &DraftRequest,
    ) -> Result<ModelDraft, ModelError> {
        let question = Question::new(self, request)?;
        if !features.known {
            return Ok(features.not_made_for(question.text()));
        }
        let mut run = DraftRun::start(self, question, features.clone(), None, None, None)?;
        while !run.step(self)? {}
        run.finish(self).map(|(draft, _)| draft)
    }

    /// Prefill and decode: hands the logits `[vocabulary]` of each step to `choose`, which gives
    /// the next token or ends the answer. At most `most` steps, and no more than fit the context.
    pub fn generate(
        &self,
        prompt: &PromptTokens,
        image_tokens: &Tensor,
        most: usize,
        mut choose: impl FnMut(&Tensor) -> Result<Option<u32>, ModelError>,
    ) -> Result<(), ModelError> {
        let language = &self.chain.language;
        let context = language.config().max_position_embeddings;
        let embeds = self
            .chain
            .prompt(&prompt.before, image_tokens, &prompt.after)
            .step("embedding the prompt")?;
        let length = embeds.dim(1).step("embedding the prompt")?;
        if length >= context {
            return Err(ModelError::Context { needed: length + 1, context });
        }
        let most = most.min(context - length);
        let mut cache = language.cache(length + most).step("making room for the answer")?;
        let mut logits = language.forward_last(&embeds, Some(&mut cache)).step("prefill")?;
        for step in 1..=most {
            let row = logits.get(0).step("reading logits")?;
            let Some(token) = choose(&row)? else { break };
            if step == most {
                break;
            }
            logits = Tensor::from_slice(&[token], (1, 1), &self.device)
                .and_then(|id| language.embed(&id))
                .and_then(|embeds| language.forward_last(&embeds, Some(&mut cache)))
                .step("decoding")?;
        }
        Ok(())
    }
}
