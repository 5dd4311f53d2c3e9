//! The language model's side of an import: a Hugging Face LLaMA's configuration and tokenizer.

use std::path::Path;

use serde::Deserialize;

use super::{Part, read, read_json};
use crate::model::checkpoint::layout::LanguageFiles;
use crate::model::error::ModelError;
use crate::model::language::llama::LlamaConfig;
use crate::model::score::Answers;
use crate::model::tokenizer::Tokenizer;
use crate::model::tokenizer::sentencepiece::SentencePiece;

pub(super) const STOP: &str = "###";
/// "###" in the two ways LLaMA's tokenizer can write it.
const STOP_TOKENS: [&[u32]; 2] = [&[835], &[2277, 29937]];

/// A language model but for its tensors.
pub(super) struct Language {
    /// Its sizes.
    pub(super) config: LlamaConfig,
    /// Its tokenizer as `tokenizer.json`.
    pub(super) tokenizer: Vec<u8>,
    /// Begin of sequence.
    pub(super) bos: u32,
    /// End of sequence.
    pub(super) eos: u32,
    /// Token sequences that end an answer.
    pub(super) stop_tokens: Vec<Vec<u32>>,
    /// Whether its tokens tell "yes" from "no".
    pub(super) says_yes: bool,
}

impl Language {
    /// Reads configuration and tokenizer.
    pub(super) fn read(files: &LanguageFiles) -> Result<Self, ModelError> {
        let variant = read_json::<LlamaVariant>(&files.config)?;
        let config = llama_config(&files.config, &variant)?;
        let (json, bos, eos) = tokenizer(&files.tokenizer, &variant)?;
        let tokenizer = Tokenizer::from_json(&json, vec![bos, eos])?;
        let (ids, vocabulary) = (tokenizer.size(), config.vocab_size);
        if ids > vocabulary {
            let reason = format!("{ids} ids for a language model of {vocabulary}");
            return Err(ModelError::invalid(&files.tokenizer, reason));
        }
        let stop_tokens = stop_tokens(&tokenizer, &variant, eos)?;
        let says_yes = Answers::new(&tokenizer).is_ok();
        Ok(Self { config, tokenizer: json, bos, eos, stop_tokens, says_yes })
    }
}

/// The tensors, under Hugging Face's names.
pub(super) fn part(files: &LanguageFiles, config: &LlamaConfig) -> Part {
    let tied = config.tie_word_embeddings;
    Part {
        file: super::LANGUAGE,
        paths: files.tensors.clone(),
        ours: "",
        theirs: "",
        rename: Box::new(move |name| {
            // With one table for both, PyTorch's files may hold it twice, and the published code
            // does not read the second.
            let twice = tied && name == "lm_head.weight";
            (!twice && !name.ends_with(".rotary_emb.inv_freq")).then(|| name.to_owned())
        }),
    }
}

/// The tokenizer as `tokenizer.json`, and its begin and end of sequence.
fn tokenizer(path: &Path, variant: &LlamaVariant) -> Result<(Vec<u8>, u32, u32), ModelError> {
    let bytes = read(path)?;
    if path.extension().is_some_and(|e| e == "model") {
        let pieces = SentencePiece::parse(&bytes).map_err(|e| ModelError::invalid(path, e))?;
        return Ok((pieces.to_json(), pieces.bos, pieces.eos));
    }
    // A tokenizer.json does not say which of its ids these are.
    let eos = variant.ends().first().copied().unwrap_or(2);
    Ok((bytes, variant.bos_token_id.unwrap_or(1), eos))
}

/// LLaMA's two stop sequences where the tokenizer is LLaMA's, else the one it gives itself; and
/// each end of sequence of the language model that is not `eos`.
fn stop_tokens(
    tokenizer: &Tokenizer,
    variant: &LlamaVariant,
    eos: u32,
) -> Result<Vec<Vec<u32>>, ModelError> {
    let own = tokenizer.encode(STOP)?;
    let [first, _] = STOP_TOKENS;
    let mut stops =
        if own == first { STOP_TOKENS.map(<[u32]>::to_vec).to_vec() } else { vec![own] };
    stops.extend(variant.ends().iter().filter(|id| **id != eos).map(|id| vec![*id]));
    Ok(stops)
}

/// What else a LLaMA configuration may say.
#[derive(Deserialize)]
struct LlamaVariant {
    model_type: Option<String>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<Ends>,
    // Each of these changes the arithmetic.
    hidden_act: Option<String>,
    rope_scaling: Option<RopeParameters>,
    /// Where transformers 5 writes the base and the scaling.
    rope_parameters: Option<RopeParameters>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
}

/// One end of sequence, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
}

#[derive(Deserialize)]
struct RopeParameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

impl LlamaVariant {
    fn ends(&self) -> &[u32] {
        match &self.eos_token_id {
            None => &[],
            Some(Ends::One(id)) => std::slice::from_ref(id),
            Some(Ends::Several(ids)) => ids,
        }
    }
}

fn llama_config(path: &Path, variant: &LlamaVariant) -> Result<LlamaConfig, ModelError> {
    let invalid = |reason: String| Err(ModelError::invalid(path, reason));
    if let Some(other) = variant.model_type.as_ref().filter(|kind| *kind != "llama") {
        return invalid(format!("model_type = {other:?}; only \"llama\" is supported"));
    }
    if let Some(other) = variant.hidden_act.as_ref().filter(|act| *act != "silu") {
        return invalid(format!("hidden_act = {other:?}; only \"silu\" is supported"));
    }
    let rope =
        [("rope_scaling", &variant.rope_scaling), ("rope_parameters", &variant.rope_parameters)];
    for (key, rope) in rope {
        let kind = rope.as_ref().and_then(|rope| rope.rope_type.as_deref());
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return invalid(format!("{key} of type {kind:?}; only \"default\" is supported"));
        }
    }
    if variant.attention_bias == Some(true) || variant.mlp_bias == Some(true) {
        return invalid("attention_bias and mlp_bias are not supported".to_owned());
    }
    let mut config = read_json::<LlamaConfig>(path)?;
    if let Some(theta) = variant.rope_parameters.as_ref().and_then(|rope| rope.rope_theta) {
        config.rope_theta = theta;
    }
    match config.check() {
        Ok(()) => Ok(config),
        Err(reason) => invalid(reason),
    }
}
