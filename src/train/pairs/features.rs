//! What the frozen encoder makes of each image, kept on disk so that it runs once.
//!
//! `<model digest>/<image digest>.f32` holds the numbers that the projection takes in, little-endian,
//! row by row. A file is written beside its place and renamed, so what is there is whole.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use crate::model::Model;
use crate::model::checkpoint::manifest::ImageTokens;
use crate::object::StoredObject;
use crate::radiograph::{GreyImage, open_picture, render};
use crate::train::error::TrainError;
use crate::train::files;
use crate::train::workers::Workers;
use crate::vocabulary::hexadecimal;

/// The features of one model's encoder.
#[derive(Debug, Clone)]
pub struct Features<'a> {
    model: &'a Model,
    folder: PathBuf,
}

impl<'a> Features<'a> {
    /// Those of this model below `root`.
    pub fn new(model: &'a Model, root: &Path) -> Result<Self, TrainError> {
        let folder = root.join(model.digest());
        files::folder(&folder)?;
        Ok(Self { model, folder })
    }

    /// For each image file the file of its features, and whether the encoder ran for it.
    pub fn keep(
        &self,
        images: &[&Path],
        workers: &Workers,
        bar: &ProgressBar,
    ) -> Result<Vec<(PathBuf, bool)>, TrainError> {
        let all: Vec<usize> = (0..images.len()).collect();
        bar.set_length(images.len() as u64);
        let done = AtomicU64::new(0);
        let parts = workers.map(&all, |part| {
            let one = |image: &&Path| {
                let kept = self.one(image);
                bar.set_position(done.fetch_add(1, Ordering::Relaxed) + 1);
                kept
            };
            part.iter().filter_map(|i| images.get(*i)).map(one).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(parts.concat())
    }

    fn one(&self, image: &Path) -> Result<(PathBuf, bool), TrainError> {
        let digest = hexadecimal(&Sha256::digest(files::read(image)?));
        let place = self.folder.join(digest + ".f32");
        let whole = (numbers(self.model) * size_of::<f32>()) as u64;
        if std::fs::metadata(&place).is_ok_and(|found| found.len() == whole) {
            return Ok((place, false));
        }
        let (_, encoded) = self.model.encode_steps(&open(image)?)?;
        let features = encoded.features.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
        let failed = |source| TrainError::File { action: "write it", path: place.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.persist(&place).map_err(|error| failed(error.error))?;
        Ok((place, true))
    }
}

/// Numbers that the projection takes in for one image.
fn numbers(model: &Model) -> usize {
    let (rows, width) = shape(model);
    rows * width
}

/// Rows and columns of one image's features.
fn shape(model: &Model) -> (usize, usize) {
    let manifest = model.manifest();
    let rows = match manifest.projection.image_tokens {
        ImageTokens::Pooled => 1,
        ImageTokens::Patches => manifest.image_positions(),
    };
    (rows, manifest.projection_input())
}

/// The features of some images out of their files, `[images, rows, width]`.
pub(super) fn read(model: &Model, places: &[&Path]) -> Result<Tensor, TrainError> {
    let mut all = Vec::with_capacity(places.len() * numbers(model));
    for place in places {
        let bytes = files::read(place)?;
        let floats = bytes.as_chunks::<4>().0;
        if floats.len() != numbers(model) {
            let reason = "not the features that were kept there; start again".to_owned();
            return Err(TrainError::Run { path: (*place).to_owned(), reason });
        }
        all.extend(floats.iter().map(|b| f32::from_le_bytes(*b)));
    }
    let (rows, width) = shape(model);
    Ok(Tensor::from_vec(all, (places.len(), rows, width), &Device::Cpu)?)
}

/// A picture by its name's ending, else a DICOM object.
fn open(path: &Path) -> Result<GreyImage, TrainError> {
    let unfit = |error: &dyn std::error::Error| TrainError::Picture {
        path: path.to_owned(),
        reason: crate::observe::chain(error),
    };
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    if ["png", "jpg", "jpeg"].contains(&ending.as_str()) {
        return open_picture(path).map_err(|error| unfit(&error));
    }
    let object = StoredObject::open(path).map_err(|error| unfit(&error))?;
    Ok(render(&object).map_err(|error| unfit(&error))?.image)
}
