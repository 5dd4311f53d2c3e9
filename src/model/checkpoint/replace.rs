//! A model directory with some tensors exchanged, everything else as it was.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use super::files::{ModelFiles, is_weights};
use super::folder::{refuse_occupied, write_folder};
use super::manifest::Manifest;
use super::quantize::Form;
use super::stored::Stored;
use super::writer::SafetensorsWriter;
use crate::model::error::{ModelError, Step};

/// In which type tensors are written that replace others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    Full,
    /// Floats as those that are replaced.
    AsStored,
}

/// Writes a copy of a model directory into `out`, which must be empty or absent, with these tensors
/// in the place of those of their names. A file without any of them is copied; in the
/// others every other tensor keeps its bytes. `change` may say in the manifest what was done.
pub fn replace(
    files: &ModelFiles,
    out: &Path,
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
    change: impl FnOnce(&mut Manifest),
) -> Result<Manifest, ModelError> {
    refuse_occupied(out)?;
    let stored = files.stored()?;
    for (name, tensor) in tensors {
        let shape = stored.describe(name).map(|(shape, _)| shape);
        if shape != Some(tensor.dims()) {
            let reason = format!("{name} is {shape:?}, what is to replace it {:?}", tensor.dims());
            return Err(ModelError::Request(reason));
        }
    }
    let mut manifest = files.manifest().clone();
    change(&mut manifest);
    write_folder(&mut manifest, out, |folder| {
        let mut digests = files.manifest().files.clone();
        for (name, digest) in &mut digests {
            let place = folder.join(name);
            let inside = names_of(&stored, name);
            if is_weights(name) && inside.iter().any(|tensor| tensors.contains_key(tensor)) {
                *digest = rewrite(&stored, &inside, (tensors, precision), &place)?;
            } else {
                files.copy(name, &place)?;
            }
        }
        Ok(digests)
    })?;
    Ok(manifest)
}

/// The tensors of one file, in the order in which they lie.
fn names_of(stored: &Stored, file: &str) -> Vec<String> {
    let of = |name: &String| stored.file_of(name).is_some_and(|path| path.ends_with(file));
    stored.names().into_iter().filter(of).collect()
}

/// Writes the tensors of a file, one in memory at a time; gives its SHA-256, hexadecimal.
fn rewrite(
    stored: &Stored,
    names: &[String],
    (tensors, precision): (&BTreeMap<String, Tensor>, Precision),
    place: &Path,
) -> Result<String, ModelError> {
    let form = |name: &String| match stored.form(name) {
        Ok(Form::Floats(dtype)) if precision == Precision::AsStored => Ok(Form::Floats(dtype)),
        Ok(_) if tensors.contains_key(name) => Ok(Form::Floats(DType::F32)),
        other => other,
    };
    let headers = names.iter().map(|name| {
        let shape = stored.describe(name).map(|(shape, _)| shape).unwrap_or_default();
        Ok(form(name)?.header(name, shape))
    });
    let headers = headers.collect::<candle_core::Result<Vec<_>>>().step("reading a tensor")?;
    let mut writer = SafetensorsWriter::create(place, &headers)?;
    for name in names {
        match tensors.get(name) {
            Some(tensor) => {
                writer.write(&form(name).step("reading a tensor")?.encode(name, tensor)?)?;
            }
            None => writer.write(&stored.as_stored(name).step("reading a tensor")?)?,
        }
    }
    writer.finish()
}
