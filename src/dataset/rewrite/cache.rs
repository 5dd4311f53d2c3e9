//! What a language model said, a line a text, so that it is asked once.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::error::{DatasetError, failed};
use crate::vocabulary::hexadecimal;

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    text: String,
}

/// The answers so far.
pub(super) struct Cache {
    path: PathBuf,
    file: File,
    known: HashMap<String, String>,
}

/// What an answer depends on.
pub(super) fn key(model: &str, instruction: &str, text: &str) -> String {
    let digest = Sha256::digest(format!("{model}\0{instruction}\0{text}"));
    hexadecimal(digest.get(..16).unwrap_or_default())
}

impl Cache {
    /// Reads what is there. A last line that was cut off, as by a crash, is cut from the file; any
    /// other line that cannot be read is an error.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let mut before = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read it", path)(error)),
        };
        // The cut can be within a character, so the lines are cut before they are text.
        let whole = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        before.truncate(whole);
        let mut known = HashMap::new();
        let lines = before.split_inclusive(|byte| *byte == b'\n');
        for (number, line) in lines.enumerate() {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                let reason = format!("line {}: {error}; remove the file to ask anew", number + 1);
                DatasetError::Malformed { path: path.to_owned(), reason }
            })?;
            known.insert(line.key, line.text);
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(failed("write it", path))?;
        file.set_len(whole as u64).map_err(failed("write it", path))?;
        Ok(Self { path: path.to_owned(), file, known })
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.known.get(key).map(String::as_str)
    }

    /// Keeps an answer, on disk at once.
    pub(super) fn put(&mut self, key: String, text: &str) -> Result<(), DatasetError> {
        let line = Line { key, text: text.to_owned() };
        let mut written = serde_json::to_string(&line).map_err(|error| {
            DatasetError::Malformed { path: self.path.clone(), reason: error.to_string() }
        })?;
        written.push('\n');
        self.file.write_all(written.as_bytes()).map_err(failed("write it", &self.path))?;
        self.known.insert(line.key, line.text);
        Ok(())
    }
}
