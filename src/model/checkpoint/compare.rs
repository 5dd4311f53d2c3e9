//! A model's every stage against the outputs of another implementation.

use candle_core::{DType, Tensor};

use super::Tensors;
use super::manifest::Manifest;
use super::quantize::WeightType;
use crate::model::draft::Model;
use crate::model::error::{ModelError, Step};
use crate::model::prompt::{PromptChoice, PromptTokens, template};
use crate::model::vision::preprocess;
use crate::radiograph::GreyImage;

/// The largest difference over the largest magnitude of a stage that still counts as equal.
pub const TOLERANCE: f64 = 1e-4;
/// The smallest cosine of a stage that still counts as equal with weights in 16 bits.
pub const COSINE: f64 = 0.999;

/// One stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tensor's name in the file compared with.
    pub stage: String,
    /// Largest difference over largest magnitude; for whole numbers, how many differ over all.
    pub difference: f64,
    /// The cosine of the angle between the two; none for whole numbers.
    pub cosine: Option<f64>,
    /// What counts as equal.
    pub limit: Limit,
    /// How it went, in words, where numbers do not say it.
    pub note: String,
}

/// What counts as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// A difference up to this.
    Difference(f64),
    /// A cosine from this on: of weights in 16 bits.
    Cosine(f64),
    /// Nothing: what rounded weights make of it is shown, not judged.
    Open,
}

impl Row {
    /// Whether the stage is equal within its limit.
    pub fn passed(&self) -> bool {
        match self.limit {
            Limit::Difference(most) => self.difference <= most,
            Limit::Cosine(least) => self.cosine.is_some_and(|cosine| cosine >= least),
            Limit::Open => true,
        }
    }
}

/// What counts as equal in the stages of a model, by what its weights were rounded to.
struct Limits {
    /// Of the stages before the language model.
    image: Limit,
    /// Of its numbers.
    language: Limit,
    /// Of the tokens that it chooses.
    choices: Limit,
}

impl Limits {
    fn of(manifest: &Manifest) -> Self {
        let exact = Limit::Difference(TOLERANCE);
        let near = Limit::Cosine(COSINE);
        let (image, language, choices) = match manifest.dtype {
            None | Some(WeightType::F32) => (exact, exact, Limit::Difference(0.0)),
            Some(WeightType::F16 | WeightType::Bf16) => (near, near, Limit::Open),
            Some(WeightType::Q8_0 | WeightType::Q4K) => (near, Limit::Open, Limit::Open),
        };
        Self { image, language, choices }
    }
}

/// The stages of another implementation that a model knows.
struct Expected<'a> {
    tensors: &'a Tensors,
    /// The kind of image tokens, which may stand before a name: `patches.greedy_ids`.
    mode: String,
}

impl<'a> Expected<'a> {
    fn find(&self, name: &str) -> Option<(String, &'a Tensor)> {
        let own = format!("{}.{name}", self.mode);
        let found = self.tensors.get_key_value(own.as_str());
        let found = found.or_else(|| self.tensors.get_key_value(name));
        found.map(|(key, tensor)| (key.clone(), tensor))
    }
}

/// The question that outputs were made with, where it can be read from the tokens of their prompt.
pub fn question_of(model: &Model, expected: &Tensors) -> Option<PromptChoice> {
    let mode = model.manifest().projection.image_tokens.to_string();
    let (_, ids) = Expected { tensors: expected, mode }.find("prompt_after_ids")?;
    let want = integers(ids).ok()?;
    let ids = want.iter().map(|id| u32::try_from(*id).ok()).collect::<Option<Vec<_>>>()?;
    let template = template(model.manifest(), None).ok()?;
    let (start, end) = template.first_turn_around();
    let text = model.tokenizer().decode(&ids).ok()?;
    let question = text.strip_prefix(&start)?.strip_suffix(&end)?.to_owned();
    let again =
        PromptTokens::new(model.manifest(), model.tokenizer(), &template, &question).ok()?;
    (again.after == ids).then_some(PromptChoice::Text(question))
}

/// Runs the model on `image` with `question` and compares each stage that `expected` holds. Stages
/// of the image tokens and after may carry the kind of image tokens as a prefix, as
/// `patches.greedy_ids`. Each greedy step continues the expected tokens.
pub fn compare(
    model: &Model,
    image: &GreyImage,
    question: &PromptChoice,
    expected: &Tensors,
) -> Result<Vec<Row>, ModelError> {
    let manifest = model.manifest();
    let limits = Limits::of(manifest);
    let mode = manifest.projection.image_tokens.to_string();
    let expected = Expected { tensors: expected, mode };
    let mut rows = Vec::new();
    if let Some((key, want)) = expected.find("image_u8") {
        let resized = preprocess::resized(image, manifest);
        let planes = preprocess::planes(&resized, manifest);
        let every = want.rank() == 3 && want.dims().first() == Some(&planes.len());
        let got = if every { planes.concat() } else { resized.pixels().to_vec() };
        let got = got.into_iter().map(u32::from).collect::<Vec<_>>();
        rows.push(numbers(key, want, &got, Limit::Difference(0.0))?);
    }
    let (pixels, encoded) = model.encode_steps(image)?;
    let mut stages = vec![("pixel_values", &pixels, Limit::Difference(TOLERANCE))];
    stages.extend(encoded.vision.stages.iter().map(|(name, got)| (*name, got, limits.image)));
    stages.extend(encoded.embedding.iter().map(|got| ("image_embedding", got, limits.image)));
    // The second is the layer's name in the released code.
    for name in ["image_tokens", "llama_proj"] {
        stages.push((name, &encoded.image_tokens, limits.image));
    }
    for (name, got, limit) in stages {
        if let Some((key, want)) = expected.find(name) {
            rows.push(stage(key, want, got, limit)?);
        }
    }
    language(model, question, &encoded.image_tokens, &expected, &limits, &mut rows)?;
    if rows.is_empty() {
        let reason = "the file to compare with holds no stage of this architecture";
        return Err(ModelError::Request(reason.to_owned()));
    }
    Ok(rows)
}

