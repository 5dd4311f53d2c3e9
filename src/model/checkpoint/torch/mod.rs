//! PyTorch's checkpoint files (`torch.save` since 1.6): a zip archive of storages and a pickle
//! that says what they mean.
//!
//! candle's reader clones values at each use, recurses over them and believes every shape, so a
//! file that lies can take all memory or the stack with it. This one keeps values in a flat list,
//! calls nothing that a pickle names, and reads no byte that a storage does not have.

mod archive;
mod pickle;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use self::archive::Archive;
use self::pickle::{Pickle, Value};
use super::Tensors;
use crate::model::error::ModelError;

/// The largest pickle read, bytes: names and shapes of some 100,000 tensors.
const LARGEST_PICKLE: u64 = 64 << 20;

/// Reads every tensor whose name `wanted` accepts. Where the file's dictionary holds no tensor
/// itself, those in its entry `model` or `state_dict` are meant.
pub fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Tensors, ModelError> {
    let mut archive = Archive::open(path)?;
    let invalid = |reason: String| ModelError::invalid(path, reason);
    let Some(pickle) = archive.names().find(|name| name.ends_with("/data.pkl")).map(str::to_owned)
    else {
        return Err(invalid("no data.pkl in the archive: not a PyTorch checkpoint".to_owned()));
    };
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if archive.names().any(|name| name == format!("{root}byteorder")) {
        let order = archive.read(&format!("{root}byteorder"), 64)?;
        if order != b"little" {
            return Err(invalid("the numbers are not little-endian".to_owned()));
        }
    }
    let bytes = archive.read(&pickle, LARGEST_PICKLE)?;
    let values = Pickle::parse(&bytes).map_err(|e| invalid(format!("data.pkl: {e}")))?;
    let stored = state_dict(&values).map_err(|e| invalid(format!("data.pkl: {e}")))?;
    let mut tensors = Tensors::new();
    for (name, stored) in stored.into_iter().filter(|(name, _)| wanted(name)) {
        let tensor = stored.read(&mut archive, &root);
        let tensor = tensor.map_err(|reason| invalid(format!("{name}: {reason}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A tensor as the pickle describes it: a view into a storage.
struct Stored {
    dtype: DType,
    storage: String,
    /// Numbers in the storage.
    length: usize,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

fn state_dict(values: &Pickle) -> Result<BTreeMap<String, Stored>, String> {
    let root = values.root();
    let own = tensors_of(values, root)?;
    if !own.is_empty() {
        return Ok(own);
    }
    for key in ["model", "state_dict"] {
        if let Some(inner) = values.entry(root, key) {
            let inner = tensors_of(values, inner)?;
            if !inner.is_empty() {
                return Ok(inner);
            }
        }
    }
    Err("no dictionary of tensors".to_owned())
}

fn tensors_of(values: &Pickle, dictionary: usize) -> Result<BTreeMap<String, Stored>, String> {
    let mut tensors = BTreeMap::new();
    let Value::Dict(entries) = values.get(dictionary) else { return Ok(tensors) };
    for (key, value) in entries {
        let Value::Text(name) = values.get(*key) else { continue };
        if let Some(stored) = stored(values, *value).map_err(|e| format!("{name}: {e}"))? {
            tensors.insert(name.clone(), stored);
        }
    }
    Ok(tensors)
}

/// What `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, …)` stands for; `None`
/// when the value is no tensor.
fn stored(values: &Pickle, value: usize) -> Result<Option<Stored>, String> {
    let mut value = value;
    let arguments = loop {
        let Value::Call { callable, arguments } = values.get(value) else { return Ok(None) };
        let (Value::Class { name, .. }, Value::Tuple(arguments)) =
            (values.get(*callable), values.get(*arguments))
        else {
            return Ok(None);
        };
        match (name.as_str(), arguments.as_slice()) {
            ("_rebuild_tensor_v2" | "_rebuild_tensor", arguments) => break arguments,
            // The tensor of a parameter; it was made before, so this ends.
            ("_rebuild_parameter", [inner, ..]) if *inner < value => value = *inner,
            _ => return Ok(None),
        }
    };
    let [storage, offset, shape, stride, ..] = arguments else {
        return Err("a tensor of fewer than four arguments".to_owned());
    };
    let Value::Persistent(storage) = values.get(*storage) else {
        return Err("a tensor without a storage".to_owned());
    };
    let Value::Tuple(storage) = values.get(*storage) else {
        return Err("a storage that is not a tuple".to_owned());
    };
    let [_, class, key, _, length, ..] = storage.as_slice() else {
        return Err("a storage of fewer than five parts".to_owned());
    };
    let (Value::Class { name, .. }, Value::Text(key)) = (values.get(*class), values.get(*key))
    else {
        return Err("a storage without type or key".to_owned());
    };
    let dtype = match name.as_str() {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "ByteStorage" | "BoolStorage" => DType::U8,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        other => return Err(format!("a storage of type {other:?}, which is not supported")),
    };
    Ok(Some(Stored {
        dtype,
        storage: key.clone(),
        length: values.size(*length)?,
        offset: values.size(*offset)?,
        shape: values.sizes(*shape)?,
        stride: values.sizes(*stride)?,
    }))
}

impl Stored {
    fn read(&self, archive: &mut Archive, root: &str) -> Result<Tensor, String> {
        let lie = || {
            format!(
                "shape {:?}, strides {:?} and offset {} do not fit a storage of {} numbers",
                self.shape, self.stride, self.offset, self.length
            )
        };
        if self.shape.len() != self.stride.len() || self.shape.len() > 8 {
            return Err(lie());
        }
        let count = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(lie)?;
        let reach = self.shape.iter().zip(&self.stride).try_fold(self.offset, |at, (d, s)| {
            at.checked_add(d.saturating_sub(1).checked_mul(*s)?)
        });
        let reach = reach.ok_or_else(lie)?;
        // A view has no more numbers than its storage: nothing expanded is a weight.
        if count > self.length || (count > 0 && reach >= self.length) {
            return Err(lie());
        }
        let size = self.dtype.size_in_bytes();
        let bytes = self.length.checked_mul(size).ok_or_else(lie)?;
        let name = format!("{root}data/{}", self.storage);
        let storage = archive.read(&name, u64::MAX).map_err(|e| e.to_string())?;
        let Some(storage) = storage.get(..bytes) else {
            return Err(format!("the storage {} has {} bytes, not {bytes}", name, storage.len()));
        };
        let data = self.gather(storage, size, count).ok_or_else(lie)?;
        Tensor::from_raw_buffer(&data, self.dtype, &self.shape, &Device::Cpu)
            .map_err(|e| e.to_string())
    }

    /// The numbers in the order of the shape.
    fn gather(&self, storage: &[u8], size: usize, count: usize) -> Option<Vec<u8>> {
        let mut dense = 1;
        let contiguous = self.shape.iter().zip(&self.stride).rev().all(|(d, s)| {
            let fits = *d <= 1 || *s == dense;
            dense *= d;
            fits
        });
        let start = self.offset * size;
        if contiguous {
            return storage.get(start..start + count * size).map(<[u8]>::to_vec);
        }
        let mut data = Vec::with_capacity(count * size);
        for i in 0..count {
            let (mut rest, mut at) = (i, self.offset);
            for (d, s) in self.shape.iter().zip(&self.stride).rev() {
                at += rest % d * s;
                rest /= d;
            }
            data.extend_from_slice(storage.get(at * size..(at + 1) * size)?);
        }
        Some(data)
    }
}
