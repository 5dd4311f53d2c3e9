//! What is measured: a model directory, a language model in one file, or drawn weights.

use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::drawn::Drawn;
use crate::model::chain::Chain;
use crate::model::checkpoint::gguf::Gguf;
use crate::model::language::llama::Llama;
use crate::model::vision::preprocess;
use crate::model::{Manifest, Model};

/// What is measured.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) language: Llama,
    /// Absent where there is a language model only.
    pub(super) image: Option<ImageSide>,
    pub(super) device: Device,
}

/// The whole model, and an image for it.
#[derive(Debug)]
pub(super) struct ImageSide {
    pub(super) chain: Chain,
    /// `[1, channels, side, side]`
    pub(super) pixels: Tensor,
    /// How many positions the image takes in a prompt.
    pub(super) positions: usize,
}

impl Subject {
    /// Opens what `path` names. `dtype` is what drawn weights, and floats of a GGUF file, compute
    /// in.
    pub(super) fn open(path: &Path, dtype: DType, device: &Device) -> anyhow::Result<Self> {
        if path.is_dir() {
            let model = Model::open_on(Some(path), device)?;
            return Self::whole(model.manifest(), model.chain().clone(), device);
        }
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let manifest = Manifest::parse(&text).map_err(anyhow::Error::msg);
            let manifest = manifest.with_context(|| path.display().to_string())?;
            let source = VarBuilder::from_backend(Box::new(Drawn), dtype, device.clone());
            let chain = Chain::load(&manifest, &source).context("drawing the weights")?;
            return Self::whole(&manifest, chain, device);
        }
        let Gguf { config, stored } = Gguf::open(path)?;
        let source = VarBuilder::from_backend(Box::new(stored), dtype, device.clone());
        let language = Llama::load(&config, &source)
            .with_context(|| format!("{} is no whole LLaMA", path.display()))?;
        Ok(Self { language, image: None, device: device.clone() })
    }

    fn whole(manifest: &Manifest, chain: Chain, device: &Device) -> anyhow::Result<Self> {
        let side = manifest.image_encoder.image_size() as u32;
        let resized = preprocess::resized(&crate::cli::model::ramp(side)?, manifest);
        let pixels = preprocess::pixels(&resized, manifest, device)?;
        let language = chain.language.clone();
        let image = Some(ImageSide { chain, pixels, positions: manifest.image_positions() });
        Ok(Self { language, image, device: device.clone() })
    }
}