/// The stages from the prompt on.
fn language(
    model: &Model,
    question: &PromptChoice,
    image_tokens: &Tensor,
    expected: &Expected<'_>,
    limits: &Limits,
    rows: &mut Vec<Row>,
) -> Result<(), ModelError> {
    let manifest = model.manifest();
    let question = question.resolve(model.prompts())?;
    let prompt =
        PromptTokens::new(manifest, model.tokenizer(), &template(manifest, None)?, question)?;
    for (name, got) in [("prompt_before_ids", &prompt.before), ("prompt_after_ids", &prompt.after)]
    {
        if let Some((key, want)) = expected.find(name) {
            rows.push(numbers(key, want, got, Limit::Difference(0.0))?);
        }
    }
    if let Some((key, want)) = expected.find("inputs_embeds") {
        let got = model.chain().prompt(&prompt.before, image_tokens, &prompt.after);
        rows.push(stage(key, want, &got.step("embedding the prompt")?, limits.language)?);
    }
    let greedy = expected.find("greedy_ids");
    let want_ids = greedy.as_ref().map(|(_, ids)| integers(ids)).transpose()?.unwrap_or_default();
    let (mut logits, mut ids) = (Vec::new(), Vec::new());
    model.generate(&prompt, image_tokens, want_ids.len().max(1), |step| {
        logits.push(step.clone());
        let best = step.argmax(0).and_then(|i| i.to_scalar::<u32>()).step("greedy choice")?;
        let next = want_ids.get(ids.len()).and_then(|id| u32::try_from(*id).ok());
        ids.push(best);
        let vocabulary = manifest.language_model.vocab_size;
        Ok(Some(next.filter(|id| (*id as usize) < vocabulary).unwrap_or(best)))
    })?;
    if let (Some((key, want)), Some(got)) = (expected.find("prompt_logits_last"), logits.first()) {
        rows.push(stage(key, want, got, limits.language)?);
    }
    if let Some((key, want)) = greedy {
        rows.push(numbers(key, want, &ids, limits.choices)?);
    }
    if let Some((key, want)) = expected.find("greedy_logits") {
        let steps = want.elem_count() / manifest.language_model.vocab_size.max(1);
        let got = Tensor::cat(logits.get(..steps).unwrap_or(&logits), 0).step("comparing")?;
        rows.push(stage(key, want, &got, limits.language)?);
    }
    Ok(())
}

fn stage(name: String, want: &Tensor, got: &Tensor, limit: Limit) -> Result<Row, ModelError> {
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>())
    };
    let (want, got) = (flat(want).step("comparing")?, flat(got).step("comparing")?);
    if want.len() != got.len() {
        let note = format!("{} numbers for {}", got.len(), want.len());
        let (difference, cosine) = (f64::INFINITY, Some(-1.0));
        return Ok(Row { stage: name, difference, cosine, limit, note });
    }
    let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    let gap = want.iter().zip(&got).map(|(a, b)| (a - b).abs());
    // A number that is not one differs without bound.
    let gap = gap.fold(0f32, |m, x| if x.is_nan() { f32::INFINITY } else { m.max(x) });
    let difference = if gap == 0.0 { 0.0 } else { f64::from(gap) / f64::from(largest) };
    let cosine = Some(cosine(&want, &got));
    Ok(Row { stage: name, difference, cosine, limit, note: String::new() })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    if a == b { 1.0 } else { dot(a, b) / (dot(a, a) * dot(b, b)).sqrt() }
}

fn integers(tensor: &Tensor) -> Result<Vec<i64>, ModelError> {
    let flat = tensor.to_dtype(DType::I64).and_then(|t| t.flatten_all());
    flat.and_then(|t| t.to_vec1::<i64>()).step("comparing")
}

fn numbers(name: String, want: &Tensor, got: &[u32], limit: Limit) -> Result<Row, ModelError> {
    let want = integers(want)?;
    let same = want.iter().zip(got).filter(|(a, b)| **a == i64::from(**b)).count();
    let most = want.len().max(got.len());
    let difference = if most == 0 { 0.0 } else { (most - same) as f64 / most as f64 };
    let note = format!("{same} of {most} equal");
    Ok(Row { stage: name, difference, cosine: None, limit, note })
}
