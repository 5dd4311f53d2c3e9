//! Folders and files of a run, their errors with the path.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::TrainError;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    move |source| TrainError::File { action, path: path.to_owned(), source }
}

/// Makes a folder unless it is there.
pub(super) fn folder(path: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(path).map_err(failed("make the folder", path))
}

/// Makes the folder of a run unless it is there. No other run can have it until the file is dropped.
pub(super) fn run_folder(path: &Path) -> Result<File, TrainError> {
    folder(path)?;
    let lock = path.join(".lock");
    let file = OpenOptions::new().create(true).append(true).open(&lock);
    let file = file.map_err(failed("open it", &lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::Run {
            path: path.to_owned(),
            reason:
                "another training writes into this folder; wait for its end or give another --out"
                    .to_owned(),
        }),
        // Some network file systems have no locks.
        Err(TryLockError::Error(source)) if source.kind() == ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(source)) => Err(failed("lock it", &lock)(source)),
    }
}

/// A file that is gone when it is dropped.
pub(super) fn temporary() -> Result<tempfile::NamedTempFile, TrainError> {
    tempfile::NamedTempFile::new().map_err(failed("make a file", &std::env::temp_dir()))
}

/// A whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(failed("read it", path))
}

/// Writes a whole file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    std::fs::write(path, bytes).map_err(failed("write it", path))
}

/// Replaces a whole file in one rename, so that a stop in mid-write leaves the older one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let new = path.with_extension("new");
    write(&new, bytes)?;
    std::fs::rename(&new, path).map_err(failed("write it", path))
}

/// What an earlier step of training wrote as TOML.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path, step: &str) -> Result<T, TrainError> {
    let unfit = |reason: String| TrainError::Run {
        path: path.to_owned(),
        reason: format!("not what `train {step}` writes: {reason}"),
    };
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| unfit(error.to_string()))?;
    toml::from_str(text).map_err(|error| unfit(error.to_string()))
}

/// Writes a value as TOML.
pub(super) fn write_toml(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let text = toml::to_string(value)
        .map_err(|error| TrainError::Run { path: path.to_owned(), reason: error.to_string() })?;
    write(path, text.as_bytes())
}
