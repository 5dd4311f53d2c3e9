//! Files without rows: each object gets its row back, and what drafting made of it too.
//!
//! A row is lost with a damaged job store, and as well with one that is whole but older than the
//! files: restored, begun anew, or without the end of its write-ahead log. An object whose row is
//! not there may have been acknowledged, so it is never deleted.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rusqlite::params;

use super::error::Fault;
use super::incoming::{self, Received, Recorded};
use super::job::ArtefactKind;
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, adopt, damage, durable, layout, lease};
use crate::vocabulary::{InstanceUid, PatientText, SeriesUid, SopClass, StudyUid};

/// Where files go that nobody can use.
const ASIDE: &str = "unreadable";

/// A file below `studies/` without a row.
#[derive(Debug, Clone)]
pub struct Unrecorded {
    pub(super) name: String,
    written: SystemTime,
    /// Where it lies.
    pub path: PathBuf,
    /// What it is, by its name.
    pub kind: Lost,
}

/// What a file without a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// An object that was received.
    Object,
    /// What drafting or a signature made, for a version of its study.
    Artefact(u32, ArtefactKind),
    /// Nothing that the spool writes.
    Unknown,
}

/// What drafting made, as its file says.
#[derive(Debug, Clone)]
pub struct FoundArtefact {
    /// The file.
    pub file: Unrecorded,
    /// The study.
    pub study: StudyUid,
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// Where the data set starts in the file, in bytes.
    pub data_set_offset: u64,
    /// Of a report: the images that it stands on.
    pub evidence: Vec<InstanceUid>,
    /// Of a signed report: who signed, and the text.
    pub signed: Option<(String, PatientText)>,
}

impl Spool {
    /// Where the damaged job store lies that this one was made from.
    pub fn damaged(&self) -> Option<&Path> {
        self.inner.damaged.as_deref()
    }

