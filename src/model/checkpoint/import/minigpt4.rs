//! The released architecture: EVA-CLIP's vision transformer, BLIP-2's Q-Former, XrayGPT's alignment
//! layer, a LLaMA.

use serde::Deserialize;

use super::{Image, Part, read_json};
use crate::model::checkpoint::layout::MiniGpt4Files;
use crate::model::checkpoint::manifest::{Fit, ImageProcessing, ImageTokens, ProjectionConfig};
use crate::model::error::ModelError;
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::model::vision::eva_qformer::EvaQFormerConfig;
use crate::model::vision::eva_vit::EvaVitConfig;
use crate::model::vision::qformer::QFormerConfig;

/// CLIP's mean and deviation of red, green and blue (`Blip2ImageEvalProcessor`).
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Parts of the vision transformer that MiniGPT-4 leaves out.
const EVA_UNUSED: [&str; 4] = ["fc_norm.", "norm.", "head.", "mask_token"];
/// Parts of BLIP-2 that it leaves out: other language models' alignment, the heads and words of
/// BERT, and the image encoder where a file holds it once more.
const BLIP_UNUSED: [&str; 14] = [
    "t5_proj.",
    "t5_model.",
    "opt_proj.",
    "opt_model.",
    "llm_proj.",
    "vision_proj.",
    "text_proj.",
    "itm_head.",
    "temp",
    "visual_encoder.",
    "Qformer.cls.",
    "Qformer.bert.embeddings.word_embeddings.",
    "Qformer.bert.embeddings.position_embeddings.",
    "Qformer.bert.embeddings.position_ids",
];

/// Sizes other than the released ones, `geometry.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Geometry {
    eva_vit: EvaVitConfig,
    qformer: QFormerConfig,
}

/// The image encoder's sizes.
pub(super) fn geometry(files: &MiniGpt4Files) -> Result<EvaQFormerConfig, ModelError> {
    let released = EvaQFormerConfig::released();
    let Some(path) = &files.geometry else { return Ok(released) };
    let Geometry { eva_vit, qformer } = read_json(path)?;
    let config = EvaQFormerConfig { eva_vit, qformer, ..released };
    config.check().map_err(|reason| ModelError::invalid(path, reason))?;
    Ok(config)
}

/// Image encoder and alignment layer.
pub(super) fn parts(files: &MiniGpt4Files, sizes: &EvaQFormerConfig) -> Vec<Part> {
    let depth = sizes.eva_vit.depth;
    vec![
        Part {
            file: super::ENCODER,
            paths: vec![files.eva.clone()],
            ours: "vision_model.model.visual_encoder.",
            theirs: "",
            rename: Box::new(move |name| {
                (!unused_eva(name, depth))
                    .then(|| format!("vision_model.model.visual_encoder.{name}"))
            }),
        },
        Part {
            file: super::ENCODER,
            paths: vec![files.blip.clone()],
            ours: "vision_model.model.",
            theirs: "",
            rename: Box::new(|name| {
                (!unused_blip(name)).then(|| format!("vision_model.model.{name}"))
            }),
        },
        Part {
            file: super::PROJECTION,
            paths: vec![files.aligned.clone()],
            ours: "projection.",
            theirs: "llama_proj.",
            rename: Box::new(|name| {
                // Buffers, which XrayGPT's training saves with the layer that it trained.
                let buffer =
                    name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".position_ids");
                let short = name.strip_prefix("llama_proj.");
                let own = short.map(|rest| format!("projection.{rest}"));
                (!buffer).then(|| own.unwrap_or_else(|| name.to_owned()))
            }),
        },
    ]
}

/// The file's last block is one that the published code does not use either.
fn unused_eva(name: &str, depth: usize) -> bool {
    let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next());
    let block = block.and_then(|number| number.parse::<usize>().ok());
    block.is_some_and(|block| block >= depth)
        || name.ends_with(".relative_position_index")
        || EVA_UNUSED.iter().any(|unused| name.starts_with(unused))
}

fn unused_blip(name: &str) -> bool {
    // The way of texts through BERT's layers; that of queries has names of its own.
    let layer = name.strip_prefix("Qformer.bert.encoder.layer.");
    let part = layer.and_then(|rest| rest.split('.').nth(1));
    part.is_some_and(|part| part == "intermediate" || part == "output")
        || BLIP_UNUSED.iter().any(|unused| name.starts_with(unused))
}

/// What comes before the language model.
pub(super) fn image(sizes: EvaQFormerConfig) -> Image {
    Image {
        name: "xraygpt".to_owned(),
        processing: ImageProcessing {
            fit: Fit::Stretch,
            colour: true,
            mean: MEAN.to_vec(),
            std: STD.to_vec(),
        },
        encoder: ImageEncoderConfig::EvaQFormer(sizes),
        projection: ProjectionConfig {
            image_tokens: ImageTokens::Patches,
            tokens: 1,
            embedding: None,
        },
    }
}
