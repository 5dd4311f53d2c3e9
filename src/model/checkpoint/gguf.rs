//! GGUF files of LLaMA language models, as llama.cpp and its kin write them.
//!
//! Every count and length in the header is held against the bytes that are left before anything
//! is made of it; arrays are skipped, not kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use candle_core::DType;

use super::stored::{Kind, Place, Source, Stored};
use crate::model::error::ModelError;
use crate::model::language::llama::LlamaConfig;
use crate::model::quantized::Packing;

/// The largest header read, bytes: a vocabulary with its merges takes some 10 MB.
const LARGEST_HEADER: u64 = 256 << 20;
/// Tensors and entries that a header may state.
const MOST: u64 = 1 << 17;
/// Bytes of a name or text that is kept.
const LONGEST: u64 = 1 << 16;
/// Arrays within arrays.
const DEEPEST: usize = 4;

/// A language model in one file.
#[derive(Debug)]
pub struct Gguf {
    /// Its sizes.
    pub config: LlamaConfig,
    /// Its tensors, under the names of Hugging Face's `LlamaForCausalLM`.
    pub stored: Stored,
}

impl Gguf {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let failed = |source| ModelError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let source = Source::File(file, path.to_owned());
        let mut head = vec![0; usize::try_from(length.min(LARGEST_HEADER)).unwrap_or_default()];
        let invalid = |reason: String| ModelError::invalid(path, format!("GGUF: {reason}"));
        // Read piece by piece: a header is small beside the file.
        let mut known = 0;
        let header = loop {
            let next = (known.max(1 << 20) * 4).min(head.len());
            if let Some(part) = head.get_mut(known..next) {
                source.read_at(part, known as u64).map_err(failed)?;
            }
            known = next;
            match Header::parse(head.get(..known).unwrap_or_default()) {
                Err(Fault::Short) if known < head.len() => {}
                Err(Fault::Short) => return Err(invalid("the header is cut off".to_owned())),
                Err(Fault::Wrong(reason)) => return Err(invalid(reason)),
                Ok(header) => break header,
            }
        };
        drop(head);
        let config = header.config().map_err(invalid)?;
        let mut stored = Stored::default();
        for (name, tensor) in &header.tensors {
            let Some(name) = renamed(name) else {
                return Err(invalid(format!("the tensor {name} is none of a LLaMA's")));
            };
            let place = tensor.place(&name, header.data, length, &config);
            let place = place.map_err(|reason| invalid(format!("{name}: {reason}")))?;
            stored.insert(path, name, place)?;
        }
        stored.add_source(source);
        Ok(Self { config, stored })
    }
}

/// Hugging Face's name of a tensor.
fn renamed(name: &str) -> Option<String> {
    let rest = match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => name.strip_prefix("blk.")?.strip_suffix(".weight")?,
    };
    let (layer, part) = rest.split_once('.')?;
    let layer = layer.parse::<u16>().ok()?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.weight"))
}

#[derive(Debug)]
enum Fault {
    /// More bytes are needed.
    Short,
    Wrong(String),
}

#[derive(Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Text(String),
    /// Something that is not looked at.
    Other,
}

#[derive(Debug)]
struct TensorInfo {
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

impl TensorInfo {
    fn place(
        &self,
        name: &str,
        data: u64,
        length: u64,
        config: &LlamaConfig,
    ) -> Result<Place, String> {
        let columns = self.shape.last().copied().unwrap_or_default();
        let kind = match (self.kind, Packing::from_ggml(self.kind)) {
            (0, _) => Kind::Floats(DType::F32),
            (_, Some(packing)) => packing.float().map_or(Kind::Blocks(packing), Kind::Floats),
            (other, None) => return Err(format!("weights of ggml's type {other} are not read")),
        };
        let row = match kind {
            Kind::Floats(dtype) => columns.checked_mul(dtype.size_in_bytes()),
            Kind::Blocks(packing) if self.shape.len() == 2 => packing.row_bytes(columns),
            Kind::Blocks(_) => None,
        };
        let rows = self.shape.iter().rev().skip(1).try_fold(1usize, |n, s| n.checked_mul(*s));
        let bytes = row.zip(rows).and_then(|(row, rows)| row.checked_mul(rows));
        let Some(bytes) = bytes.filter(|bytes| *bytes > 0) else {
            return Err(format!("a size that cannot be, {:?}", self.shape));
        };
        let at = data.checked_add(self.offset);
        let end = at.and_then(|at| at.checked_add(bytes as u64));
        let Some(at) = at.filter(|_| end.is_some_and(|end| end <= length)) else {
            return Err("it reaches past the end of the file".to_owned());
        };
        let paired_heads = if name.ends_with("q_proj.weight") {
            Some(config.num_attention_heads)
        } else if name.ends_with("k_proj.weight") {
            Some(config.kv_heads())
        } else {
            None
        };
        if paired_heads.is_some_and(|heads| {
            self.shape.first().is_none_or(|rows| !rows.is_multiple_of(2 * heads.max(1)))
        }) {
            return Err(format!("{:?} does not divide among the heads", self.shape));
        }
        let shape = self.shape.clone();
        Ok(Place { source: 0, kind, shape, at, bytes, paired_heads, strides: None })
    }
}

#[derive(Debug)]
struct Header {
    entries: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' bytes begin.
    data: u64,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader { rest: bytes };
        if reader.take(4)? != b"GGUF" {
            return Err(Fault::Wrong("not a GGUF file".to_owned()));
        }
        let version = reader.u32()?;
        if version != 2 && version != 3 {
            return Err(Fault::Wrong(format!("version {version}; 2 and 3 are read here")));
        }
        let (tensor_count, entry_count) = (reader.u64()?, reader.u64()?);
        if tensor_count > MOST || entry_count > MOST {
            let reason = format!("{tensor_count} tensors and {entry_count} entries");
            return Err(Fault::Wrong(reason));
        }
        let mut entries = BTreeMap::new();
        for _ in 0..entry_count {
            let key = reader.text()?;
            let kind = reader.u32()?;
            entries.insert(key, reader.value(kind, 0)?);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = reader.text()?;
            let dimensions = reader.u32()?;
            if dimensions == 0 || dimensions > 4 {
                return Err(Fault::Wrong(format!("{name} has {dimensions} dimensions")));
            }
            let mut shape = Vec::new();
            for _ in 0..dimensions {
                let side = usize::try_from(reader.u64()?);
                shape.push(side.map_err(|e| Fault::Wrong(format!("{name}: {e}")))?);
            }
            // The fastest dimension stands first.
            shape.reverse();
            let (kind, offset) = (reader.u32()?, reader.u64()?);
            if tensors.insert(name.clone(), TensorInfo { shape, kind, offset }).is_some() {
                return Err(Fault::Wrong(format!("the tensor {name} stands twice")));
            }
        }
        let alignment = match entries.get("general.alignment") {
            None => 32,
            Some(Value::Whole(n)) if (1..=1 << 16).contains(n) => *n,
            Some(other) => return Err(Fault::Wrong(format!("an alignment of {other:?}"))),
        };
        let end = (bytes.len() - reader.rest.len()) as u64;
        Ok(Self { entries, tensors, data: end.next_multiple_of(alignment) })
    }