    /// The files without rows, the oldest first. They are to be recorded, or put aside, and
    /// [`Spool::rebuilt`] to be called, before anything else is done with the spool.
    pub fn unrecorded(&self) -> Result<Vec<Unrecorded>, SpoolError> {
        let root = &self.settings().path;
        let files = layout::files(root).map_err(SpoolError::io("list", root))?;
        let known: HashSet<String> = self.read("list files", |transaction| {
            transaction
                .prepare(
                    "SELECT file FROM object WHERE deleted_at IS NULL
                     UNION SELECT file FROM artefact UNION SELECT file FROM doomed",
                )?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        let mut lost = Vec::new();
        for (name, path) in files.into_iter().filter(|(name, _)| !known.contains(name)) {
            let written = fs::symlink_metadata(&path).and_then(|meta| meta.modified());
            let written = written.map_err(SpoolError::io("look at", &path))?;
            lost.push(Unrecorded { kind: kind(&path), name, written, path });
        }
        lost.sort_by(|a, b| (a.written, &a.name).cmp(&(b.written, &b.name)));
        Ok(lost)
    }

    /// Gives objects their rows back, in one transaction. In a job store that was damaged they
    /// belong to the jobs that are there; in one that is older than they are, they are new to it.
    pub fn record(&self, objects: &[(Unrecorded, Received)]) -> Result<(), SpoolError> {
        let mut readable = Vec::with_capacity(objects.len());
        for (file, received) in objects {
            let digest = fs::File::open(&file.path)
                .and_then(|mut open| incoming::digest(&mut open, received.data_set_offset));
            match digest {
                Ok(digest) => readable.push((file, received, digest)),
                // It stays where it is, for the next start.
                Err(error) => tracing::error!(file = file.name, %error, "cannot be read"),
            }
        }
        let joins = self.damaged().is_none();
        let copies = self.write("record objects", |change| {
            let mut copies = Vec::new();
            for (file, received, digest) in &readable {
                let at = milliseconds(file.written).min(change.now);
                match incoming::record(change, received, digest, (&file.name, at), joins)? {
                    Recorded::Kept => {}
                    Recorded::Known(other) if self.path(&other).is_file() => copies.push(*file),
                    Recorded::Known(other) => {
                        change.execute(
                            "UPDATE object SET file = ?2 WHERE file = ?1",
                            params![other, file.name],
                        )?;
                    }
                }
            }
            Ok(copies)
        })?;
        copies.into_iter().try_for_each(|copy| self.put_aside(copy))
    }

    /// Keeps a file that nobody can use out of the way.
    pub fn put_aside(&self, file: &Unrecorded) -> Result<(), SpoolError> {
        let to = self.path(ASIDE);
        let name = file.path.file_name().unwrap_or_default();
        durable::folder(&to)
            .and_then(|()| fs::rename(&file.path, to.join(name)))
            .map_err(SpoolError::io("put aside", &file.path))
    }

    /// All objects are recorded: what was drafted of them is theirs again, and studies whose job
    /// was lost get it back.
    pub fn rebuilt(&self, found: &[FoundArtefact]) -> Result<(), SpoolError> {
        let root = &self.settings().path;
        let left = self.write("find lost jobs", |change| {
            note_gone(change, root)?;
            keep_versions(change, found)?;
            let left = adopt::adopt(self, change, found)?;
            begin_lost_jobs(change)?;
            end_empty_jobs(change)?;
            Ok(left)
        })?;
        for (file, is_needed) in left {
            if is_needed {
                tracing::error!(file = file.name, "what was drafted belongs to no study here");
                self.put_aside(file)?;
            } else {
                tracing::info!(file = file.name, "what an attempt before made is removed");
                durable::remove(&file.path).map_err(SpoolError::io("remove", &file.path))?;
            }
        }
        damage::finish(root)
    }
}

fn kind(path: &Path) -> Lost {
    if path.extension().is_some_and(|extension| extension == "dcm") {
        return Lost::Object;
    }
    let artefact = layout::artefact_of(path);
    artefact.map_or(Lost::Unknown, |(version, kind)| Lost::Artefact(version, kind))
}

fn milliseconds(time: SystemTime) -> i64 {
    Timestamp::try_from(time).unwrap_or_default().as_millisecond()
}

/// Objects whose files are gone are gone.
fn note_gone(change: &Change<'_>, root: &Path) -> Result<(), Fault> {
    let files: Vec<(i64, String)> = change
        .prepare("SELECT id, file FROM object WHERE deleted_at IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (object, file) in files.into_iter().filter(|(_, file)| is_gone(&root.join(file))) {
        tracing::error!(file, "an object is gone from the disk");
        change.execute(
            "UPDATE object SET deleted_at = ?2 WHERE id = ?1",
            params![object, change.now],
        )?;
    }
    Ok(())
}

/// Whether there is certainly no such file: a disk that cannot say is no proof.
fn is_gone(path: &Path) -> bool {
    fs::metadata(path)
        .map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |found| !found.is_file())
}

/// The number of a version that has files is used up, whatever the job store knows of it.
fn keep_versions(change: &Change<'_>, found: &[FoundArtefact]) -> Result<(), Fault> {
    for artefact in found {
        if let Lost::Artefact(version, _) = artefact.file.kind {
            change.execute(
                "INSERT INTO study (uid, versions) VALUES (?1, ?2)
                 ON CONFLICT (uid) DO UPDATE SET versions = max(versions, excluded.versions)",
                params![artefact.study.as_str(), version],
            )?;
        }
    }
    Ok(())
}

/// A study with objects of others whose newest version has no job gets that one back, under the
/// number that it had: the draft of the same number is the same object.
fn begin_lost_jobs(change: &Change<'_>) -> Result<(), Fault> {
    let lost: Vec<(i64, u32)> = change
        .prepare(
            "SELECT id, max(versions, 1) FROM study
             WHERE EXISTS (SELECT 1 FROM object WHERE object.study = study.id
                     AND NOT own AND deleted_at IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM job WHERE job.study = study.id
                     AND job.version >= study.versions)",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (study, version) in lost {
        adopt::begin(change, study, version)?;
    }
    Ok(())
}

/// A job without any object that is still there can come to nothing.
fn end_empty_jobs(change: &Change<'_>) -> Result<(), Fault> {
    let empty: Vec<i64> = change
        .prepare(
            "SELECT id FROM job WHERE state = 'received' AND leased = 0 AND NOT EXISTS
                 (SELECT 1 FROM object WHERE object.study = job.study AND NOT own
                     AND deleted_at IS NULL)",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for job in empty {
        lease::dead(change, job, "its objects are gone from the disk")?;
    }
    Ok(())
}

/// Why a job is begun without an object that comes in.
pub(super) fn lost() -> Transition<'static> {
    Transition::new("", "received").because("its record was lost")
}
