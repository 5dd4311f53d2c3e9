//! A look at the whole chain.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Serialize;

use super::chain::{Line, NOTHING, files, hash};

/// What a look at the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether every line fits the one before, and there is one.
    pub ok: bool,
    /// Files that were read.
    pub files: usize,
    /// Lines that fit.
    pub messages: u64,
    /// The first line that does not.
    pub broken: Option<Broken>,
}

/// A line that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: &'static str,
}

/// Follows the chain through all files of a folder. Old files that were moved away from the front
/// are no break; the first line that is there is taken at its word. Nothing at all is a break: a
/// node that started has said so.
///
/// # Errors
/// A file that cannot be read.
pub fn verify(folder: &Path) -> io::Result<Verified> {
    let mut found = Verified { ok: true, files: 0, messages: 0, broken: None };
    let (mut expected, mut last_number) = (None, None);
    for (number, path) in files(folder)? {
        if number == 1 {
            expected = Some(NOTHING.to_owned());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let broken = |line, reason| Some(Broken { file: name.clone(), line, reason });
        found.files += 1;
        if last_number.is_some_and(|last: u64| last + 1 != number) {
            found.broken = broken(1, "the file before is missing");
        }
        last_number = Some(number);
        let mut reader = BufReader::new(File::open(&path)?);
        for at in 1.. {
            let mut bytes = Vec::new();
            if found.broken.is_some() || reader.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            match follow(&bytes, expected.as_deref()) {
                Ok(next) => {
                    expected = Some(next);
                    found.messages += 1;
                }
                Err(reason) => found.broken = broken(at, reason),
            }
        }
        if found.broken.is_some() {
            break;
        }
    }
    if found.messages == 0 && found.broken.is_none() {
        let reason = "there is no message at all: was the log deleted?";
        found.broken = Some(Broken { file: "audit-000001.jsonl".to_owned(), line: 1, reason });
    }
    found.ok = found.broken.is_none();
    Ok(found)
}

/// The hash of a line, should it be whole and hold the expected one.
fn follow(bytes: &[u8], expected: Option<&str>) -> Result<String, &'static str> {
    let Some(line) = bytes.strip_suffix(b"\n") else { return Err("the line is cut off") };
    let Ok(read) = serde_json::from_slice::<Line<'_>>(line) else {
        return Err("this is no line of the audit log");
    };
    if expected.is_some_and(|expected| expected != read.previous) {
        return Err("the line before was changed or removed");
    }
    Ok(hash(line))
}
