//! The loss of scores.

use candle_core::Tensor;

use super::error::TrainError;

/// Binary cross-entropy of logits, element by element, in the form that neither over- nor underflows.
pub(super) fn binary_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
) -> Result<Tensor, TrainError> {
    let soft = ((logits.abs()?.neg()?.exp()? + 1.0)?).log()?;
    Ok(((logits.relu()? - (logits * targets)?)? + soft)?)
}
