//! What a model is made for: whether an image is of the kind that it was trained on.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::checkpoint::manifest::KnownImages;

/// What is said of an image of another kind.
pub const NOT_MADE_FOR: &str = "The image does not look like a frontal chest radiograph of the kind \
                                that this model is made for. It is not described.";

/// Where the training's images lie among the encoder's outputs.
#[derive(Clone, Debug)]
pub struct Known {
    mean: Tensor,
    axes: Tensor,
    farthest: f32,
}

impl Known {
    /// Takes `mean` and `axes` from `source`.
    pub fn load(config: &KnownImages, width: usize, source: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            mean: source.get(width, "mean")?.to_dtype(DType::F32)?,
            axes: source.get((config.axes, width), "axes")?.to_dtype(DType::F32)?,
            farthest: config.farthest,
        })
    }

    /// For each encoder output `[batch, width]`: whether the image is of the known kind.
    pub fn judge(&self, pooled: &Tensor) -> Result<Vec<bool>> {
        let pooled = pooled.to_dtype(DType::F32)?;
        let distances = distances(&pooled, &self.mean, &self.axes)?.to_vec1::<f32>()?;
        // What is no number is not known either.
        Ok(distances.iter().map(|distance| *distance <= self.farthest).collect())
    }
}

/// What of each output `[batch, width]`, brought to length one and centred, the orthonormal axes
/// `[axes, width]` do not explain: `[batch]`, squared lengths.
pub fn distances(outputs: &Tensor, mean: &Tensor, axes: &Tensor) -> Result<Tensor> {
    let length = (outputs.sqr()?.sum_keepdim(1)?.sqrt()? + 1e-12)?;
    let centred = outputs.broadcast_div(&length)?.broadcast_sub(mean)?;
    let along = centred.matmul(&axes.t()?)?;
    centred.sqr()?.sum(1)? - along.sqr()?.sum(1)?
}
