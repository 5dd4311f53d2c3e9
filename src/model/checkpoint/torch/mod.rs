//! PyTorch's checkpoint files (`torch.save` since 1.6): a zip archive of storages and a pickle
//! that says what they mean.
//!
//! candle's reader clones values at each use, recurses over them and believes every shape, so a
//! file that lies can take all memory or the stack with it. This one keeps values in a flat list,
//! calls nothing that a pickle names, refuses a pickle that names more than tensors need, and
//! gives each tensor as a place in the file, held against its storage.

mod archive;
mod globals;
mod pickle;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use candle_core::DType;
use tempfile::NamedTempFile;

use self::archive::Archive;
use self::pickle::{Pickle, Value};
use super::Tensors;
use super::stored::Stored;
use crate::model::error::{ModelError, Step};

/// The largest pickle read, bytes: names and shapes of some 100,000 tensors.
const LARGEST_PICKLE: u64 = 16 << 20;

/// Reads every tensor whose name `wanted` accepts. Where the file's dictionary holds no tensor
/// itself, those in its entry `model` or `state_dict` are meant.
pub fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Tensors, ModelError> {
    let mut stored = Stored::default();
    stored.add_torch(path, &|name| wanted(name).then(|| name.to_owned()))?;
    let names = stored.names().into_iter();
    names
        .map(|name| {
            let tensor = stored.tensor(&name).step("reading a tensor")?;
            Ok((name, tensor))
        })
        .collect()
}

/// Unpacks the one file of this name that a zip archive holds, in whatever folder of it.
pub(super) fn unpack(path: &Path, name: &str) -> Result<NamedTempFile, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let archive = Archive::open(path, &file)?;
    let inside = |entry: &&str| *entry == name || entry.ends_with(&format!("/{name}"));
    let mut found = archive.names().filter(inside);
    let (Some(entry), None) = (found.next(), found.next()) else {
        return Err(ModelError::invalid(path, format!("it should hold one {name}")));
    };
    let mut unpacked = NamedTempFile::new().map_err(failed)?;
    archive.unpack(entry, unpacked.as_file_mut())?;
    Ok(unpacked)
}

/// Where a tensor's numbers lie in the file.
pub(super) struct Numbers {
    /// Their type.
    pub(super) dtype: DType,
    /// The tensor's shape.
    pub(super) shape: Vec<usize>,
    /// Steps between neighbours, in numbers, where they do not lie in the order of the shape.
    pub(super) strides: Option<Vec<usize>>,
    /// The first one's place in the file.
    pub(super) at: u64,
    /// Numbers from the first to the last.
    pub(super) span: usize,
}

