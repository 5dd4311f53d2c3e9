//! The loss of the next token, on what should be answered alone.

use candle_core::Tensor;

use super::error::TrainError;
use super::workers::Loss;
use crate::model::language::llama::Llama;

/// The summed negative log-likelihood of texts, and over how many tokens. Each row is a prompt's
/// tokens after the image and the text that should follow them; all have the tokens `before` and
/// their image's tokens `[rows, tokens, width]` before that. Shorter rows are filled up with
/// `filler`, which nothing that counts can see.
pub(super) fn loss(
    llama: &Llama,
    before: &[u32],
    images: &Tensor,
    rows: &[(&[u32], &[u32])],
    filler: u32,
) -> Result<Loss, TrainError> {
    let device = llama.device();
    let longest = rows.iter().map(|(p, t)| p.len() + t.len()).max().unwrap_or(0);
    let start = before.len() + images.dim(1)?;
    let time = start + longest - 1;
    let (mut inputs, mut places, mut targets) = (vec![], vec![], vec![]);
    for (row, (prompt, text)) in rows.iter().enumerate() {
        let mut ids: Vec<u32> = prompt.iter().chain(*text).copied().collect();
        ids.resize(longest, filler);
        ids.pop();
        inputs.extend(ids);
        // The position before each token of the text predicts it.
        let first = row * time + start + prompt.len() - 1;
        places.extend((0..text.len()).map(|i| (first + i) as u32));
        targets.extend_from_slice(text);
    }
    let (batch, count) = (rows.len(), targets.len());
    let rest = Tensor::from_vec(inputs, (batch, longest - 1), device)?;
    let known = before.len();
    let before = llama.embed(&Tensor::from_slice(before, (1, known), device)?)?;
    let before = before.broadcast_as((batch, known, before.dim(2)?))?;
    let embeds = Tensor::cat(&[&before, images, &llama.embed(&rest)?], 1)?;
    let places = Tensor::from_vec(places, count, device)?;
    let logits = llama.forward_rows(&embeds.contiguous()?, &places)?;
    let targets = Tensor::from_vec(targets, (count, 1), device)?;
    let chosen = candle_nn::ops::log_softmax(&logits, 1)?.gather(&targets, 1)?;
    Ok((chosen.sum_all()?.neg()?, count as f32))
}
