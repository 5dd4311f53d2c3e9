//! Where files that are made of others go: none takes the place of another one, or of what it is
//! made of.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The names that are taken.
pub(super) struct Outputs {
    /// The inputs, each by its device and number, so by whichever name.
    inputs: HashSet<(u64, u64)>,
    taken: HashSet<PathBuf>,
}

impl Outputs {
    /// For files made of these.
    pub(super) fn of(inputs: &[PathBuf]) -> Self {
        let inputs = inputs.iter().filter_map(|path| file(path)).collect();
        Self { inputs, taken: HashSet::new() }
    }

    /// Whether it is one of the inputs, also by another path.
    pub(super) fn is_input(&self, path: &Path) -> bool {
        file(path).is_some_and(|file| self.inputs.contains(&file))
    }

    /// A place in a folder of its own, numbered where the name is taken already.
    pub(super) fn place(&mut self, folder: &Path, stem: &OsStr, ending: &str) -> PathBuf {
        let mut number = 1;
        loop {
            let mut name = stem.to_owned();
            if number > 1 {
                name.push(format!("-{number}"));
            }
            name.push(ending);
            let place = folder.join(name);
            if !self.is_input(&place) && self.taken.insert(place.clone()) {
                return place;
            }
            number += 1;
        }
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
