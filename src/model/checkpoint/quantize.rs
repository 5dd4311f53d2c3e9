//! Making a model smaller: which tensor gets which type, and its bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::{DType, Tensor};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::files::ModelFiles;
use super::folder::{refuse_occupied, write_folder};
use super::import::Progress;
use super::manifest::Manifest;
use super::stored::Stored;
use super::writer::{Header, SafetensorsWriter};
use crate::model::error::{ModelError, Step};
use crate::model::quantized::Packing;

/// What a model's weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// Everything in 32 bits.
    F32,
    /// Matrices in half precision.
    F16,
    /// Matrices in bfloat16.
    Bf16,
    /// The language model's matrices in blocks of 8 bits, others in 16 bits.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// The language model's matrices in blocks of 4 and 6 bits, as llama.cpp's Q4_K_M mixes them;
    /// others in 16 bits.
    #[serde(rename = "q4_k")]
    Q4K,
}

impl std::fmt::Display for WeightType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
        })
    }
}

impl std::str::FromStr for WeightType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "q8_0" => Self::Q8_0,
            "q4_k" => Self::Q4K,
            _ => return Err(format!("{text:?}; the types are f32, f16, bf16, q8_0 and q4_k")),
        })
    }
}

/// How one tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Numbers of this type.
    Floats(DType),
    /// Blocks.
    Blocks(Packing),
}

/// What a tensor becomes. `layers` is the number of the language model's blocks, `source` the type
/// it has now. A matrix whose rows are no whole blocks gets the next larger type that fits.
pub fn form(name: &str, shape: &[usize], source: DType, target: WeightType, layers: usize) -> Form {
    let [_, columns] = *shape else {
        return if shape.len() < 2 { Form::Floats(DType::F32) } else { float(source, target) };
    };
    let language = name == "lm_head.weight"
        || name == "model.embed_tokens.weight"
        || (name.starts_with("model.layers.") && name.ends_with("_proj.weight"));
    let wanted = match target {
        WeightType::Q8_0 if language => [Packing::Q8_0].as_slice(),
        WeightType::Q4K if language && fine(name, layers) => &[Packing::Q6K, Packing::Q8_0],
        WeightType::Q4K if language => &[Packing::Q4K, Packing::Q8_0],
        _ => &[],
    };
    let fits = wanted.iter().find(|packing| packing.row_bytes(columns).is_some());
    fits.map_or_else(|| float(source, target), |packing| Form::Blocks(*packing))
}

/// Matrices stay in bfloat16 where they are: half precision may not reach as far.
fn float(source: DType, target: WeightType) -> Form {
    Form::Floats(match (target, source) {
        (WeightType::F32, _) => DType::F32,
        (WeightType::Bf16, _) | (WeightType::Q8_0 | WeightType::Q4K, DType::BF16) => DType::BF16,
        _ => DType::F16,
    })
}

/// Whether llama.cpp's Q4_K_M gives this matrix six bits: the output layer, and values and the
/// feed-forward's way down in half of the blocks.
fn fine(name: &str, layers: usize) -> bool {
    if name == "lm_head.weight" {
        return true;
    }
    let mut parts = name.trim_start_matches("model.layers.").split('.');
    let layer = parts.next().and_then(|n| n.parse::<usize>().ok());
    let part = parts.nth(1).unwrap_or_default();
    let eighth = layers / 8;
    layer.is_some_and(|layer| {
        (part == "v_proj" || part == "down_proj")
            && (layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2)
    })
}

impl Form {
    /// That of a tensor that stays as it is; what no model directory holds becomes f32.
    fn kept(dtype: DType) -> Self {
        Self::Floats(match dtype {
            DType::F16 | DType::BF16 => dtype,
            _ => DType::F32,
        })
    }

    /// The tensor's entry in a safetensors file.
    pub fn header(self, name: &str, shape: &[usize]) -> Header {
        match self {
            Self::Floats(dtype) => Header { name: name.to_owned(), dtype, shape: shape.to_vec() },
            Self::Blocks(packing) => {
                let mut shape = shape.to_vec();
                if let Some(columns) = shape.last_mut() {
                    *columns = packing.row_bytes(*columns).unwrap_or_default();
                }
                Header { name: packing.stored_name(name), dtype: DType::U8, shape }
            }
        }
    }

    /// The tensor's bytes.
    ///
    /// # Errors
    /// A number that is not finite in the new type but was before.
    pub fn encode(self, name: &str, tensor: &Tensor) -> Result<Vec<u8>, ModelError> {
        match self {
            Self::Floats(dtype) => {
                let flat = tensor.flatten_all().step("narrowing a tensor")?;
                let count = flat.elem_count();
                let mut bytes = Vec::with_capacity(count * dtype.size_in_bytes());
                // Piece by piece: the largest tensor is not to stand in memory four times.
                for first in (0..count).step_by(PIECE) {
                    let part = flat.narrow(0, first, PIECE.min(count - first));
                    let part = part.step("narrowing a tensor")?;
                    let narrow = part.to_dtype(dtype).step("narrowing a tensor")?;
                    if dtype == DType::F16
                        && part.dtype() != DType::F16
                        && overflows(&part, &narrow)
                    {
                        let reason = format!("{name} holds numbers beyond f16; choose bf16 or f32");
                        return Err(ModelError::Request(reason));
                    }
                    append(&narrow, &mut bytes).step("narrowing a tensor")?;
                }
                Ok(bytes)
            }
            Self::Blocks(packing) => blocks(packing, tensor).step("quantizing a tensor"),
        }
    }
}

