//! GGUF files: a LLaMA written as llama.cpp's converter does says the same, and files that lie
//! give an error.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use thorascribe::model::checkpoint::gguf::Gguf;
use thorascribe::model::language::cache::Cache;
use thorascribe::model::language::llama::{Llama, LlamaConfig};

fn config() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 48,
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        head_dim: None,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        max_position_embeddings: 32,
        tie_word_embeddings: false,
    }
}

/// A model with random weights, and its tensors by Hugging Face's names.
fn model() -> (Llama, HashMap<String, Tensor>) {
    let map = VarMap::new();
    let source = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let llama = Llama::load(&config(), &source).unwrap();
    let tensors = map.data().lock().unwrap();
    let tensors = tensors.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    (llama, tensors.collect())
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The header's entries: key, type, bytes.
fn entries(config: &LlamaConfig) -> Vec<(String, u32, Vec<u8>)> {
    let whole = |key: &str, value: usize| {
        (format!("llama.{key}"), 4, (value as u32).to_le_bytes().to_vec())
    };
    let mut name = Vec::new();
    text(&mut name, "llama");
    let mut tokens = Vec::new();
    tokens.extend(8u32.to_le_bytes());
    tokens.extend(2u64.to_le_bytes());
    text(&mut tokens, "<s>");
    text(&mut tokens, "word");
    vec![
        ("general.architecture".to_owned(), 8, name),
        ("tokenizer.ggml.tokens".to_owned(), 9, tokens),
        whole("context_length", config.max_position_embeddings),
        whole("embedding_length", config.hidden_size),
        whole("feed_forward_length", config.intermediate_size),
        whole("block_count", config.num_hidden_layers),
        whole("attention.head_count", config.num_attention_heads),
        whole("attention.head_count_kv", config.kv_heads()),
        (
            "llama.attention.layer_norm_rms_epsilon".to_owned(),
            6,
            (config.rms_norm_eps as f32).to_le_bytes().to_vec(),
        ),
    ]
}

/// llama.cpp's name of a tensor.
fn theirs(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    parts
        .iter()
        .fold(name.to_owned(), |name, (hugging_face, ggml)| name.replace(hugging_face, ggml))
}

/// The rows of a head as pairs of neighbours, as the converter writes them.
fn paired(tensor: &Tensor, heads: usize) -> Tensor {
    let (rows, columns) = tensor.dims2().unwrap();
    let halves = tensor.reshape((heads, 2, rows / heads / 2, columns)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
}

fn file(tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    let config = config();
    let entries = entries(&config);
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, kind, bytes) in entries {
        text(&mut out, &key);
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    }
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let tensor = match name.rsplit('.').nth(1) {
            Some("q_proj") => paired(tensor, config.num_attention_heads),
            Some("k_proj") => paired(tensor, config.kv_heads()),
            _ => tensor.clone(),
        };
        text(&mut out, &theirs(name));
        out.extend((tensor.rank() as u32).to_le_bytes());
        for side in tensor.dims().iter().rev() {
            out.extend((*side as u64).to_le_bytes());
        }
        out.extend(0u32.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    }
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

fn open(bytes: &[u8]) -> Result<Gguf, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Gguf::open(file.path()).map_err(|e| e.to_string())
}

#[test]
fn a_file_says_what_its_model_says() {
    let (llama, tensors) = model();
    let Gguf { config: read, stored } = open(&file(&tensors)).unwrap();
    // Epsilon has the precision of the file.
    assert!((read.rms_norm_eps - 1e-5).abs() < 1e-11);
    assert_eq!(LlamaConfig { rms_norm_eps: 1e-5, head_dim: None, ..read.clone() }, config());
    let source = VarBuilder::from_backend(Box::new(stored), DType::F32, Device::Cpu);
    let other = Llama::load(&read, &source).unwrap();
    let ids = Tensor::new(&[[1u32, 7, 30, 2, 47]], &Device::Cpu).unwrap();
    let logits = |model: &Llama| {
        let logits = model.forward_embeds(&model.embed(&ids).unwrap(), None).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    for (got, want) in logits(&other).iter().zip(logits(&llama)) {
        assert!((got - want).abs() < 1e-5, "{got} for {want}");
    }
}

#[test]
fn files_that_lie_give_an_error_soon() {
    let whole = file(&model().1);
    let header = whole.len() - 4 * model().1.values().map(Tensor::elem_count).sum::<usize>();
    for cut in (0..header).step_by(7).chain([whole.len() - 1]) {
        assert!(open(&whole[..cut]).is_err(), "cut at {cut}");
    }
    // Every byte of the header changed in turn: an error or a file, never a panic.
    for at in (0..header).step_by(3) {
        for value in [0, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            drop(open(&bytes));
        }
    }
    // Counts that would take all memory.
    for at in [8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].fill(0xff);
        assert!(open(&bytes).unwrap_err().contains("tensors and"), "count at {at}");
    }
    assert!(open(b"GGML rest").unwrap_err().contains("not a GGUF file"));
}

#[test]
fn what_is_not_supported_is_named() {
    let whole = file(&model().1);
    let replaced = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|part| part == from).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        open(&bytes).unwrap_err()
    };
    assert!(replaced(b"blk.0.attn_q.weight", b"blk.0.attn_z").contains("blk.0.attn_z.weight"));
    let mut architecture = 5u64.to_le_bytes().to_vec();
    architecture.extend(b"llama");
    let mut other = 5u64.to_le_bytes().to_vec();
    other.extend(b"gemma");
    assert!(replaced(&architecture, &other).contains("\"gemma\""));
}

/// One position at a time over a cache takes other kernels than all of them at once.
#[test]
fn a_position_at_a_time_says_what_all_at_once_say() {
    let Gguf { config, stored } = open(&file(&model().1)).unwrap();
    let source = VarBuilder::from_backend(Box::new(stored), DType::F32, Device::Cpu);
    let llama = Llama::load(&config, &source).unwrap();
    let ids = Tensor::new(&[[1u32, 7, 30, 2, 47], [9, 9, 0, 13, 21]], &Device::Cpu).unwrap();
    let embeds = llama.embed(&ids).unwrap();
    let want = llama.forward_embeds(&embeds, None).unwrap();
    let mut cache = Cache::new(llama.config(), 2, 8, DType::F32, &Device::Cpu).unwrap();
    for at in 0..5 {
        let part = embeds.narrow(1, at, 1).unwrap();
        let got = llama.forward_last(&part, Some(&mut cache)).unwrap();
        let want = want.narrow(1, at, 1).unwrap().squeeze(1).unwrap();
        let gap = (got - want).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f32>().unwrap() < 1e-5, "position {at}");
    }
}
