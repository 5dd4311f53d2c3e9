//! A safetensors file written one tensor at a time.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::DType;
use sha2::{Digest, Sha256};

use crate::model::error::ModelError;
use crate::vocabulary::hexadecimal;

/// A tensor's entry in the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name in the file.
    pub name: String,
    /// The type of its numbers.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Header {
    /// Bytes of the tensor.
    pub fn bytes(&self) -> u64 {
        let numbers = self.shape.iter().map(|side| *side as u64).product::<u64>();
        numbers * self.dtype.size_in_bytes() as u64
    }
}

/// The file: the header is written at once, so all names and shapes are known before the first
/// tensor comes.
pub struct SafetensorsWriter {
    file: BufWriter<File>,
    path: PathBuf,
    digest: Sha256,
    /// Bytes of the tensors still to come, the next one last.
    left: Vec<u64>,
}

impl SafetensorsWriter {
    /// Makes the file and writes its header.
    pub fn create(path: &Path, tensors: &[Header]) -> Result<Self, ModelError> {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        let mut at = 0;
        for tensor in tensors {
            if !names.insert(&tensor.name) {
                let reason = format!("the tensor {} stands twice", tensor.name);
                return Err(ModelError::invalid(path, reason));
            }
            let dtype = match tensor.dtype {
                DType::F32 => "F32",
                DType::F16 => "F16",
                DType::BF16 => "BF16",
                DType::U8 => "U8",
                other => {
                    let reason = format!("{}: numbers of type {other:?}", tensor.name);
                    return Err(ModelError::invalid(path, reason));
                }
            };
            let end = at + tensor.bytes();
            let entry = serde_json::json!({
                "dtype": dtype, "shape": tensor.shape, "data_offsets": [at, end]
            });
            entries.push(format!("{}:{entry}", serde_json::json!(tensor.name)));
            at = end;
        }
        let mut text = format!("{{{}}}", entries.join(","));
        // The numbers begin at a multiple of 8.
        while !text.len().is_multiple_of(8) {
            text.push(' ');
        }
        let failed = |source| ModelError::Write { path: path.to_owned(), source };
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?),
            path: path.to_owned(),
            digest: Sha256::new(),
            left: tensors.iter().rev().map(Header::bytes).collect(),
        };
        writer.append(&(text.len() as u64).to_le_bytes())?;
        writer.append(text.as_bytes())?;
        Ok(writer)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        self.digest.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(|source| ModelError::Write { path: self.path.clone(), source })
    }

    /// Writes the next tensor of the header, whole.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        let expected = self.left.pop();
        if expected != Some(bytes.len() as u64) {
            let reason = format!("{} bytes of a tensor for {expected:?}", bytes.len());
            return Err(ModelError::invalid(&self.path, reason));
        }
        self.append(bytes)
    }

    /// Ends the file; gives its SHA-256, hexadecimal.
    pub fn finish(mut self) -> Result<String, ModelError> {
        if !self.left.is_empty() {
            let reason = format!("{} tensors were not written", self.left.len());
            return Err(ModelError::invalid(&self.path, reason));
        }
        let failed = |source| ModelError::Write { path: self.path.clone(), source };
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        Ok(hexadecimal(&self.digest.finalize()))
    }
}
