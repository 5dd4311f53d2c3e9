//! The files of a model, checked against the manifest's digests.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{MANIFEST, Manifest};
use super::stored::{Source, Stored};
use crate::model::error::ModelError;
use crate::vocabulary::hexadecimal;

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

    /// All tensors, read when they are asked for; the files are those that the manifest names.
    pub fn stored(&self) -> Result<Stored, ModelError> {
        let mut stored = Stored::default();
        for (name, expected) in self.manifest.files.iter().filter(|(name, _)| is_weights(name)) {
            let source = self.source(name)?;
            let path = source.path().to_owned();
            let found = digest(&source)
                .map_err(|source| ModelError::Read { path: path.clone(), source })?;
            if found != expected.to_ascii_lowercase() {
                return Err(ModelError::Digest { path, expected: expected.clone(), found });
            }
            stored.add_safetensors(source, &|name| Some(name.to_owned()))?;
        }
        Ok(stored)
    }

    /// Copies a file, whose digest is not looked at.
    pub(super) fn copy(&self, name: &str, to: &Path) -> Result<(), ModelError> {
        let failed = |source| ModelError::Write { path: to.to_owned(), source };
        match &self.place {
            Place::Folder(folder) => std::fs::copy(folder.join(name), to).map(drop).map_err(failed),
            Place::Embedded(_) => std::fs::write(to, self.read(name)?).map_err(failed),
        }
    }

    fn source(&self, name: &str) -> Result<Source, ModelError> {
        let path = path(&self.place, name);
        match &self.place {
            Place::Folder(_) => match File::open(&path) {
                Ok(file) => Ok(Source::File(file, path)),
                Err(source) => Err(ModelError::Read { path, source }),
            },
            Place::Embedded(files) => match files.iter().find(|(file, _)| *file == name) {
                Some((_, bytes)) => Ok(Source::Bytes(bytes, path)),
                None => Err(ModelError::invalid(path, "there is no such file")),
            },
        }
    }
}

/// SHA-256, hexadecimal, read piece by piece.
pub(super) fn digest(source: &Source) -> std::io::Result<String> {
    let length = source.length()?;
    let (mut hash, mut at, mut piece) = (Sha256::new(), 0, vec![0; 1 << 20]);
    while at < length {
        let count = (length - at).min(piece.len() as u64);
        let Some(part) = piece.get_mut(..count as usize) else { break };
        source.read_at(part, at)?;
        hash.update(&*part);
        at += count;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Whether a file holds tensors.
pub(super) fn is_weights(name: &str) -> bool {
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
