//! The tensors of a whole model: image encoder, projection, language model, scoring heads.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::checkpoint::Manifest;
use super::checkpoint::manifest::ImageTokens;
use super::language::llama::Llama;
use super::layer::Linear;
use super::scope::Known;
use super::vision::encoder::{EncoderOutput, ImageEncoder};

/// The parts, loaded.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What all parts compute in.
    dtype: DType,
    /// The image encoder.
    pub encoder: ImageEncoder,
    /// The encoder's own projection (MedCLIP's), without bias.
    head: Option<Linear>,
    /// The alignment layer.
    projection: Linear,
    image_tokens: ImageTokens,
    /// Image tokens that the projection makes of one embedding.
    tokens: usize,
    /// The language model.
    pub language: Llama,
    scores: Option<Linear>,
    known: Option<Known>,
}

/// What the parts before the language model give for a batch of images.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The encoder's output.
    pub vision: EncoderOutput,
    /// `[batch, embedding]`, where the encoder has a projection of its own.
    pub embedding: Option<Tensor>,
    /// `[batch, rows, width]`, or `[batch, width]` of a model with one embedding an image: what the
    /// alignment layer takes in.
    pub features: Tensor,
    /// `[batch, positions, hidden size]`: what stands for the image in a prompt.
    pub image_tokens: Tensor,
    /// `[batch, labels]`: probabilities, where the model scores.
    pub scores: Option<Tensor>,
    /// For each image, whether it is of the kind that the model is made for; all are where the
    /// model knows of no limit.
    pub known: Vec<bool>,
}

impl Chain {
    /// Takes the tensors from `source` under the names that [`Manifest`] lists.
    pub fn load(manifest: &Manifest, source: &VarBuilder<'_>) -> Result<Self> {
        let width = manifest.image_encoder.output_width();
        let vision = source.pp("vision_model");
        let linear = |input, output, bias, source: VarBuilder<'_>| {
            Linear::load(input, output, bias, &source)
        };
        let hidden = manifest.language_model.hidden_size;
        Ok(Self {
            dtype: source.dtype(),
            encoder: ImageEncoder::load(&manifest.image_encoder, &vision.pp("model"))?,
            head: manifest
                .projection
                .embedding
                .map(|embedding| linear(width, embedding, false, vision.pp("projection_head")))
                .transpose()?,
            projection: linear(
                manifest.projection_input(),
                hidden * manifest.projection.tokens,
                true,
                source.pp("projection"),
            )?,
            image_tokens: manifest.projection.image_tokens,
            tokens: manifest.projection.tokens,
            language: Llama::load(&manifest.language_model, source)?,
            scores: manifest
                .scores
                .as_ref()
                .map(|scores| linear(width, scores.labels.len(), true, source.pp("heads")))
                .transpose()?,
            known: manifest
                .scope
                .as_ref()
                .and_then(|scope| scope.images.as_ref())
                .map(|images| Known::load(images, width, &source.pp("known")))
                .transpose()?,
        })
    }

    /// Encodes `[batch, channels, rows, columns]` of normalised pixels.
    pub fn encode(&self, pixels: &Tensor) -> Result<Encoded> {
        let vision = self.encoder.forward(&pixels.to_dtype(self.dtype)?)?;
        let embedding = self.head.as_ref().map(|head| head.forward(&vision.pooled)).transpose()?;
        let features = match self.image_tokens {
            ImageTokens::Patches => &vision.last_hidden,
            ImageTokens::Pooled => embedding.as_ref().unwrap_or(&vision.pooled),
        };
        let features = features.clone();
        let image_tokens = self.project(&self.projection, &features)?;
        let scores = match &self.scores {
            Some(heads) => Some(candle_nn::ops::sigmoid(&heads.forward(&vision.pooled)?)?),
            None => None,
        };
        let known = match &self.known {
            Some(known) => known.judge(&vision.pooled)?,
            None => vec![true; vision.pooled.dim(0)?],
        };
        Ok(Encoded { vision, embedding, features, image_tokens, scores, known })
    }

    /// The image tokens that an alignment layer makes of the features that [`Encoded`] has.
    pub fn project(&self, projection: &Linear, features: &Tensor) -> Result<Tensor> {
        let projected = projection.forward(features)?;
        match self.image_tokens {
            ImageTokens::Patches => Ok(projected),
            ImageTokens::Pooled => projected.reshape((features.dim(0)?, self.tokens, ())),
        }
    }

    /// What each patch alone gives to each score's logit, `[batch, patches, labels]`; their mean
    /// over the patches is the logit. None where the model does not score.
    pub fn shares(&self, vision: &EncoderOutput) -> Result<Option<Tensor>> {
        self.scores.as_ref().map(|heads| heads.forward(&vision.last_hidden)).transpose()
    }

    /// The embeddings of a prompt: text, image, text.
    pub fn prompt(&self, before: &[u32], image_tokens: &Tensor, after: &[u32]) -> Result<Tensor> {
        let mut parts = vec![];
        if !before.is_empty() {
            parts.push(self.language.embed_tokens(before)?);
        }
        parts.push(image_tokens.clone());
        if !after.is_empty() {
            parts.push(self.language.embed_tokens(after)?);
        }
        Tensor::cat(&parts, 1)
    }
}
