//! From what users hold to a model directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::expect::{compare, shapes};
use super::files::hexadecimal;
use super::folder::{refuse_occupied, write_folder};
use super::manifest::{
    Architecture, Conversation, ConversationTemplate, Fit, ImageProcessing, ImageTokens, Manifest,
    ProjectionConfig, TokenizerConfig,
};
use super::{Tensors, layout, torch};
use crate::model::error::{ModelError, Step};
use crate::model::language::llama::LlamaConfig;
use crate::model::tokenizer::Tokenizer;
use crate::model::tokenizer::sentencepiece::SentencePiece;
use crate::model::vision::encoder::ImageEncoderConfig;
use crate::model::vision::swin::SwinConfig;

/// MedCLIP's own mean and deviation of grey values (`medclip/constants.py`).
const MEDCLIP_MEAN: f64 = 0.586_278_580_304_383_8;
const MEDCLIP_STD: f64 = 0.279_500_889_686_443_04;

const STOP: &str = "###";
/// "###" in the two ways LLaMA's tokenizer can write it.
const STOP_TOKENS: [&[u32]; 2] = [&[835], &[2277, 29937]];

/// XrayGPT's questions (`prompts/alignment.txt`).
const PROMPTS: [&str; 6] = [
    "Describe the given chest x-ray image in detail.",
    "Take a look at this chest x-ray and describe the findings and impression.",
    "Could you provide a detailed description of the given x-ray image?",
    "Describe the given chest x-ray image as detailed as possible.",
    "What are the key findings in this chest x-ray image?",
    "Could you highlight any abnormalities or concerns in this chest x-ray image?",
];

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Parts done.
    pub done: u64,
    /// Parts in all.
    pub of: u64,
    /// What is being done.
    pub doing: &'a str,
}

/// Makes a model directory of `source` in `out`, which must be empty or absent. Nothing is left
/// there when it fails.
pub fn import(
    source: &Path,
    out: &Path,
    image_tokens: ImageTokens,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Manifest, ModelError> {
    refuse_occupied(out)?;
    let files = layout::medclip(source)?;
    let mut done = 0;
    let mut report = |doing: &str| {
        progress(Progress { done, of: 6, doing });
        done += 1;
    };
    report("reading the image encoder");
    let encoder = read_encoder(&files.encoder)?;
    report("reading the projection");
    let projection = read_projection(&files.projection, image_tokens)?;
    report("reading the language model");
    let mut language = read_language(&files.language)?;
    report("reading the tokenizer");
    let variant = read_json::<LlamaVariant>(&files.language_config)?;
    let (json, bos, eos) = read_tokenizer(&files, &variant)?;
    let embedding = encoder.get("vision_model.projection_head.weight");
    let embedding = embedding.and_then(|t| t.dims().first().copied());
    let tokenizer = Tokenizer::from_json(&json, vec![bos, eos])?;
    let language_model = llama_config(&files.language_config, &variant)?;
    if language_model.tie_word_embeddings {
        // The table once more: PyTorch's files hold it, and the published code does not read it.
        language.remove("lm_head.weight");
    }
    let mut manifest = Manifest {
        format: 1,
        name: format!("xraygpt-medclip-{image_tokens}"),
        architecture: Architecture::SwinLinearLlama,
        licence: "as of the checkpoint imported; see its source".to_owned(),
        source: files.describe(),
        dtype: None,
        prompts: PROMPTS.map(str::to_owned).to_vec(),
        image: ImageProcessing {
            fit: Fit::PadToSquare,
            mean: vec![MEDCLIP_MEAN],
            std: vec![MEDCLIP_STD],
        },
        image_encoder: ImageEncoderConfig::Swin(swin_config(&files.encoder_config)?),
        projection: ProjectionConfig { image_tokens, tokens: 1, embedding },
        language_model,
        tokenizer: TokenizerConfig { file: "tokenizer.json".to_owned(), bos, eos },
        conversation: Conversation {
            template: String::new(),
            stop_texts: vec![STOP.to_owned()],
            stop_tokens: stop_tokens(&tokenizer, &variant, eos)?,
            templates: ConversationTemplate::own(),
        },
        scores: None,
        scope: None,
        files: BTreeMap::from([("tokenizer.json".to_owned(), String::new())]),
    };
    manifest.check().map_err(|reason| ModelError::invalid(source, reason))?;
    let (ids, vocabulary) = (tokenizer.size(), manifest.language_model.vocab_size);
    if ids > vocabulary {
        let reason = format!("{ids} ids for a language model of {vocabulary}");
        return Err(ModelError::invalid(files.tokenizer, reason));
    }
    report("checking the tensors");
    check(&manifest, &[&encoder, &projection, &language])?;
    report("writing");
    let parts = [
        ("image_encoder.safetensors", encoder),
        ("projection.safetensors", projection),
        ("language_model.safetensors", language),
    ];
    write(&mut manifest, &json, &parts, out)?;
    progress(Progress { done: 6, of: 6, doing: "done" });
    Ok(manifest)
}

/// What the published implementation computes from the sizes, or does not use.
fn derived(name: &str) -> bool {
    name.starts_with("text_model.")
        || name == "logit_scale"
        || name.ends_with(".relative_position_index")
        || name.ends_with(".rotary_emb.inv_freq")
}

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

fn read_encoder(path: &Path) -> Result<Tensors, ModelError> {
    let older = |name: String| {
        let newer = NEWER_NAMES.iter().find(|(newer, _)| name.contains(newer));
        newer.map_or(name.clone(), |(newer, older)| name.replacen(newer, older, 1))
    };
    let tensors = torch::read(path, |name| !derived(name))?;
    Ok(tensors.into_iter().map(|(name, tensor)| (older(name), tensor)).collect())
}

fn read_projection(path: &Path, image_tokens: ImageTokens) -> Result<Tensors, ModelError> {
    let all = read_safetensors(path)?;
    let (ours, other) = match image_tokens {
        ImageTokens::Pooled => ("projection.pooled.", "projection.patches."),
        ImageTokens::Patches => ("projection.patches.", "projection.pooled."),
    };
    let renamed = all.into_iter().filter(|(name, _)| !name.starts_with(other)).map(|(name, t)| {
        let short = name.strip_prefix(ours).map(|rest| format!("projection.{rest}"));
        (short.unwrap_or(name), t)
    });
    Ok(renamed.collect())
}

fn read_language(paths: &[PathBuf]) -> Result<Tensors, ModelError> {
    let mut all = Tensors::new();
    for path in paths {
        let part = if path.extension().is_some_and(|e| e == "bin") {
            torch::read(path, |name| !derived(name))?
        } else {
            read_safetensors(path)?
        };
        all.extend(part.into_iter().filter(|(name, _)| !derived(name)));
    }
    Ok(all)
}

fn read_safetensors(path: &Path) -> Result<Tensors, ModelError> {
    let bytes = read(path)?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| ModelError::invalid(path, format!("not a safetensors file, or cut off: {e}")))
}

