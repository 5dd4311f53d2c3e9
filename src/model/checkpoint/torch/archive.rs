//! A zip archive whose entries are stored without compression, as `torch.save` writes it, or one that
//! such a file was packed into.
//!
//! Only the directory is read at once. Every entry's own header is held against it, and no two
//! entries share a byte: an archive that is smaller than the sum of its entries is refused.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::DeflateDecoder;

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
/// Bytes of an entry's header before its name.
const LOCAL_HEADER: u64 = 30;
/// Says in an entry's flags that its sizes stand behind its data.
const SIZES_BEHIND: u16 = 1 << 3;

/// An open archive.
pub(super) struct Archive<'a> {
    path: &'a Path,
    file: &'a File,
    length: u64,
    entries: HashMap<String, Entry>,
}

/// Where an entry's data lie.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Of the first byte in the file.
    pub(super) start: u64,
    /// Bytes.
    pub(super) size: u64,
    /// Bytes in the archive.
    packed: u64,
    /// How they are packed.
    method: Method,
}

/// How an entry's bytes are packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflated,
    Other,
}

/// An entry as the central directory has it.
struct Listed {
    name: String,
    /// Of the local header.
    offset: u64,
    size: u64,
    packed: u64,
    method: Method,
}

impl<'a> Archive<'a> {
    /// Reads the central directory and every entry's header.
    pub(super) fn open(path: &'a Path, file: &'a File) -> Result<Self, ModelError> {
        let length = file.metadata().map_err(|e| read(path, e))?.len();
        let mut archive = Self { path, file, length, entries: HashMap::new() };
        let (offset, size) = archive.directory()?;
        let directory = archive.bytes(offset, size, LARGEST_DIRECTORY)?;
        let listed = listed(&directory)
            .ok_or_else(|| archive.invalid("the zip archive's directory is broken".to_owned()))?;
        let mut extents = Vec::with_capacity(listed.len());
        for entry in listed {
            let start = archive.start(&entry)?;
            let end = start.checked_add(entry.packed).filter(|end| *end <= offset);
            let Some(end) = end else {
                let reason = format!("the entry {:?} reaches past the archive's data", entry.name);
                return Err(archive.invalid(reason));
            };
            extents.push((entry.offset, end, entry.name.clone()));
            let Listed { size, packed, method, .. } = entry;
            let found = Entry { start, size, packed, method };
            if archive.entries.insert(entry.name.clone(), found).is_some() {
                return Err(archive.invalid(format!("the entry {:?} stands twice", entry.name)));
            }
        }
        extents.sort_unstable();
        for pair in extents.windows(2) {
            if let [(_, end, one), (next, _, other)] = pair
                && next < end
            {
                return Err(archive.invalid(format!("the entries {one:?} and {other:?} overlap")));
            }
        }
        Ok(archive)
    }

    /// The names of the entries.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Where an entry's bytes lie; they lie there without compression.
    pub(super) fn entry(&self, name: &str) -> Result<Entry, String> {
        match self.entries.get(name) {
            None => Err(format!("the archive has no entry {name:?}")),
            Some(entry) if entry.method != Method::Stored => {
                Err(format!("the entry {name:?} is compressed"))
            }
            Some(entry) => Ok(*entry),
        }
    }

    /// One entry's bytes.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, ModelError> {
        let entry = self.entry(name).map_err(|reason| self.invalid(reason))?;
        self.bytes(entry.start, entry.size, most)
    }

    /// Writes one entry's bytes, unpacked, to a file: as many as the archive says, no more.
    pub(super) fn unpack(&self, name: &str, to: &mut File) -> Result<(), ModelError> {
        let entry = self.entries.get(name).filter(|entry| entry.method != Method::Other);
        let Some(entry) = entry else {
            return Err(self.invalid(format!("the entry {name:?} is packed in an unknown way")));
        };
        let mut file = self.file;
        file.seek(SeekFrom::Start(entry.start)).map_err(|e| read(self.path, e))?;
        let packed = BufReader::with_capacity(1 << 20, file.take(entry.packed));
        let mut unpacked: Box<dyn Read + '_> = match entry.method {
            Method::Deflated => Box::new(DeflateDecoder::new(packed)),
            Method::Stored | Method::Other => Box::new(packed),
        };
        let copied = std::io::copy(&mut unpacked.by_ref().take(entry.size), to)
            .map_err(|e| read(self.path, e))?;
        let more = unpacked.read(&mut [0]).map_err(|e| read(self.path, e))?;
        if copied != entry.size || more != 0 {
            return Err(self.invalid(format!("the entry {name:?} is not as long as it says")));
        }
        Ok(())
    }

    /// Where the data of an entry begin, by its own header.
    fn start(&self, entry: &Listed) -> Result<u64, ModelError> {
        let contradicts = |what: &str| {
            let name = &entry.name;
            self.invalid(format!("the entry {name:?} and the archive's directory differ in {what}"))
        };
        let header = self.bytes(entry.offset, LOCAL_HEADER, LOCAL_HEADER)?;
        let field = |at| u16_at(&header, at).map(u64::from);
        let fields = field(26).zip(field(28)).filter(|_| header.starts_with(&LOCAL));
        let Some((name, extra)) = fields else {
            return Err(self.invalid(format!("the entry {:?} has no header", entry.name)));
        };
        if name != entry.name.len() as u64
            || self.bytes(entry.offset + LOCAL_HEADER, name, name)? != entry.name.as_bytes()
        {
            return Err(contradicts("its name"));
        }
        let behind = u16_at(&header, 6).is_some_and(|flags| flags & SIZES_BEHIND != 0);
        // Sizes of more than 32 bits stand elsewhere in both.
        let same = |at, size| {
            u32_at(&header, at).is_none_or(|here| here == u32::MAX || u64::from(here) == size)
        };
        let agree = same(18, entry.packed) && same(22, entry.size);
        if !behind && !agree {
            return Err(contradicts("its size"));
        }
        Ok(entry.offset + LOCAL_HEADER + name + extra)
    }

    /// Offset and size of the central directory.
    fn directory(&self) -> Result<(u64, u64), ModelError> {
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

    fn bytes(&self, offset: u64, size: u64, most: u64) -> Result<Vec<u8>, ModelError> {
        if offset.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(self.invalid("the archive names bytes past its end".to_owned()));
        }
        let length = usize::try_from(size).ok().filter(|_| size <= most);
        let Some(length) = length else {
            return Err(self.invalid(format!("an entry of {size} bytes is too large")));
        };
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(|e| read(self.path, e))?;
        Ok(bytes)
    }

    fn invalid(&self, reason: String) -> ModelError {
        ModelError::invalid(self.path, reason)
    }
}

fn read(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Read { path: path.to_owned(), source }
}

fn listed(directory: &[u8]) -> Option<Vec<Listed>> {
    let mut entries = Vec::new();
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
        let method = u16_at(header, 10)?;
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
        let method = match method {
            0 if packed == size => Method::Stored,
            8 => Method::Deflated,
            _ => Method::Other,
        };
        entries.push(Listed { name: name_text, offset, size, packed, method });
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
