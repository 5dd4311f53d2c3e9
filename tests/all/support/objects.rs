//! The fixtures, and copies of them with UIDs of their own.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// A row of `fixtures/dicom/index.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fixture {
    pub(crate) file: String,
    pub(crate) sop_class: String,
    pub(crate) transfer_syntax: String,
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) instance: String,
    pub(crate) eligible: bool,
    pub(crate) decodable: bool,
    /// Sent alone, with the default configuration, it is answered by a report.
    pub(crate) drafted: bool,
    pub(crate) reason: String,
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All fixtures.
pub(crate) fn fixtures() -> &'static [Fixture] {
    static ALL: OnceLock<Vec<Fixture>> = OnceLock::new();
    ALL.get_or_init(|| {
        let index = root().join("fixtures/dicom/index.json");
        serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap()
    })
}

/// The fixture of a name, without `.dcm`.
#[track_caller]
pub(crate) fn fixture(name: &str) -> &'static Fixture {
    let file = format!("{name}.dcm");
    fixtures().iter().find(|f| f.file == file).unwrap_or_else(|| panic!("no fixture {name}"))
}

/// A file to send, and its UIDs.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) path: PathBuf,
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) instance: String,
    pub(crate) transfer_syntax: String,
    pub(crate) drafted: bool,
}

impl Fixture {
    /// Where it lies.
    pub(crate) fn path(&self) -> PathBuf {
        root().join("fixtures/dicom").join(&self.file)
    }

    /// A copy whose study, series and instance UIDs depend on `salt`: the same for the same
    /// salt, so that the fixtures of one study, copied with one salt, stay in one study.
    pub(crate) fn copy(&self, folder: &Path, salt: &str) -> Copy {
        let new = [&self.study, &self.series, &self.instance].map(|uid| salted(uid, salt));
        let mut bytes = std::fs::read(self.path()).unwrap();
        let meta = 144 + u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
        let mut data_set = bytes.split_off(meta);
        let deflated = self.transfer_syntax == DEFLATED;
        if deflated {
            let mut inflated = Vec::new();
            DeflateDecoder::new(&data_set[..]).read_to_end(&mut inflated).unwrap();
            data_set = inflated;
        }
        for (old, new) in [&self.study, &self.series, &self.instance].into_iter().zip(&new) {
            replace(&mut bytes, old.as_bytes(), new.as_bytes());
            assert!(replace(&mut data_set, old.as_bytes(), new.as_bytes()), "{old}");
        }
        if deflated {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&data_set).unwrap();
            data_set = encoder.finish().unwrap();
            data_set.resize(data_set.len().next_multiple_of(2), 0);
        }
        bytes.extend_from_slice(&data_set);
        let path = folder.join(format!("{salt}-{}", self.file));
        std::fs::write(&path, &bytes).unwrap();
        let [study, series, instance] = new;
        let transfer_syntax = self.transfer_syntax.clone();
        Copy { path, study, series, instance, transfer_syntax, drafted: self.drafted }
    }
}

/// Another UID of the same length, so that a copy differs in these bytes alone.
fn salted(uid: &str, salt: &str) -> String {
    let digest = Sha256::digest(format!("{uid}/{salt}"));
    let digits = digest.iter().map(|byte| char::from(b'1' + byte % 9));
    "2.25.".chars().chain(digits.cycle()).take(uid.len()).collect()
}

/// Replaces every occurrence in place; whether there was one.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    assert_eq!(old.len(), new.len());
    let mut found = false;
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(old.len()).position(|window| window == old) {
        at += next;
        bytes[at..at + new.len()].copy_from_slice(new);
        found = true;
    }
    found
}