/// The tokenizer as `tokenizer.json`, and its begin and end of sequence.
fn read_tokenizer(
    files: &layout::MedclipFiles,
    variant: &LlamaVariant,
) -> Result<(Vec<u8>, u32, u32), ModelError> {
    let path = &files.tokenizer;
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

fn swin_config(path: &Path) -> Result<SwinConfig, ModelError> {
    let config = read_json::<SwinConfig>(path)?;
    config.check().map_err(|reason| ModelError::invalid(path, reason))?;
    Ok(config)
}

/// What else a LLaMA configuration may say.
#[derive(Deserialize)]
struct LlamaVariant {
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

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    serde_json::from_slice(&read(path)?).map_err(|e| ModelError::invalid(path, e.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })
}

fn check(manifest: &Manifest, parts: &[&Tensors]) -> Result<(), ModelError> {
    let all = parts.iter().flat_map(|part| part.iter());
    let found = all.map(|(name, t)| (name.clone(), t.dims().to_vec())).collect();
    compare(&shapes(manifest)?, &found)
}

/// Writes a tokenizer and the tensors by file.
fn write(
    manifest: &mut Manifest,
    tokenizer: &[u8],
    parts: &[(&str, Tensors)],
    out: &Path,
) -> Result<(), ModelError> {
    write_folder(manifest, out, |folder| {
        let place = folder.join("tokenizer.json");
        fs::write(&place, tokenizer).map_err(|source| ModelError::Write { path: place, source })?;
        let digest = |bytes: &[u8]| hexadecimal(&Sha256::digest(bytes));
        let mut digests = BTreeMap::from([("tokenizer.json".to_owned(), digest(tokenizer))]);
        for (name, tensors) in parts {
            let place = folder.join(name);
            candle_core::safetensors::save(tensors, &place).step("writing safetensors")?;
            digests.insert((*name).to_owned(), digest(&read(&place)?));
        }
        Ok(digests)
    })
}
