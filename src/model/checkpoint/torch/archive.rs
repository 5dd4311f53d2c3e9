//! A zip archive whose entries are stored without compression, as `torch.save` writes it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::model::error::ModelError;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const END_64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// The end record and its longest comment.
const LONGEST_END: u64 = 22 + 65_535;
/// The largest central directory read, bytes.
const LARGEST_DIRECTORY: u64 = 64 << 20;

/// An open archive.
pub(super) struct Archive {
    path: PathBuf,
    file: File,
    length: u64,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Of the local header.
    offset: u64,
    size: u64,
    stored: bool,
}

impl Archive {
    /// Reads the central directory.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let entries = HashMap::new();
        let mut archive = Self { path: path.to_owned(), file, length, entries };
        let (offset, size) = archive.directory()?;
        let directory = archive.bytes(offset, size, LARGEST_DIRECTORY)?;
        archive.entries = entries_of(&directory)
            .ok_or_else(|| archive.invalid("the zip archive's directory is broken".to_owned()))?;
        Ok(archive)
    }

    /// The names of the entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// One entry's bytes.
    pub(super) fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, ModelError> {
        let Some(&Entry { offset, size, stored }) = self.entries.get(name) else {
            return Err(self.invalid(format!("the archive has no entry {name:?}")));
        };
        if !stored {
            return Err(self.invalid(format!("the entry {name:?} is compressed")));
        }
        let header = self.bytes(offset, 30, 30)?;
        let lengths = header
            .strip_prefix(&LOCAL)
            .and_then(|_| Some(u64::from(u16_at(&header, 26)?) + u64::from(u16_at(&header, 28)?)));
        let Some(lengths) = lengths else {
            return Err(self.invalid(format!("the entry {name:?} has no header")));
        };
        self.bytes(offset.saturating_add(30 + lengths), size, most)
    }

    /// Offset and size of the central directory.
    fn directory(&mut self) -> Result<(u64, u64), ModelError> {
        let start = self.length.saturating_sub(LONGEST_END);
        let tail = self.bytes(start, self.length - start, LONGEST_END)?;
        let at = (0..tail.len().saturating_sub(21)).rev().find(|at| found(&tail, *at, END));
        let Some(at) = at else {
            return Err(self.invalid(
                "not a zip archive: a PyTorch file older than 1.6, or cut off; save it again with a newer PyTorch".to_owned(),
            ));
        };
        let short = u32_at(&tail, at + 12).zip(u32_at(&tail, at + 16));
        let (size, offset) = short.unwrap_or_default();
        let locator = at.checked_sub(20).filter(|at| found(&tail, *at, END_64_LOCATOR));
        let Some(locator) = locator else { return Ok((u64::from(offset), u64::from(size))) };
        let record = u64_at(&tail, locator + 8).unwrap_or(u64::MAX);
        let record = self.bytes(record, 56, 56)?;
        let long =
            u64_at(&record, 48).zip(u64_at(&record, 40)).filter(|_| found(&record, 0, END_64));
        long.ok_or_else(|| self.invalid("the zip archive's end is broken".to_owned()))
    }

    fn bytes(&mut self, offset: u64, size: u64, most: u64) -> Result<Vec<u8>, ModelError> {
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(self.invalid("the archive names bytes past its end".to_owned()));
        }
        let length = usize::try_from(size).ok().filter(|_| size <= most);
        let Some(length) = length else {
            return Err(self.invalid(format!("an entry of {size} bytes is too large")));
        };
        let mut bytes = vec![0; length];
        let read =
            self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(bytes),
            Err(source) => Err(ModelError::Read { path: self.path.clone(), source }),
        }
    }

    fn invalid(&self, reason: String) -> ModelError {
        ModelError::invalid(&self.path, reason)
    }
}

fn entries_of(directory: &[u8]) -> Option<HashMap<String, Entry>> {
    let mut entries = HashMap::new();
    let mut rest = directory;
    while !rest.is_empty() {
        let header = rest.strip_prefix(&CENTRAL).map(|_| rest)?;
        let length = |at| u16_at(header, at).map(usize::from);
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let (mut size, mut packed, mut offset) = (
            u64::from(u32_at(header, 24)?),
            u64::from(u32_at(header, 20)?),
            u64::from(u32_at(header, 42)?),
        );
        let stored = u16_at(header, 10)? == 0;
        let name_bytes = header.get(46..46 + name)?;
        let mut fields = header.get(46 + name..46 + name + extra)?;
        // The zip64 field holds, in this order, what did not fit 32 bits.
        while let (Some(id), Some(length)) = (u16_at(fields, 0), u16_at(fields, 2)) {
            let field = fields.get(4..4 + usize::from(length))?;
            if id == 1 {
                let mut wide = field.chunks_exact(8).map(|c| u64_at(c, 0));
                for value in [&mut size, &mut packed, &mut offset] {
                    if *value == u64::from(u32::MAX) {
                        *value = wide.next()??;
                    }
                }
            }
            fields = fields.get(4 + usize::from(length)..)?;
        }
        let name_text = std::str::from_utf8(name_bytes).ok()?.to_owned();
        let stored = stored && packed == size;
        entries.insert(name_text, Entry { offset, size, stored });
        rest = rest.get(46 + name + extra + comment..)?;
    }
    Some(entries)
}

fn found(bytes: &[u8], at: usize, signature: [u8; 4]) -> bool {
    bytes.get(at..).is_some_and(|b| b.starts_with(&signature))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
