//! The local copy: lines of JSON, each with the SHA-256 of the line before, so that no line can be
//! changed, removed or added in the middle unseen. The tail can be cut off; what was also sent by
//! syslog tells.
//!
//! Files are numbered; the first line of a file holds the hash of the last line of the file before.
//! Several processes may add to the chain: each takes the folder's lock to do so, and goes on from
//! what the others have added.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::queue::Message;
use crate::vocabulary::hexadecimal;

/// The hash before the first line of all.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How much of a file's end is read first for its last line.
const WINDOW: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
pub(super) struct Line<'a> {
    pub(super) time: Cow<'a, str>,
    pub(super) previous: Cow<'a, str>,
    pub(super) message: Cow<'a, str>,
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
        let _lock = lock(folder)?;
        Self::at_end(folder, most)
    }

    fn at_end(folder: &Path, most: u64) -> io::Result<Self> {
        let last = files(folder)?.into_iter().next_back();
        let number = last.as_ref().map_or(1, |(number, _)| *number);
        let file = open_file(folder, number)?;
        let mut previous = NOTHING.to_owned();
        if let Some((number, path)) = &last {
            previous = match last_line(&file, path)? {
                Some(hash) => hash,
                // A file that was begun and holds nothing yet.
                None => before(folder, *number)?,
            };
        }
        let length = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), number, file, length, most, previous })
    }

    /// Whether another process has added something since.
    pub(super) fn has_grown(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() > self.length)
    }

    /// Adds messages and syncs them; gives those that other processes have added before. What fails
    /// leaves the chain as it was.
    pub(super) fn append(&mut self, messages: &[Message]) -> io::Result<Vec<Message>> {
        let _lock = lock(&self.folder)?;
        let others = self.catch_up()?;
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
        Ok(others)
    }

    /// Goes to the end as it is now, under the lock. Whoever cuts the file leaves a break: the hash
    /// stays that of the line that was there.
    fn catch_up(&mut self) -> io::Result<Vec<Message>> {
        let last = files(&self.folder)?.into_iter().next_back();
        if last.is_some_and(|(number, _)| number > self.number) {
            *self = Self::at_end(&self.folder, self.most)?;
            return Ok(Vec::new());
        }
        let (own, named) = (self.file.metadata()?, fs::metadata(path(&self.folder, self.number)));
        if !named.is_ok_and(|named| named.ino() == own.ino() && named.dev() == own.dev()) {
            self.file = open_file(&self.folder, self.number)?;
            self.length = self.file.metadata()?.len();
            return Ok(Vec::new());
        }
        let before = std::mem::replace(&mut self.length, own.len());
        if own.len() <= before {
            return Ok(Vec::new());
        }
        let mut added = vec![0; usize::try_from(own.len() - before).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut added, before)?;
        let whole = added.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < added.len() {
            self.length = before + whole as u64;
            self.file.set_len(self.length)?;
        }
        let added = added.get(..whole).unwrap_or_default();
        let lines: Vec<&[u8]> =
            added.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        if let Some(last) = lines.last() {
            self.previous = hash(last);
        }
        Ok(lines.into_iter().filter_map(message_of).collect())
    }
}

fn message_of(line: &[u8]) -> Option<Message> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    Some((line.time.parse().ok()?, line.message.into_owned()))
}

/// Keeps other processes out until it is dropped. Makes the folder, where there is none.
fn lock(folder: &Path) -> io::Result<File> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if let Some(owner) = folder.parent().and_then(foreign_owner) {
            chown(folder, Some(owner.0), Some(owner.1))?;
        }
    }
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("audit-{number:06}.jsonl"))
}

fn open_file(folder: &Path, number: u64) -> io::Result<File> {
    let path = path(folder, number);
    let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    // An administrator's command must leave no file that the node cannot write.
    if let Some(owner) = foreign_owner(folder) {
        fchown(&file, Some(owner.0), Some(owner.1))?;
    }
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Who owns a folder, should that be another than root, who runs this.
fn foreign_owner(folder: &Path) -> Option<(u32, u32)> {
    let owner = fs::metadata(folder).ok()?;
    let by_root = rustix::process::geteuid().is_root();
    (by_root && owner.uid() != 0).then(|| (owner.uid(), owner.gid()))
}

/// The files of a folder by their numbers.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
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
fn last_line(file: &File, path: &Path) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let mut window = WINDOW;
    loop {
        let from = length.saturating_sub(window);
        let mut bytes = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, from)?;
        let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let whole = bytes.get(..end.saturating_sub(1)).unwrap_or_default();
        if from > 0 && !whole.contains(&b'\n') {
            window *= 2;
            continue;
        }
        if end < bytes.len() {
            let cut = bytes.len() - end;
            warn!(file = %path.display(), bytes = cut, "an unfinished audit line is cut");
            file.set_len(from + end as u64)?;
            file.sync_data()?;
        }
        let line = whole.rsplit(|b| *b == b'\n').next().filter(|line| !line.is_empty());
        return Ok(line.map(hash));
    }
}

/// The hash of the last line before a file.
fn before(folder: &Path, number: u64) -> io::Result<String> {
    for (earlier, path) in files(folder)?.into_iter().rev() {
        if earlier < number
            && let Some(hash) =
                last_line(&File::options().read(true).write(true).open(&path)?, &path)?
        {
            return Ok(hash);
        }
    }
    Ok(NOTHING.to_owned())
}

pub(super) fn hash(line: &[u8]) -> String {
    hexadecimal(&Sha256::digest(line))
}