/// Every tensor of a file whose name `wanted` accepts, by name.
pub(super) fn index(
    path: &Path,
    file: &File,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Numbers>, ModelError> {
    let archive = Archive::open(path, file)?;
    let invalid = |reason: String| ModelError::invalid(path, reason);
    let mut pickles = archive.names().filter(|name| name.ends_with("/data.pkl"));
    let pickle = match (pickles.next(), pickles.next()) {
        (Some(pickle), None) => pickle.to_owned(),
        (None, _) => {
            return Err(invalid("no data.pkl in the archive: not a PyTorch checkpoint".to_owned()));
        }
        (Some(_), Some(_)) => return Err(invalid("more than one data.pkl".to_owned())),
    };
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default();
    if archive.names().any(|name| name == format!("{root}byteorder")) {
        let order = archive.read(&format!("{root}byteorder"), 64)?;
        if order != b"little" {
            return Err(invalid("the numbers are not little-endian".to_owned()));
        }
    }
    let bytes = archive.read(&pickle, LARGEST_PICKLE)?;
    let said = |reason: String| invalid(format!("data.pkl: {reason}"));
    let values = Pickle::parse(&bytes).map_err(said)?;
    if let Some((module, name)) = values.classes().find(|(m, n)| !globals::known(m, n)) {
        return Err(said(format!(
            "it names {module}.{name}, which tensors have no use for; nothing of it was run. If \
             you trust the file, load it with PyTorch and save its tensors alone"
        )));
    }
    let mut found = BTreeMap::new();
    for (name, view) in state_dict(&values).map_err(said)? {
        if wanted(&name) {
            let numbers = view.numbers(&archive, root);
            let numbers = numbers.map_err(|reason| invalid(format!("{name}: {reason}")))?;
            found.insert(name, numbers);
        }
    }
    Ok(found)
}

/// A tensor as the pickle describes it: a view into a storage.
struct View {
    dtype: DType,
    storage: String,
    /// Numbers in the storage.
    length: usize,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

fn state_dict(values: &Pickle) -> Result<BTreeMap<String, View>, String> {
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

fn tensors_of(values: &Pickle, dictionary: usize) -> Result<BTreeMap<String, View>, String> {
    let mut tensors = BTreeMap::new();
    let Value::Dict(entries) = values.get(dictionary) else { return Ok(tensors) };
    for (key, value) in entries {
        let Value::Text(name) = values.get(*key) else { continue };
        if let Some(view) = view(values, *value).map_err(|e| format!("{name}: {e}"))? {
            tensors.insert(name.clone(), view);
        }
    }
    Ok(tensors)
}

/// What `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, …)` stands for; `None`
/// when the value is no tensor.
fn view(values: &Pickle, value: usize) -> Result<Option<View>, String> {
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
    Ok(Some(View {
        dtype,
        storage: key.clone(),
        length: values.size(*length)?,
        offset: values.size(*offset)?,
        shape: values.sizes(*shape)?,
        stride: values.sizes(*stride)?,
    }))
}

impl View {
    /// Where the numbers lie; all of them within the storage, and that within the file.
    fn numbers(self, archive: &Archive<'_>, root: &str) -> Result<Numbers, String> {
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
        let reach =
            self.shape.iter().zip(&self.stride).try_fold(0usize, |at, (d, s)| {
                at.checked_add(d.saturating_sub(1).checked_mul(*s)?)
            });
        let span = match reach.and_then(|reach| reach.checked_add(1)) {
            Some(_) if count == 0 => 0,
            Some(span) => span,
            None => return Err(lie()),
        };
        // A view has no more numbers than its storage: nothing expanded is a weight.
        if count > self.length || self.offset.checked_add(span).is_none_or(|end| end > self.length)
        {
            return Err(lie());
        }
        let size = self.dtype.size_in_bytes();
        let name = format!("{root}data/{}", self.storage);
        let entry = archive.entry(&name)?;
        let bytes = self.length.checked_mul(size).ok_or_else(lie)? as u64;
        if entry.size < bytes {
            return Err(format!("the storage {name} has {} bytes, not {bytes}", entry.size));
        }
        let at = entry.start + (self.offset * size) as u64;
        let strides = (!self.in_order()).then_some(self.stride);
        Ok(Numbers { dtype: self.dtype, shape: self.shape, strides, at, span })
    }

    fn in_order(&self) -> bool {
        let mut dense = 1usize;
        self.shape.iter().zip(&self.stride).rev().all(|(d, s)| {
            let fits = *d <= 1 || *s == dense;
            dense = dense.saturating_mul(*d);
            fits
        })
    }
}

/// Numbers of `size` bytes that lie by `strides`, in the order of the shape.
pub(super) fn gather(
    bytes: &[u8],
    size: usize,
    shape: &[usize],
    strides: &[usize],
) -> Option<Vec<u8>> {
    let count = shape.iter().product::<usize>();
    let mut data = Vec::with_capacity(count * size);
    for i in 0..count {
        let (mut rest, mut at) = (i, 0);
        for (d, s) in shape.iter().zip(strides).rev() {
            at += rest % d * s;
            rest /= d;
        }
        data.extend_from_slice(bytes.get(at * size..(at + 1) * size)?);
    }
    Some(data)
}
