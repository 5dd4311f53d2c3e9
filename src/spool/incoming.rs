//! Objects on their way in.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::Path;

use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::caption::{self, Caption};
use super::durable::Synced;
use super::error::Fault;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, durable, layout};
use crate::vocabulary::{
    AeTitle, ByteSize, InstanceUid, SeriesUid, SopClass, StudyUid, TransferSyntax, hexadecimal,
};

/// Who sent an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The sender's AE title.
    pub calling: AeTitle,
    /// The AE title that it called.
    pub called: AeTitle,
    /// Where it called from.
    pub address: IpAddr,
}

/// What was learned about an object while it came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// Study Instance UID.
    pub study: StudyUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// Where the data set starts in the file, in bytes.
    pub data_set_offset: u64,
    /// Who sent it.
    pub sender: Sender,
    /// Made by this node: kept, but no reason for a draft.
    pub own_object: bool,
    /// Who and what the study is, by this object.
    pub caption: Caption,
}

/// What a commit came to; each is a success to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// A new object.
    Stored,
    /// The same instance with the same data set was there already: nothing else happens.
    Duplicate,
    /// The same instance was there with another data set: this is its newest content now.
    NewContent,
}

/// An object in the making; dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    spool: Spool,
    file: NamedTempFile,
    written: u64,
    /// Where the data set begins, and its digest so far; none before it begins.
    data_set: Option<(u64, Sha256)>,
}

impl Spool {
    /// Starts to take in an object.
    pub fn begin(&self) -> Result<Incoming, SpoolError> {
        let (free, needed) = (self.free()?, self.settings().min_free);
        if free < needed {
            return Err(SpoolError::Full { free, needed });
        }
        let scratch = self.scratch();
        let file =
            durable::part(&scratch).map_err(|e| self.file_error("make a file in", &scratch, e))?;
        Ok(Incoming { spool: self.clone(), file, written: 0, data_set: None })
    }

    pub(super) fn file_error(
        &self,
        what: &'static str,
        path: &Path,
        source: io::Error,
    ) -> SpoolError {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let free = self.free().unwrap_or(ByteSize(0));
            return SpoolError::Full { free, needed: self.settings().min_free };
        }
        SpoolError::io(what, path)(source)
    }
}

impl Incoming {
    /// Appends to the file (Part 10: preamble, meta and data set).
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| self.spool.file_error("write", self.file.path(), e))?;
        self.written += bytes.len() as u64;
        if let Some((_, digest)) = &mut self.data_set {
            digest.update(bytes);
        }
        Ok(())
    }

    /// The meta information is written: what comes now is the data set, whose digest is made as it
    /// comes.
    pub fn data_set_follows(&mut self) {
        self.data_set = Some((self.written, Sha256::new()));
    }

    /// Where the bytes written so far can be read.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Makes the object last: its bytes, its name and its row are on the disk when this returns.
    #[expect(clippy::needless_pass_by_value, reason = "what was received is handed over whole")]
    pub fn commit(mut self, received: Received) -> Result<Receipt, SpoolError> {
        let path = self.file.path().to_owned();
        let digest = match self.data_set.take() {
            Some((at, digest)) if at == received.data_set_offset => hexadecimal(&digest.finalize()),
            _ => digest(self.file.as_file_mut(), received.data_set_offset)
                .map_err(SpoolError::io("read", &path))?,
        };
        let Self { spool, file, .. } = self;
        let file = durable::sync(file).map_err(|e| spool.file_error("sync", &path, e))?;
        spool.write("keep an object", |change| keep(&spool, change, file, &received, &digest))
    }
}

/// SHA-256 of a data set, hexadecimal.
pub(super) fn digest(file: &mut std::fs::File, offset: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(offset))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if read > 0 => hash.update(bytes),
            _ => return Ok(hexadecimal(&hash.finalize())),
        }
    }
}

/// The rename happens within the transaction: no other process can find the row gone and delete
/// the file between the two.
fn keep(
    spool: &Spool,
    change: &Change<'_>,
    file: Synced,
    received: &Received,
    digest: &str,
) -> Result<Receipt, Fault> {
    let study = study(change, received)?;
    let name = layout::object(received.study.as_str(), received.instance.as_str(), digest);
    let place = |file| {
        let path = spool.path(&name);
        durable::place(file, &path).map_err(|e| spool.file_error("keep", &path, e))
    };
    if let Some((object, there)) = known(change, study, received, digest)? {
        // A file that somebody deleted comes back too.
        if there.is_none_or(|file| !spool.path(&file).is_file()) {
            place(file)?;
            back(change, object, &name)?;
        }
        return Ok(Receipt::Duplicate);
    }
    let contents = contents(change, received)?;
    place(file)?;
    insert(change, study, received, digest, (&name, change.now), contents + 1)?;
    if !received.own_object {
        caption::keep(change, study, &received.caption)?;
        join(change, study)?;
    }
    Ok(if contents == 0 { Receipt::Stored } else { Receipt::NewContent })
}

/// What recording a file came to.
pub(super) enum Recorded {
    /// It is the object's file now.
    Kept,
    /// The object has another file.
    Known(String),
}