    fn config(&self) -> Result<LlamaConfig, String> {
        let text = |key: &str| match self.entries.get(key) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let architecture = text("general.architecture").unwrap_or_default();
        if architecture != "llama" {
            return Err(format!(
                "a model of architecture {architecture:?}; only \"llama\" is read"
            ));
        }
        if let Some(kind) = text("llama.rope.scaling.type").filter(|kind| *kind != "none") {
            return Err(format!("rope scaling of type {kind:?} is not supported"));
        }
        let maybe = |key: &str| match self.entries.get(&format!("llama.{key}")) {
            Some(Value::Whole(n)) => usize::try_from(*n).ok(),
            _ => None,
        };
        let whole =
            |key: &str| maybe(key).ok_or_else(|| format!("llama.{key} is missing from the header"));
        let real = |key: &str, absent: f64| match self.entries.get(&format!("llama.{key}")) {
            Some(Value::Real(x)) => *x,
            _ => absent,
        };
        let table = self.tensors.get("token_embd.weight").map(|tensor| tensor.shape.as_slice());
        let Some([vocab_size, _]) = table else {
            return Err("token_embd.weight is missing or no matrix".to_owned());
        };
        let config = LlamaConfig {
            vocab_size: *vocab_size,
            hidden_size: whole("embedding_length")?,
            intermediate_size: whole("feed_forward_length")?,
            num_hidden_layers: whole("block_count")?,
            num_attention_heads: whole("attention.head_count")?,
            num_key_value_heads: maybe("attention.head_count_kv"),
            head_dim: maybe("attention.key_length"),
            rms_norm_eps: real("attention.layer_norm_rms_epsilon", 1e-5),
            rope_theta: real("rope.freq_base", 10_000.0),
            max_position_embeddings: whole("context_length")?,
            tie_word_embeddings: !self.tensors.contains_key("output.weight"),
        };
        config.check()?;
        if maybe("rope.dimension_count").is_some_and(|n| n != config.head_width()) {
            return Err("a rotary embedding over a part of each head is not supported".to_owned());
        }
        Ok(config)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        let Some((part, rest)) = count.and_then(|count| self.rest.split_at_checked(count)) else {
            return Err(Fault::Short);
        };
        self.rest = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = self.u64()?;
        if length > LONGEST {
            return Err(Fault::Wrong(format!("a name or text of {length} bytes")));
        }
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, Fault> {
        Ok(match kind {
            0 | 7 => Value::Whole(u64::from(self.array::<1>()?[0])),
            1 => self.take(1).map(|_| Value::Other)?,
            2 => Value::Whole(u64::from(u16::from_le_bytes(self.array()?))),
            3 => self.take(2).map(|_| Value::Other)?,
            4 => Value::Whole(u64::from(self.u32()?)),
            5 => signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Real(f64::from(f32::from_le_bytes(self.array()?))),
            8 => {
                let length = self.u64()?;
                let bytes = self.take(length)?;
                if length > LONGEST {
                    Value::Other
                } else {
                    Value::Text(String::from_utf8_lossy(bytes).into_owned())
                }
            }
            9 => {
                self.skip_array(depth)?;
                Value::Other
            }
            10 => Value::Whole(self.u64()?),
            11 => signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Real(f64::from_le_bytes(self.array()?)),
            other => return Err(Fault::Wrong(format!("an entry of type {other}"))),
        })
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), Fault> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                // Each text takes 8 bytes at least, so a count that lies ends early.
                for _ in 0..count {
                    let length = self.u64()?;
                    self.take(length)?;
                }
                return Ok(());
            }
            9 if depth < DEEPEST => {
                for _ in 0..count {
                    self.skip_array(depth + 1)?;
                }
                return Ok(());
            }
            other => return Err(Fault::Wrong(format!("an array of type {other}"))),
        };
        let Some(bytes) = count.checked_mul(size) else {
            return Err(Fault::Wrong(format!("an array of {count} values")));
        };
        self.take(bytes)?;
        Ok(())
    }
}

fn signed(value: i64) -> Value {
    u64::try_from(value).map_or(Value::Other, Value::Whole)
}
