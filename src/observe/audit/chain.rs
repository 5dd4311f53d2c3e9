//! The local copy: lines of JSON, each with the SHA-256 of the line before, so that no line can be
//! changed, removed or added in the middle unseen. The tail can be cut off; what was also sent by
//! syslog tells.
//!
//! Files are numbered; the first line of a file holds the hash of the last line of the file before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::vocabulary::hexadecimal;

/// The hash before the first line of all.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    time: std::borrow::Cow<'a, str>,
    previous: std::borrow::Cow<'a, str>,
    message: std::borrow::Cow<'a, str>,
}

/// The end of the chain, open for more.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    number: u64,
    file: File,
    length: u64,
    most: u64,
    previous: String,
}

impl Chain {
    /// Opens the last file of a folder, or begins the first one.
    pub(super) fn open(folder: &Path, most: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let last = files(folder)?.into_iter().next_back();
        let number = last.as_ref().map_or(1, |(number, _)| *number);
        let mut file = open_file(folder, number)?;
        let mut previous = NOTHING.to_owned();
        if let Some((number, path)) = &last {
            previous = match last_line(&mut file, path)? {
                Some(hash) => hash,
                // A file that was begun and holds nothing yet.
                None => before(folder, *number)?,
            };
        }
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { folder: folder.to_owned(), number, file, length, most, previous })
    }

    /// Adds messages and syncs them. What fails leaves the chain as it was.
    pub(super) fn append(&mut self, messages: &[(Timestamp, String)]) -> io::Result<()> {
        if self.length >= self.most {
            self.file = open_file(&self.folder, self.number + 1)?;
            (self.number, self.length) = (self.number + 1, 0);
        }
        let (mut bytes, mut previous) = (Vec::new(), self.previous.clone());
        for (at, message) in messages {
            let time = at.to_string().into();
            let line = Line { time, previous: previous.into(), message: message.into() };
            let text = serde_json::to_string(&line).map_err(io::Error::other)?;
            previous = hash(text.as_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.previous = previous;
        Ok(())
    }
}

fn open_file(folder: &Path, number: u64) -> io::Result<File> {
    let path = folder.join(format!("audit-{number:06}.jsonl"));
    let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// The files of a folder by their numbers.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The hash of the last whole line of a file. A part of a line behind it is cut off: the program
/// ended while it wrote, and nobody relied on it.
fn last_line(file: &mut File, path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if end < bytes.len() {
        warn!(file = %path.display(), bytes = bytes.len() - end, "an unfinished audit line is cut");
        file.set_len(end as u64)?;
        file.sync_data()?;
    }
    let whole = bytes.get(..end.saturating_sub(1)).unwrap_or_default();
    let line = whole.rsplit(|b| *b == b'\n').next().filter(|line| !line.is_empty());
    Ok(line.map(hash))
}

/// The hash of the last line before a file.
fn before(folder: &Path, number: u64) -> io::Result<String> {
    for (earlier, path) in files(folder)?.into_iter().rev() {
        if earlier < number
            && let Some(hash) =
                last_line(&mut File::options().read(true).write(true).open(&path)?, &path)?
        {
            return Ok(hash);
        }
    }
    Ok(NOTHING.to_owned())
}

fn hash(line: &[u8]) -> String {
    hexadecimal(&Sha256::digest(line))
}

/// What a look at the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether every line fits the one before.
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
/// are no break; the first line that is there is taken at its word.
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
            found.ok = false;
            break;
        }
    }
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
