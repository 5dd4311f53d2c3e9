//! What goes when: the files of a study, some time after the last destination has them.
//!
//! Rows stay: text and history, and the study's version count, so that versions never start over.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::clock::milliseconds;
use super::error::Fault;
use super::transition::Change;
use super::{Spool, SpoolError, durable, layout};

/// Studies whose rows are changed, or files that are unlinked, in one transaction: what comes in
/// meanwhile waits for no more than these.
const BATCH: usize = 100;
/// How long others have their turn between two of those.
const TURN: Duration = Duration::from_millis(5);

impl Spool {
    /// Deletes the objects of studies that were finished for longer than the spool's
    /// `after_delivery`; gives the number of objects.
    pub fn retain(&self) -> Result<usize, SpoolError> {
        self.purge(self.settings().after_delivery)
    }

    /// [`Spool::retain`] with another time. A study is finished when no job of it waits, failed,
    /// or is worked on, and no delivery either; a study without any job has only objects of the
    /// node's own. Without destinations, a draft is the end, and the time counts from it.
    pub fn purge(&self, after: Duration) -> Result<usize, SpoolError> {
        let mut deleted = 0;
        loop {
            let (studies, objects) = self.doom_finished(after)?;
            deleted += objects;
            self.unlink_doomed()?;
            if studies < BATCH {
                return Ok(deleted);
            }
        }
    }

    /// Notes the objects of some finished studies for deletion: how many studies, how many objects.
    fn doom_finished(&self, after: Duration) -> Result<(usize, usize), SpoolError> {
        self.write("delete what is delivered", |change| {
            let mut deleted = 0;
            let until = change.now.saturating_sub(milliseconds(after));
            let studies = finished(change, until, BATCH)?;
            for study in &studies {
                doom_objects(change, *study)?;
                deleted += change.execute(
                    "UPDATE object SET deleted_at = ?2 WHERE study = ?1 AND deleted_at IS NULL",
                    params![study, change.now],
                )?;
                change.execute(
                    "INSERT INTO event (study, at, before, after)
                     VALUES (?1, ?2, 'kept', 'objects deleted')",
                    params![study, change.now],
                )?;
            }
            Ok((studies.len(), deleted))
        })
    }

    /// How many studies and objects [`Spool::purge`] would find now.
    pub fn purgeable(&self, after: Duration) -> Result<(usize, usize), SpoolError> {
        let until = self.inner.clock.now().saturating_sub(milliseconds(after));
        self.read("look for what is delivered", |transaction| {
            let studies = finished(transaction, until, usize::MAX)?;
            let mut objects = 0;
            for study in &studies {
                objects += transaction
                    .prepare_cached(
                        "SELECT count(*) FROM object WHERE study = ?1 AND deleted_at IS NULL",
                    )?
                    .query_row([study], |row| row.get::<_, i64>(0))?;
            }
            Ok((studies.len(), usize::try_from(objects).unwrap_or(usize::MAX)))
        })
    }

    /// Deletes files that no row came to name.
    pub(super) fn discard(&self, files: &[String]) -> Result<(), SpoolError> {
        self.write("discard files", |change| {
            let mut doom = change.prepare_cached("INSERT OR IGNORE INTO doomed VALUES (?1)")?;
            for file in files {
                doom.execute([file])?;
            }
            Ok(())
        })?;
        self.unlink_doomed()
    }

    /// Unlinks files whose rows are gone. Their rows went in an earlier commit; one that came back
    /// since is spared, and nobody can bring one back while a transaction runs. One that cannot be
    /// unlinked stays noted, and is tried again the next time.
    pub(super) fn unlink_doomed(&self) -> Result<(), SpoolError> {
        let mut last = String::new();
        loop {
            let files = self.write("unlink files", |change| self.unlink_some(change, &last))?;
            let is_last = files.len() < BATCH;
            match files.into_iter().next_back() {
                Some(file) if !is_last => last = file,
                _ => return Ok(()),
            }
            std::thread::sleep(TURN);
        }
    }

    /// Unlinks the next files, in the order of their names: those that were looked at.
    fn unlink_some(&self, change: &Change<'_>, after: &str) -> Result<Vec<String>, Fault> {
        let files: Vec<String> = change
            .prepare_cached("SELECT file FROM doomed WHERE file > ?1 ORDER BY file LIMIT ?2")?
            .query_map(params![after, i64::try_from(BATCH).unwrap_or(i64::MAX)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for file in &files {
            let needed: bool = change
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM object WHERE file = ?1 AND deleted_at IS NULL)
                         OR EXISTS (SELECT 1 FROM artefact WHERE file = ?1)",
                )?
                .query_row([file], |row| row.get(0))?;
            if !needed {
                let removed = durable::remove_below(&self.path(layout::STUDIES), &self.path(file));
                if let Err(error) = removed {
                    tracing::error!(file, %error, "a file cannot be deleted; tried again later");
                    continue;
                }
            }
            change.prepare_cached("DELETE FROM doomed WHERE file = ?1")?.execute([file])?;
        }
        Ok(files)
    }
}

/// So many of the studies that were finished before a time and still have objects.
pub(super) fn finished(
    connection: &Connection,
    until: i64,
    most: usize,
) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached(
            "SELECT study.id FROM study
             WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.study = study.id
                     AND (job.leased OR job.state IN ('received', 'failed')
                         OR job.drafted_at > ?1))
                 AND NOT EXISTS (SELECT 1 FROM delivery
                     JOIN job ON job.id = delivery.job WHERE job.study = study.id
                     AND (delivery.leased OR delivery.state IN ('waiting', 'failed')
                         OR delivery.state = 'sent' AND delivery.commitment = 1
                         OR delivery.sent_at > ?1))
                 AND NOT EXISTS (SELECT 1 FROM object WHERE object.study = study.id
                     AND object.deleted_at IS NULL AND object.received_at > ?1)
                 AND EXISTS (SELECT 1 FROM object WHERE object.study = study.id
                     AND object.deleted_at IS NULL)
             LIMIT ?2",
        )?
        .query_map(params![until, i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect()
}

/// Notes the files of a study's objects for deletion.
pub(super) fn doom_objects(change: &Change<'_>, study: i64) -> rusqlite::Result<()> {
    change.execute(
        "INSERT OR IGNORE INTO doomed (file)
         SELECT file FROM object WHERE study = ?1 AND deleted_at IS NULL",
        [study],
    )?;
    Ok(())
}
