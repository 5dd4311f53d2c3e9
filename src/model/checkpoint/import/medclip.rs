//! The paper's architecture: MedCLIP's Swin, an alignment layer, a LLaMA.

use std::path::Path;

use super::{Image, Part, read_json};
use crate::model::checkpoint::layout::MedclipFiles;
use crate::model::checkpoint::manifest::{Fit, ImageProcessing, ImageTokens, ProjectionConfig};
use crate::model::checkpoint::stored::Stored;
use crate::model::error::ModelError;
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::model::vision::swin::SwinConfig;

/// MedCLIP's own mean and deviation of grey values (`medclip/constants.py`).
const MEAN: f64 = 0.586_278_580_304_383_8;
const STD: f64 = 0.279_500_889_686_443_04;

/// What transformers 5 calls a Swin's tensors, and what every version before it and MedCLIP do.
const NEWER_NAMES: [(&str, &str); 7] = [
    (".attention.q_proj.", ".attention.self.query."),
    (".attention.k_proj.", ".attention.self.key."),
    (".attention.v_proj.", ".attention.self.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".attention.relative_position_bias.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
];

/// Image encoder and alignment layer.
pub(super) fn parts(files: &MedclipFiles, tokens: ImageTokens) -> Vec<Part> {
    let (ours, other) = match tokens {
        ImageTokens::Pooled => ("projection.pooled.", "projection.patches."),
        ImageTokens::Patches => ("projection.patches.", "projection.pooled."),
    };
    vec![
        Part {
            file: super::ENCODER,
            paths: vec![files.state().to_owned()],
            ours: "vision_model.",
            theirs: "vision_model.",
            rename: Box::new(encoder),
        },
        Part {
            file: super::PROJECTION,
            paths: vec![files.projection.clone()],
            ours: "projection.",
            theirs: "projection.",
            rename: Box::new(move |name| {
                let short = name.strip_prefix(ours).map(|rest| format!("projection.{rest}"));
                let kept = !name.starts_with(other);
                kept.then(|| short.unwrap_or_else(|| name.to_owned()))
            }),
        },
    ]
}

fn encoder(name: &str) -> Option<String> {
    // What the published implementation computes from the sizes, or does not use.
    let derived = name.starts_with("text_model.")
        || name == "logit_scale"
        || name.ends_with(".relative_position_index");
    let newer = NEWER_NAMES.iter().find(|(newer, _)| name.contains(newer));
    let older = newer.map_or(name.to_owned(), |(newer, older)| name.replacen(newer, older, 1));
    (!derived).then_some(older)
}

/// What comes before the language model.
pub(super) fn image(
    files: &MedclipFiles,
    stored: &Stored,
    image_tokens: ImageTokens,
) -> Result<Image, ModelError> {
    let head = stored.describe("vision_model.projection_head.weight");
    let embedding = head.and_then(|(shape, _)| shape.first().copied());
    Ok(Image {
        name: format!("xraygpt-medclip-{image_tokens}"),
        processing: ImageProcessing {
            fit: Fit::PadToSquare,
            colour: false,
            mean: vec![MEAN],
            std: vec![STD],
        },
        encoder: ImageEncoderConfig::Swin(swin_config(&files.encoder_config)?),
        projection: ProjectionConfig { image_tokens, tokens: 1, embedding },
    })
}

fn swin_config(path: &Path) -> Result<SwinConfig, ModelError> {
    let config = read_json::<SwinConfig>(path)?;
    config.check().map_err(|reason| ModelError::invalid(path, reason))?;
    Ok(config)
}
