//! The measurements.

use std::time::Instant;

use anyhow::bail;
use candle_core::{D, Tensor};

use super::subject::{ImageSide, Subject};
use crate::model::language::cache::Cache;
use crate::model::language::llama::{Llama, Segment};

/// How much of what is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    /// Positions of a prompt, those of the image among them.
    pub(super) prompt: usize,
    /// Tokens that follow it.
    pub(super) tokens: usize,
    /// Sequences at a time.
    pub(super) batch: usize,
    /// Of which the median counts.
    pub(super) repeats: usize,
}

impl Amount {
    fn check(self, language: &Llama) -> anyhow::Result<()> {
        let context = language.config().max_position_embeddings;
        if self.prompt + self.tokens > context {
            let Self { prompt, tokens, .. } = self;
            bail!("{prompt} + {tokens} positions exceed the model's context of {context}");
        }
        Ok(())
    }

    fn caches(self, language: &Llama) -> candle_core::Result<Vec<Cache>> {
        (0..self.batch).map(|_| language.cache(self.prompt + self.tokens)).collect()
    }

    /// `count` ids of the vocabulary.
    fn ids(language: &Llama, count: usize) -> Vec<u32> {
        let vocabulary = language.config().vocab_size as u32;
        (0..count).map(|i| (i as u32).wrapping_mul(7919).wrapping_add(1) % vocabulary).collect()
    }
}

/// Tokens a second of the language model, over all sequences.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) prefill: f64,
    pub(super) decode: f64,
}

/// Prompts of tokens alone, then tokens one at a time.
pub(super) fn language(subject: &Subject, amount: Amount) -> anyhow::Result<Language> {
    let language = &subject.language;
    amount.check(language)?;
    let Amount { prompt, tokens, batch, .. } = amount;
    let ids = Amount::ids(language, batch * prompt);
    // Once for the pages, the threads and a GPU's kernels.
    let mut caches = amount.caches(language)?;
    let next = forward(language, &ids, &mut caches)?;
    forward(language, &next, &mut caches)?;
    drop(caches);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..amount.repeats {
        let mut caches = amount.caches(language)?;
        subject.device.synchronize()?;
        let start = Instant::now();
        let mut next = forward(language, &ids, &mut caches)?;
        prefill.push((batch * prompt) as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..tokens {
            next = forward(language, &next, &mut caches)?;
        }
        decode.push((batch * tokens) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(Language { prefill: median(prefill), decode: median(decode) })
}

/// Milliseconds from normalised pixels to image tokens.
pub(super) fn encode(subject: &Subject, side: &ImageSide, repeats: usize) -> anyhow::Result<f64> {
    side.chain.encode(&side.pixels)?;
    subject.device.synchronize()?;
    let one = || {
        let start = Instant::now();
        side.chain.encode(&side.pixels)?;
        subject.device.synchronize()?;
        Ok::<_, anyhow::Error>(start.elapsed().as_secs_f64() * 1e3)
    };
    Ok(median((0..repeats).map(|_| one()).collect::<anyhow::Result<_>>()?))
}

/// Whole drafts: each image encoded, its prompt, and all answers together.
#[derive(Debug)]
pub(super) struct Drafts {
    /// From the first image to the last token of all.
    pub(super) seconds: f64,
    /// Tokens a second over all answers, after the first of each.
    pub(super) decode: f64,
}

/// As many drafts at once as there are sequences.
pub(super) fn drafts(
    subject: &Subject,
    side: &ImageSide,
    amount: Amount,
) -> anyhow::Result<Drafts> {
    let language = &subject.language;
    amount.check(language)?;
    let Some(text) = amount.prompt.checked_sub(side.positions) else {
        bail!(
            "a prompt of {} positions has no room for an image of {}",
            amount.prompt,
            side.positions
        );
    };
    let ids = Amount::ids(language, text);
    let (before, after) = ids.split_at(text / 2);
    let (mut seconds, mut decode) = (Vec::new(), Vec::new());
    for round in 0..=amount.repeats {
        let mut caches = amount.caches(language)?;
        subject.device.synchronize()?;
        let start = Instant::now();
        let prompts = (0..amount.batch).map(|_| {
            let tokens = side.chain.encode(&side.pixels)?.image_tokens;
            side.chain.prompt(before, &tokens, after)
        });
        let prompts = prompts.collect::<candle_core::Result<Vec<_>>>()?;
        let mut next = step(language, &Tensor::cat(&prompts, 1)?, amount.prompt, &mut caches)?;
        let first = start.elapsed().as_secs_f64();
        for _ in 1..amount.tokens {
            next = forward(language, &next, &mut caches)?;
        }
        let all = start.elapsed().as_secs_f64();
        // The first round is for the pages, the threads and a GPU's kernels.
        if round > 0 {
            seconds.push(all);
            decode.push((amount.batch * (amount.tokens - 1)) as f64 / (all - first));
        }
    }
    Ok(Drafts { seconds: median(seconds), decode: median(decode) })
}

/// The next tokens of sequences that go on by equal shares of `ids`.
fn forward(language: &Llama, ids: &[u32], caches: &mut [Cache]) -> candle_core::Result<Vec<u32>> {
    let time = ids.len() / caches.len().max(1);
    step(language, &language.embed_tokens(ids)?, time, caches)
}

/// The next tokens of sequences that go on by `time` positions each, as the engine takes a step of
/// its batch.
fn step(
    language: &Llama,
    embeddings: &Tensor,
    time: usize,
    caches: &mut [Cache],
) -> candle_core::Result<Vec<u32>> {
    let segments = caches.iter_mut().map(|cache| Segment { cache, time });
    let mut segments = segments.collect::<Vec<_>>();
    let logits = language.forward_ragged(embeddings, &mut segments)?;
    logits.argmax(D::Minus1)?.to_vec1()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