fn overflows(before: &Tensor, after: &Tensor) -> bool {
    let infinite = |t: &Tensor| {
        let wide = t.to_dtype(DType::F32).and_then(|t| t.flatten_all()?.to_vec1::<f32>());
        wide.map(|all| all.iter().filter(|x| x.is_infinite()).count()).unwrap_or_default()
    };
    infinite(before) != infinite(after)
}

/// Numbers encoded at once.
const PIECE: usize = 1 << 20;

/// Appends the numbers' bytes, little-endian.
fn append(flat: &Tensor, bytes: &mut Vec<u8>) -> candle_core::Result<()> {
    let halves = |bits: &[u16], bytes: &mut Vec<u8>| {
        bytes.extend(bits.iter().flat_map(|b| b.to_le_bytes()));
    };
    match flat.dtype() {
        DType::F16 => halves(flat.to_vec1::<half::f16>()?.reinterpret_cast(), bytes),
        DType::BF16 => halves(flat.to_vec1::<half::bf16>()?.reinterpret_cast(), bytes),
        _ => {
            let wide = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            bytes.extend(wide.iter().flat_map(|x| x.to_le_bytes()));
        }
    }
    Ok(())
}

/// A matrix in ggml's blocks, by candle's port of ggml's reference, some rows at a time.
fn blocks(packing: Packing, tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    const ROWS: usize = 64;
    let (rows, _) = tensor.dims2()?;
    let parts = (0..rows).step_by(ROWS).collect::<Vec<_>>().into_par_iter().map(|first| {
        let part = tensor.narrow(0, first, ROWS.min(rows - first))?;
        let part = part.to_dtype(DType::F32)?.contiguous()?;
        Ok(QTensor::quantize(&part, packing.ggml())?.data()?.into_owned())
    });
    Ok(parts.collect::<candle_core::Result<Vec<_>>>()?.concat())
}

/// Makes a smaller copy of a model directory in `out`, which must be empty or absent. One tensor
/// is in memory at a time; nothing is left in `out` when it fails.
pub fn quantize(
    files: &ModelFiles,
    out: &Path,
    target: WeightType,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Manifest, ModelError> {
    refuse_occupied(out)?;
    let stored = files.stored()?;
    super::expect::compare(&super::expect::shapes(files.manifest())?, &stored.shapes())?;
    let mut manifest = files.manifest().clone();
    manifest.dtype = Some(target);
    let weights = |name: &String| !super::files::is_weights(name);
    let others = files.manifest().files.keys().filter(|name| weights(name)).collect::<Vec<_>>();
    write_folder(&mut manifest, out, |folder| {
        let mut digests = BTreeMap::new();
        for name in &others {
            let bytes = files.read(name)?;
            let place = folder.join(name);
            fs::write(&place, &bytes)
                .map_err(|source| ModelError::Write { path: place.clone(), source })?;
            let digest = files.manifest().files.get(*name).cloned().unwrap_or_default();
            digests.insert((*name).clone(), digest);
        }
        let names = stored.names();
        let mut job = Job {
            stored: &stored,
            target: Some(target),
            layers: files.manifest().language_model.num_hidden_layers,
            done: 0,
            of: names.len(),
            progress,
        };
        digests.insert(WEIGHTS.to_owned(), job.write(&names, &folder.join(WEIGHTS))?);
        Ok(digests)
    })?;
    Ok(manifest)
}

/// The file that holds a quantized model's tensors.
const WEIGHTS: &str = "model.safetensors";

/// Tensors on their way into the files of a model directory, one in memory at a time.
pub(super) struct Job<'a> {
    /// Where they lie.
    pub(super) stored: &'a Stored,
    /// What they become; without one each keeps its type.
    pub(super) target: Option<WeightType>,
    /// Blocks of the language model.
    pub(super) layers: usize,
    /// Tensors written so far, of all files.
    pub(super) done: usize,
    /// Tensors in all.
    pub(super) of: usize,
    /// Who is told.
    pub(super) progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Job<'_> {
    /// Writes tensors into a file; gives its SHA-256, hexadecimal.
    pub(super) fn write(&mut self, names: &[String], place: &Path) -> Result<String, ModelError> {
        let planned = names.iter().filter_map(|name| {
            let (shape, dtype) = self.stored.describe(name)?;
            let form = match self.target {
                Some(target) => form(name, shape, dtype, target, self.layers),
                None => Form::kept(dtype),
            };
            Some((name, form, shape))
        });
        let planned = planned.collect::<Vec<_>>();
        let headers = planned.iter().map(|(name, form, shape)| form.header(name, shape));
        let mut writer = SafetensorsWriter::create(place, &headers.collect::<Vec<_>>())?;
        for (name, form, _) in &planned {
            let (done, of) = (self.done as u64, self.of as u64);
            (self.progress)(Progress { done, of, doing: name });
            writer.write(&self.bytes(name, *form)?)?;
            self.done += 1;
        }
        writer.finish()
    }

    fn bytes(&self, name: &str, form: Form) -> Result<Vec<u8>, ModelError> {
        if let Form::Floats(dtype) = form
            && let Some(bytes) = self.stored.floats(name, dtype).step("reading a tensor")?
        {
            return Ok(bytes);
        }
        let tensor = self.stored.tensor(name).step("reading a tensor")?;
        form.encode(name, &tensor)
    }
}
