//! The files of a model, read whole and checked against the manifest's digests.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::Tensors;
use super::manifest::{MANIFEST, Manifest};
use crate::model::error::{ModelError, Step};

/// A model's files: a folder, or bytes in the program.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    place: Place,
    manifest: Manifest,
    digest: String,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl ModelFiles {
    /// Reads the manifest of a model directory.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        Self::new(Place::Folder(folder.to_owned()))
    }

    /// Files by name that lie in the program.
    pub fn embedded(files: &'static [(&'static str, &'static [u8])]) -> Result<Self, ModelError> {
        Self::new(Place::Embedded(files))
    }

    fn new(place: Place) -> Result<Self, ModelError> {
        let bytes = read(&place, MANIFEST)?;
        let invalid = |reason: String| ModelError::invalid(path(&place, MANIFEST), reason);
        let text = std::str::from_utf8(&bytes).map_err(|e| invalid(e.to_string()))?;
        let manifest = Manifest::parse(text).map_err(invalid)?;
        let digest = hexadecimal(&Sha256::digest(&bytes));
        drop(bytes);
        Ok(Self { place, manifest, digest })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest's bytes, hexadecimal: the model's version.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// One file's bytes; they are those that the manifest names.
    pub fn read(&self, name: &str) -> Result<Cow<'static, [u8]>, ModelError> {
        let path = path(&self.place, name);
        let Some(expected) = self.manifest.files.get(name) else {
            return Err(ModelError::invalid(path, "the manifest does not name this file"));
        };
        let bytes = read(&self.place, name)?;
        let found = hexadecimal(&Sha256::digest(&bytes));
        if found != expected.to_ascii_lowercase() {
            return Err(ModelError::Digest { path, expected: expected.clone(), found });
        }
        Ok(bytes)
    }

    /// All tensors by name, as stored.
    pub fn tensors(&self) -> Result<Tensors, ModelError> {
        let mut all = Tensors::new();
        let weights = self.manifest.files.keys().filter(|name| is_safetensors(name));
        for name in weights {
            let bytes = self.read(name)?;
            let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
                .step("reading safetensors")?;
            for (key, tensor) in tensors {
                if all.insert(key.clone(), tensor).is_some() {
                    let reason = format!("the tensor {key} stands in another file too");
                    return Err(ModelError::invalid(path(&self.place, name), reason));
                }
            }
        }
        Ok(all)
    }
}

fn is_safetensors(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "safetensors")
}

fn path(place: &Place, name: &str) -> PathBuf {
    match place {
        Place::Folder(folder) => folder.join(name),
        Place::Embedded(_) => Path::new("embedded model").join(name),
    }
}

fn read(place: &Place, name: &str) -> Result<Cow<'static, [u8]>, ModelError> {
    match place {
        Place::Folder(folder) => {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(source) => Err(ModelError::Read { path, source }),
            }
        }
        Place::Embedded(files) => match files.iter().find(|(file, _)| *file == name) {
            Some((_, bytes)) => Ok(Cow::Borrowed(*bytes)),
            None => Err(ModelError::invalid(path(place, name), "there is no such file")),
        },
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            break;
        }
    }
    text
}
