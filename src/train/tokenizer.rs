//! A byte-level BPE vocabulary of the grammar's own words.

use std::path::Path;

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};

use super::error::TrainError;

/// The ids of the special tokens, LLaMA's.
pub const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Begins a prompt.
pub const BOS: u32 = 1;
/// Ends a summary.
pub const EOS: u32 = 2;

/// Learns a vocabulary of about that many pieces from the texts and writes `tokenizer.json`.
pub fn train(texts: &[String], pieces: usize, path: &Path) -> Result<(), TrainError> {
    let failed = |error: tokenizers::Error| TrainError::Tokenizer { reason: error.to_string() };
    let bytes = ByteLevel::new(false, false, true);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        ByteLevel,
        PostProcessorWrapper,
        ByteLevel,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(bytes))
    .with_decoder(Some(bytes))
    .build()
    .map_err(failed)?;
    let special = SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(pieces)
        .min_frequency(2)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.iter()).map_err(failed)?;
    tokenizer.save(path, false).map_err(failed)
}
