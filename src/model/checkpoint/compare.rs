//! A model's every stage against the outputs of another implementation.

use candle_core::{DType, Tensor};

use super::Tensors;
use crate::model::draft::Model;
use crate::model::error::{ModelError, Step};
use crate::model::prompt::{PromptChoice, PromptTokens, template};
use crate::model::vision::preprocess;
use crate::radiograph::GreyImage;

/// The largest difference over the largest magnitude of a stage that still counts as equal.
pub const TOLERANCE: f64 = 1e-4;

/// One stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The tensor's name in the file compared with.
    pub stage: String,
    /// Largest difference over largest magnitude; for whole numbers, how many differ over all.
    pub difference: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// How it went, in words, where numbers do not say it.
    pub note: String,
}

impl Row {
    /// Whether the stage is equal within the tolerance.
    pub fn passed(&self) -> bool {
        self.difference <= self.tolerance
    }
}

/// Runs the model on `image` with `question` and compares each stage that `expected` holds. Stages of the image
/// tokens and after may carry the kind of image tokens as a prefix, as `patches.greedy_ids`.
pub fn compare(
    model: &Model,
    image: &GreyImage,
    question: &PromptChoice,
    expected: &Tensors,
) -> Result<Vec<Row>, ModelError> {
    let manifest = model.manifest();
    let mut rows = Vec::new();
    let mode = manifest.projection.image_tokens.to_string();
    let find = |name: &str| {
        let own = format!("{mode}.{name}");
        let found = expected.get_key_value(own.as_str()).or_else(|| expected.get_key_value(name));
        found.map(|(key, tensor)| (key.clone(), tensor))
    };
    if let Some((key, want)) = find("image_u8") {
        let resized = preprocess::resized(image, manifest);
        let got = resized.pixels().iter().map(|p| u32::from(*p)).collect::<Vec<_>>();
        rows.push(numbers(key, want, &got)?);
    }
    let (pixels, encoded) = model.encode_steps(image)?;
    for (name, got) in [
        ("pixel_values", Some(&pixels)),
        ("swin_last_hidden", Some(&encoded.vision.last_hidden)),
        ("swin_pooled", Some(&encoded.vision.pooled)),
        ("image_embedding", encoded.embedding.as_ref()),
        ("image_tokens", Some(&encoded.image_tokens)),
    ] {
        if let (Some((key, want)), Some(got)) = (find(name), got) {
            rows.push(stage(key, want, got)?);
        }
    }
    let question = question.resolve(model.prompts())?;
    let prompt =
        PromptTokens::new(manifest, model.tokenizer(), &template(manifest, None)?, question)?;
    for (name, got) in [("prompt_before_ids", &prompt.before), ("prompt_after_ids", &prompt.after)]
    {
        if let Some((key, want)) = find(name) {
            rows.push(numbers(key, want, got)?);
        }
    }
    let (logits, greedy) = (find("prompt_logits_last"), find("greedy_ids"));
    let steps = greedy.as_ref().map_or(1, |(_, ids)| ids.elem_count()).max(1);
    let (mut first, mut ids) = (None, Vec::new());
    model.generate(&prompt, &encoded.image_tokens, steps, |logits| {
        first.get_or_insert_with(|| logits.clone());
        let best = logits.argmax(0).and_then(|i| i.to_scalar::<u32>()).step("greedy choice")?;
        ids.push(best);
        Ok(Some(best))
    })?;
    if let (Some((key, want)), Some(got)) = (logits, &first) {
        rows.push(stage(key, want, got)?);
    }
    if let Some((key, want)) = greedy {
        rows.push(numbers(key, want, &ids)?);
    }
    if rows.is_empty() {
        let reason = "the file to compare with holds no stage of this architecture";
        return Err(ModelError::Request(reason.to_owned()));
    }
    Ok(rows)
}

fn stage(name: String, want: &Tensor, got: &Tensor) -> Result<Row, ModelError> {
    let flat = |t: &Tensor| {
        t.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>())
    };
    let (want, got) = (flat(want).step("comparing")?, flat(got).step("comparing")?);
    let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    let gap = want.iter().zip(&got).map(|(a, b)| (a - b).abs());
    // A number that is not one differs without bound.
    let gap = gap.fold(0f32, |m, x| if x.is_nan() { f32::INFINITY } else { m.max(x) });
    if want.len() != got.len() {
        let note = format!("{} numbers for {}", got.len(), want.len());
        return Ok(Row { stage: name, difference: f64::INFINITY, tolerance: TOLERANCE, note });
    }
    let difference = if gap == 0.0 { 0.0 } else { f64::from(gap) / f64::from(largest) };
    Ok(Row { stage: name, difference, tolerance: TOLERANCE, note: String::new() })
}

fn numbers(name: String, want: &Tensor, got: &[u32]) -> Result<Row, ModelError> {
    let want = want.to_dtype(DType::I64).and_then(|t| t.flatten_all());
    let want = want.and_then(|t| t.to_vec1::<i64>()).step("comparing")?;
    let same = want.iter().zip(got).filter(|(a, b)| **a == i64::from(**b)).count();
    let most = want.len().max(got.len());
    let difference = if most == 0 { 0.0 } else { (most - same) as f64 / most as f64 };
    let note = format!("{same} of {most} equal");
    Ok(Row { stage: name, difference, tolerance: 0.0, note })
}