/// Writes the row of an object whose file has its name already, and since when. With `joins` the
/// study's jobs do not know it yet.
pub(super) fn record(
    change: &Change<'_>,
    received: &Received,
    digest: &str,
    (name, written_at): (&str, i64),
    joins: bool,
) -> Result<Recorded, Fault> {
    let study = study(change, received)?;
    match known(change, study, received, digest)? {
        Some((_, Some(file))) => return Ok(Recorded::Known(file)),
        Some((object, None)) => {
            back(change, object, name)?;
            return Ok(Recorded::Kept);
        }
        None => {}
    }
    let contents = contents(change, received)?;
    insert(change, study, received, digest, (name, written_at), contents + 1)?;
    // It may be older than one that has its row.
    change.execute(
        "UPDATE object SET latest = (id = (SELECT id FROM object newest
             WHERE newest.study = ?1 AND newest.instance = ?2
             ORDER BY received_at DESC, id DESC LIMIT 1))
         WHERE study = ?1 AND instance = ?2",
        params![study, received.instance.as_str()],
    )?;
    if !received.own_object {
        caption::keep(change, study, &received.caption)?;
        if joins {
            join(change, study)?;
        }
    }
    Ok(Recorded::Kept)
}

/// The row of this very object, and its file unless retention took it.
fn known(
    change: &Change<'_>,
    study: i64,
    received: &Received,
    digest: &str,
) -> rusqlite::Result<Option<(i64, Option<String>)>> {
    change
        .prepare_cached(
            "SELECT id, CASE WHEN deleted_at IS NULL THEN file END FROM object
             WHERE study = ?1 AND instance = ?2 AND digest = ?3",
        )?
        .query_row(params![study, received.instance.as_str(), digest], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// Back after retention took it: a later version of the study may need it.
fn back(change: &Change<'_>, object: i64, name: &str) -> rusqlite::Result<()> {
    change.execute(
        "UPDATE object SET deleted_at = NULL, received_at = ?2, file = ?3 WHERE id = ?1",
        params![object, change.now, name],
    )?;
    Ok(())
}

fn study(change: &Change<'_>, received: &Received) -> Result<i64, Fault> {
    change
        .prepare_cached("INSERT INTO study (uid) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([received.study.as_str()])?;
    let study = change
        .prepare_cached("SELECT id FROM study WHERE uid = ?1")?
        .query_row([received.study.as_str()], |row| row.get(0))?;
    Ok(study)
}

/// How many other contents of the instance are known, in whatever study they claim to be.
fn contents(change: &Change<'_>, received: &Received) -> Result<i64, Fault> {
    let contents = change
        .prepare_cached("SELECT count(*) FROM object WHERE instance = ?1")?
        .query_row([received.instance.as_str()], |row| row.get(0))?;
    if contents > 0 {
        tracing::warn!(
            instance = received.instance.as_str(),
            study = received.study.as_str(),
            calling = received.sender.calling.as_str(),
            "an instance came with another content under the same UID"
        );
    }
    Ok(contents)
}

fn insert(
    change: &Change<'_>,
    study: i64,
    received: &Received,
    digest: &str,
    (name, received_at): (&str, i64),
    content: i64,
) -> Result<(), Fault> {
    let instance = received.instance.as_str();
    change
        .prepare_cached("UPDATE object SET latest = 0 WHERE study = ?1 AND instance = ?2")?
        .execute(params![study, instance])?;
    change
        .prepare_cached(
            "INSERT INTO object (study, instance, series, sop_class, transfer_syntax, file,
                 data_set_offset, digest, content, latest, own, calling, called, address,
                 received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            study,
            instance,
            received.series.as_str(),
            received.sop_class.uid(),
            received.transfer_syntax.uid(),
            name,
            i64::try_from(received.data_set_offset).unwrap_or(i64::MAX),
            digest,
            content,
            received.own_object,
            received.sender.calling.as_str(),
            received.sender.called.as_str(),
            received.sender.address.to_string(),
            received_at,
        ])?;
    Ok(())
}

/// Puts a new object into the study's open job, or into a new version.
fn join(change: &Change<'_>, study: i64) -> Result<(), Fault> {
    // A complete job that still waits for its draft is open: it becomes quiet anew.
    let joined = change
        .prepare_cached(
            "UPDATE job SET last_at = ?2, complete_at = NULL
             WHERE study = ?1 AND state = 'received' AND sealed_at IS NULL",
        )?
        .execute(params![study, change.now])?;
    if joined > 0 {
        return Ok(());
    }
    let version: u32 = change
        .prepare_cached(
            "UPDATE study SET versions = versions + 1 WHERE id = ?1 RETURNING versions",
        )?
        .query_row([study], |row| row.get(0))?;
    change
        .prepare_cached(
            "INSERT INTO job (study, version, state, first_at, last_at)
             VALUES (?1, ?2, 'received', ?3, ?3)",
        )?
        .execute(params![study, version, change.now])?;
    let job = change.last_insert_rowid();
    change.record(job, &Transition::new("", "received"))?;
    Ok(())
}
