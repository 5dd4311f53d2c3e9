//! Puts a model directory together: 16-bit weights, tokenizer, manifest.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Tensor};
use sha2::{Digest, Sha256};

use super::align::Parts;
use super::encoder::{self, EncoderCard};
use super::error::TrainError;
use super::known::Known;
use super::label::SCORES;
use super::language::{self, AROUND, BEFORE, INSTRUCTIONS, LanguageCard};
use super::optimise::Named;
use super::provenance::{FirstWeights, Material};
use super::tokenizer::{BOS, EOS};
use super::{files, variables};
use crate::model::checkpoint::Manifest;
use crate::model::checkpoint::manifest::{
    Architecture, Conversation, Fit, IMAGE_HERE, ImageProcessing, ImageTokens, KnownImages,
    MANIFEST, PROMPT_HERE, ProjectionConfig, Scope, Scores, TokenizerConfig,
};
use crate::vocabulary::hexadecimal;

/// The weights' file.
const WEIGHTS: &str = "weights.safetensors";
/// The tokenizer's file, in the folder of a language model's run and in a model directory.
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Nearly all radiographs of NIH are of adults, and of others it is not known.
pub const YOUNGEST_YEARS: u32 = 18;

/// Writes the model directory `dir` from trained parts and the projection between them.
pub fn model(
    dir: &Path,
    parts: &Parts,
    (encoder, language): (&EncoderCard, &LanguageCard),
    projection: &[Named],
    known: Option<&Known>,
    material: &Material,
) -> Result<(), TrainError> {
    files::folder(dir)?;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    tensors.extend(variables::read(&parts.encoder.join(encoder::WEIGHTS))?);
    tensors.extend(variables::read(&parts.language.join(language::WEIGHTS))?);
    // What placed label sets in the image slot served training alone.
    tensors.retain(|name, _| !name.starts_with("condition."));
    let heads = tensors.get("heads.weight").cloned();
    tensors.extend(heads.map(|heads| ("vision_model.projection_head.weight".to_owned(), heads)));
    tensors.extend(projection.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())));
    if let Some(known) = known {
        tensors.insert("known.mean".to_owned(), known.mean.clone());
        tensors.insert("known.axes".to_owned(), known.axes.clone());
    }
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_dtype(DType::F16)?;
    }
    let weights = dir.join(WEIGHTS);
    variables::save(&tensors, &weights)?;
    let tokenizer = files::read(&parts.language.join(TOKENIZER))?;
    files::write(&dir.join(TOKENIZER), &tokenizer)?;
    let files = BTreeMap::from([
        (WEIGHTS.to_owned(), digest(&files::read(&weights)?)),
        (TOKENIZER.to_owned(), digest(&tokenizer)),
    ]);
    let mut manifest = manifest(&parts.name, (encoder, language), material, files);
    manifest.scope = Some(Scope {
        youngest_years: Some(YOUNGEST_YEARS),
        images: known.map(known_images).transpose()?,
    });
    let text = manifest
        .check()
        .and_then(|()| manifest.to_text())
        .map_err(|reason| TrainError::Run { path: dir.join(MANIFEST), reason })?;
    files::write(&dir.join(MANIFEST), text.as_bytes())
}

fn known_images(known: &Known) -> Result<KnownImages, TrainError> {
    Ok(KnownImages { axes: known.axes.dim(0)?, farthest: known.farthest })
}

fn manifest(
    name: &str,
    (encoder, language): (&EncoderCard, &LanguageCard),
    material: &Material,
    files: BTreeMap<String, String>,
) -> Manifest {
    let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
    let scores = encoder.scores.iter();
    let of_nih = material.is_nih_with(encoder);
    let licence = encoder.first.as_ref().and_then(FirstWeights::licence).filter(|_| of_nih);
    let origin = encoder.first.as_ref().map(FirstWeights::origin).unwrap_or_default();
    let trained_on = if of_nih { "NIH ChestX-ray14" } else { "labelled radiographs of a folder" };
    Manifest {
        format: 1,
        name: name.to_owned(),
        architecture: Architecture::of(&encoder.encoder),
        licence: match licence {
            Some(licence) => format!("{licence}; see CARD.md for the data's credits"),
            None => "as of the radiographs and first weights; see CARD.md".to_owned(),
        },
        source: format!("thorascribe train, on {trained_on} and the summary grammar{origin}"),
        dtype: None,
        prompts: INSTRUCTIONS.iter().map(|text| (*text).to_owned()).collect(),
        image: ImageProcessing {
            fit: Fit::PadToSquare,
            colour: false,
            mean: vec![encoder.mean],
            std: vec![encoder.std],
        },
        image_encoder: encoder.encoder.clone(),
        projection: ProjectionConfig {
            image_tokens: ImageTokens::Pooled,
            tokens: SCORES,
            embedding: Some(SCORES),
        },
        language_model: language.llama.clone(),
        tokenizer: TokenizerConfig { file: TOKENIZER.to_owned(), bos: BOS, eos: EOS },
        conversation: Conversation {
            template: format!("{BEFORE}{IMAGE_HERE}{}{PROMPT_HERE}{}", AROUND.0, AROUND.1),
            stop_texts: vec!["###".to_owned()],
            stop_tokens: vec![],
            templates: vec![],
        },
        scores: Some(Scores {
            labels: scores.clone().map(|s| s.name.clone()).collect(),
            thresholds: scores.map(|s| (s.name.clone(), probability(s.threshold))).collect(),
        }),
        questions: None,
        scope: None,
        files,
    }
}

/// SHA-256, hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}
