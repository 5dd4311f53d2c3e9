//! The objects' files after the job store was damaged: each gets its row back.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::params;

use super::error::Fault;
use super::incoming::{self, Received};
use super::transition::{Change, Transition};
use super::{Spool, SpoolError, damage, durable, layout};

/// Where files go that are objects no more.
const UNREADABLE: &str = "unreadable";

/// A file below `studies/` without a row.
#[derive(Debug, Clone)]
pub struct Unrecorded {
    name: String,
    /// Where it lies.
    pub path: PathBuf,
}

impl Spool {
    /// Where the damaged job store lies that this one was made from; then [`Spool::unrecorded`] must
    /// be recorded and [`Spool::rebuilt`] called before anything else.
    pub fn damaged(&self) -> Option<&Path> {
        self.inner.damaged.as_deref()
    }

    /// The objects whose rows were lost.
    pub fn unrecorded(&self) -> Result<Vec<Unrecorded>, SpoolError> {
        let root = &self.settings().path;
        let files = layout::files(root).map_err(SpoolError::io("list", root))?;
        let known: HashSet<String> = self.read("list objects", |transaction| {
            transaction
                .prepare("SELECT file FROM object")?
                .query_map([], |row| row.get(0))?
                .collect()
        })?;
        let lost = files.into_iter().filter(|(name, path)| {
            !known.contains(name) && path.extension().is_some_and(|extension| extension == "dcm")
        });
        Ok(lost.map(|(name, path)| Unrecorded { name, path }).collect())
    }

    /// Gives an object its row back.
    pub fn record(&self, file: &Unrecorded, received: &Received) -> Result<(), SpoolError> {
        let digest = fs::File::open(&file.path)
            .and_then(|mut open| incoming::digest(&mut open, received.data_set_offset))
            .map_err(SpoolError::io("read", &file.path))?;
        self.write("record an object", |change| {
            incoming::record(change, received, &digest, &file.name)
        })
    }

    /// Keeps a file that is no object any more out of the way.
    pub fn put_aside(&self, file: &Unrecorded) -> Result<(), SpoolError> {
        let to = self.path(UNREADABLE);
        let name = file.path.file_name().unwrap_or_default();
        durable::folder(&to)
            .and_then(|()| fs::rename(&file.path, to.join(name)))
            .map_err(SpoolError::io("put aside", &file.path))
    }

    /// All objects are recorded: studies whose job was lost get it back, and files that no row
    /// names go.
    pub fn rebuilt(&self) -> Result<(), SpoolError> {
        let root = &self.settings().path;
        self.write("find lost jobs", |change| {
            let gone = gone(change, root)?;
            for object in gone {
                change.execute("DELETE FROM object WHERE id = ?1", [object])?;
            }
            begin_lost_jobs(change)?;
            self.remove_strays(change)
        })?;
        damage::finish(root)
    }
}

/// Rows of objects whose files are gone.
fn gone(change: &Change<'_>, root: &Path) -> Result<Vec<i64>, Fault> {
    let files: Vec<(i64, String)> = change
        .prepare("SELECT id, file FROM object WHERE deleted_at IS NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(files.into_iter().filter(|(_, file)| !root.join(file).is_file()).map(|(id, _)| id).collect())
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
        change.execute("UPDATE study SET versions = ?2 WHERE id = ?1", params![study, version])?;
        change.execute(
            "INSERT INTO job (study, version, state, first_at, last_at)
             VALUES (?1, ?2, 'received', ?3, ?3)",
            params![study, version, change.now],
        )?;
        let job = change.last_insert_rowid();
        let step = Transition::new("", "received").because("the job store was damaged");
        change.record(job, &step)?;
    }
    Ok(())
}
