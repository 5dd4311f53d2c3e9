//! Tensors where they lie: read one at a time when a part of the model asks for them, so that a
//! model never stands in memory twice.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use serde::Deserialize;

use super::expect::Shapes;
use super::quantize::Form;
use super::torch;
use crate::model::error::ModelError;
use crate::model::quantized::{Packed, Packing};

/// The largest safetensors header read, bytes: names and shapes of some 500,000 tensors.
const LARGEST_HEADER: u64 = 100 << 20;

/// Tensors of several files by name.
#[derive(Debug, Default)]
pub struct Stored {
    sources: Vec<Source>,
    places: HashMap<String, Place>,
}

/// The bytes of a file.
#[derive(Debug)]
pub(super) enum Source {
    File(File, PathBuf),
    Bytes(&'static [u8], PathBuf),
}

/// Where a tensor lies, under the name and shape that the architecture knows.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    pub(super) at: u64,
    pub(super) bytes: usize,
    /// Heads whose rows lie as pairs of neighbours, as GGUF has them, not as two halves.
    pub(super) paired_heads: Option<usize>,
    /// Steps between neighbours, in numbers, where they do not lie in the order of the shape.
    pub(super) strides: Option<Vec<usize>>,
}

/// The name that the architecture has for a file's tensor; `None` for one that it leaves alone.
pub(super) type Rename<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Floats(DType),
    Blocks(Packing),
}

impl Kind {
    /// The packing that a linear layer keeps a weight of this kind and shape in.
    fn packing(self, shape: &[usize]) -> Option<Packing> {
        match self {
            Self::Blocks(packing) => Some(packing),
            Self::Floats(DType::F16) if shape.len() == 2 => Some(Packing::F16),
            Self::Floats(DType::BF16) if shape.len() == 2 => Some(Packing::Bf16),
            Self::Floats(_) => None,
        }
    }
}

impl Source {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(_, path) | Self::Bytes(_, path) => path,
        }
    }

    pub(super) fn length(&self) -> std::io::Result<u64> {
        match self {
            Self::File(file, _) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes, _) => Ok(bytes.len() as u64),
        }
    }

    /// Exactly `buffer` from `at` on.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(buffer, at),
            Self::Bytes(bytes, _) => {
                let part = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                match part.and_then(|part| part.get(..buffer.len())) {
                    Some(part) => buffer.copy_from_slice(part),
                    None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                }
                Ok(())
            }
        }
    }
}

/// A tensor in a safetensors header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Stored {
    /// The tensors of one safetensors file, under the names that stand there.
    pub fn of_safetensors(path: &Path) -> std::result::Result<Self, ModelError> {
        let file = File::open(path)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let mut stored = Self::default();
        stored
            .add_safetensors(Source::File(file, path.to_owned()), &|name| Some(name.to_owned()))?;
        Ok(stored)
    }

    /// Opens a safetensors file beside those already there.
    pub(super) fn add_safetensors(
        &mut self,
        source: Source,
        rename: Rename<'_>,
    ) -> std::result::Result<(), ModelError> {
        let path = source.path().to_owned();
        let invalid = |reason: String| ModelError::invalid(&path, reason);
        let failed = |source| ModelError::Read { path: path.clone(), source };
        let length = source.length().map_err(failed)?;
        let mut prefix = [0; 8];
        source.read_at(&mut prefix, 0).map_err(failed)?;
        let header = u64::from_le_bytes(prefix);
        if header > LARGEST_HEADER || header > length.saturating_sub(8) {
            return Err(invalid(format!("not a safetensors file: a header of {header} bytes")));
        }
        let mut text = vec![0; header as usize];
        source.read_at(&mut text, 8).map_err(failed)?;
        let mut entries = serde_json::from_slice::<HashMap<String, serde_json::Value>>(&text)
            .map_err(|e| invalid(format!("safetensors header: {e}")))?;
        entries.remove("__metadata__");
        let start = 8 + header;
        for (name, entry) in entries {
            let Some(own) = rename(&name) else { continue };
            let entry = serde_json::from_value::<Entry>(entry)
                .map_err(|e| invalid(format!("safetensors header: {name}: {e}")))?;
            let (name, place) = self
                .place(&own, &entry, start, length)
                .map_err(|reason| invalid(format!("{name}: {reason}")))?;
            self.insert(&path, name, place)?;
        }
        self.sources.push(source);
        Ok(())
    }

    fn place(
        &self,
        name: &str,
        entry: &Entry,
        start: u64,
        length: u64,
    ) -> std::result::Result<(String, Place), String> {
        let (first, last) = entry.data_offsets;
        let bytes = last.checked_sub(first).and_then(|n| usize::try_from(n).ok());
        let numbers = entry.shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
        let (Some(bytes), Some(numbers)) = (bytes, numbers) else {
            return Err("a size that cannot be".to_owned());
        };
        if start.checked_add(last).is_none_or(|end| end > length) {
            return Err("it reaches past the end of the file".to_owned());
        }
        let place = |name: &str, kind, shape: Vec<usize>| {
            let at = start + first;
            let source = self.sources.len();
            let (paired_heads, strides) = (None, None);
            (name.to_owned(), Place { source, kind, shape, at, bytes, paired_heads, strides })
        };
        if let (Some((weight, packing)), "U8", &[rows, width]) =
            (Packing::of_stored_name(name), entry.dtype.as_str(), entry.shape.as_slice())
        {
            let columns = packing.columns(width).filter(|_| numbers == bytes);
            let columns =
                columns.ok_or_else(|| format!("{width} bytes are no row of {packing}"))?;
            return Ok(place(weight, Kind::Blocks(packing), vec![rows, columns]));
        }
        let dtype = match entry.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "F64" => DType::F64,
            "I64" => DType::I64,
            "U32" => DType::U32,
            "U8" => DType::U8,
            other => return Err(format!("numbers of type {other} are not read here")),
        };
        if numbers.checked_mul(dtype.size_in_bytes()) != Some(bytes) {
            return Err(format!("{bytes} bytes for {:?} of {}", entry.shape, entry.dtype));
        }
        Ok(place(name, Kind::Floats(dtype), entry.shape.clone()))
    }

    /// Opens a PyTorch checkpoint beside the files already there.
    pub(super) fn add_torch(
        &mut self,
        path: &Path,
        rename: Rename<'_>,
    ) -> std::result::Result<(), ModelError> {
        let file = File::open(path)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        for (name, found) in torch::index(path, &file, &|name| rename(name).is_some())? {
            let Some(own) = rename(&name) else { continue };
            let place = Place {
                source: self.sources.len(),
                kind: Kind::Floats(found.dtype),
                bytes: found.span * found.dtype.size_in_bytes(),
                shape: found.shape,
                at: found.at,
                paired_heads: None,
                strides: found.strides,
            };
            self.insert(path, own, place)?;
        }
        self.sources.push(Source::File(file, path.to_owned()));
        Ok(())
    }

    /// The file that holds a tensor.
    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        self.sources.get(self.places.get(name)?.source).map(Source::path)
    }

    pub(super) fn insert(
        &mut self,
        path: &Path,
        name: String,
        place: Place,
    ) -> std::result::Result<(), ModelError> {
        if self.places.contains_key(&name) {
            return Err(ModelError::invalid(path, format!("the tensor {name} stands twice")));
        }
        self.places.insert(name, place);
        Ok(())
    }

    pub(super) fn add_source(&mut self, source: Source) {
        self.sources.push(source);
    }

    /// The names and shapes that the architecture knows.
    pub fn shapes(&self) -> Shapes {
        self.places.iter().map(|(name, place)| (name.clone(), place.shape.clone())).collect()
    }

    /// The names, in the order in which they lie.
    pub fn names(&self) -> Vec<String> {
        let mut all = self.places.iter().collect::<Vec<_>>();
        all.sort_by_key(|(name, place)| (place.source, place.at, *name));
        all.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// The shape of a tensor and the type of its numbers; blocks count as f32.
    pub fn describe(&self, name: &str) -> Option<(&[usize], DType)> {
        let place = self.places.get(name)?;
        let dtype = match place.kind {
            Kind::Floats(dtype) => dtype,
            Kind::Blocks(_) => DType::F32,
        };
        Some((&place.shape, dtype))
    }

    /// Whether a tensor is there in blocks.
    pub fn is_quantized(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(|place| matches!(place.kind, Kind::Blocks(_)))
    }

    /// A tensor as it is stored, blocks widened to f32.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let place = self.find(name)?;
        match place.kind {
            Kind::Floats(_) => self.raw(name, place),
            Kind::Blocks(packing) => Packed::new(packing, &self.raw(name, place)?)?.dequantize(),
        }
    }

    /// The numbers' bytes as they are stored, in the order of the shape; `None` when they are of
    /// another type.
    pub(super) fn floats(&self, name: &str, dtype: DType) -> Result<Option<Vec<u8>>> {
        let place = self.find(name)?;
        let same = place.kind == Kind::Floats(dtype);
        same.then(|| self.bytes(name, place)).transpose()
    }

    /// How a tensor is stored.
    pub(super) fn form(&self, name: &str) -> Result<Form> {
        Ok(match self.find(name)?.kind {
            Kind::Floats(dtype) => Form::Floats(dtype),
            Kind::Blocks(packing) => Form::Blocks(packing),
        })
    }

    /// A tensor's bytes as they are stored.
    pub(super) fn as_stored(&self, name: &str) -> Result<Vec<u8>> {
        self.bytes(name, self.find(name)?)
    }

    fn find(&self, name: &str) -> Result<&Place> {
        match self.places.get(name) {
            Some(place) => Ok(place),
            None => bail!("there is no tensor {name}"),
        }
    }

    fn bytes(&self, name: &str, place: &Place) -> Result<Vec<u8>> {
        let Some(source) = self.sources.get(place.source) else { bail!("no file for {name}") };
        let mut bytes = vec![0; place.bytes];
        source.read_at(&mut bytes, place.at)?;
        if let (Some(heads), Some(rows)) = (place.paired_heads, place.shape.first()) {
            bytes = halves(&bytes, heads, *rows);
        }
        if let (Some(strides), Kind::Floats(dtype)) = (&place.strides, place.kind) {
            match torch::gather(&bytes, dtype.size_in_bytes(), &place.shape, strides) {
                Some(gathered) => bytes = gathered,
                None => bail!("{name} reaches past its storage"),
            }
        }
        Ok(bytes)
    }

    /// The bytes as a tensor: u8 `[rows, bytes of a row]` for blocks.
    fn raw(&self, name: &str, place: &Place) -> Result<Tensor> {
        let bytes = self.bytes(name, place)?;
        match place.kind {
            Kind::Floats(dtype) => {
                Tensor::from_raw_buffer(&bytes, dtype, &place.shape, &Device::Cpu)
            }
            Kind::Blocks(_) => {
                let rows = place.shape.first().copied().unwrap_or(1).max(1);
                let width = bytes.len() / rows;
                Tensor::from_vec(bytes, (rows, width), &Device::Cpu)
            }
        }
    }

    /// The weight that `name` asks for by its packing, as `q_proj.weight.q4_k`.
    fn packed_place(&self, name: &str) -> Option<(&str, &Place)> {
        let (weight, suffix) = name.rsplit_once('.')?;
        let (weight, place) = self.places.get_key_value(weight)?;
        let packing = place.kind.packing(&place.shape)?;
        (packing.name() == suffix).then_some((weight, place))
    }
}

/// Rows that lie as (head, index, half) in the order (head, half, index).
fn halves(bytes: &[u8], heads: usize, rows: usize) -> Vec<u8> {
    let width = bytes.len() / rows.max(1);
    let half = rows / heads.max(1) / 2;
    let mut turned = Vec::with_capacity(bytes.len());
    for head in 0..heads {
        for part in 0..2 {
            for i in 0..half {
                let at = (head * 2 * half + 2 * i + part) * width;
                turned.extend_from_slice(bytes.get(at..at + width).unwrap_or_default());
            }
        }
    }
    turned
}

impl SimpleBackend for Stored {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let place = self.find(name)?;
        if place.shape != shape.dims() {
            bail!("{name} is {:?}, the architecture has {shape:?}", place.shape);
        }
        self.tensor(name)?.to_dtype(dtype)?.to_device(device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = match self.packed_place(name) {
            Some((weight, place)) => self.raw(weight, place)?,
            None => self.tensor(name)?,
        };
        tensor.to_dtype(dtype)?.to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.places.contains_key(name) || self.packed_place(name).is_some()
    }
}
