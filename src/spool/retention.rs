//! What goes when: the files of a study, some time after the last destination has them.
//!
//! Rows stay: text and history, and the study's version count, so that versions never start over.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::clock::milliseconds;
use super::transition::Change;
use super::{Spool, SpoolError, durable, layout};

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
        let deleted = self.write("delete what is delivered", |change| {
            let mut deleted = 0;
            for study in finished(change, change.now.saturating_sub(milliseconds(after)))? {
                doom_objects(change, study)?;
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
            Ok(deleted)
        })?;
        self.unlink_doomed()?;
        Ok(deleted)
    }

    /// How many studies and objects [`Spool::purge`] would find now.
    pub fn purgeable(&self, after: Duration) -> Result<(usize, usize), SpoolError> {
        let until = self.inner.clock.now().saturating_sub(milliseconds(after));
        self.read("look for what is delivered", |transaction| {
            let studies = finished(transaction, until)?;
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
    /// since is spared, and nobody can bring one back while this transaction runs.
    pub(super) fn unlink_doomed(&self) -> Result<(), SpoolError> {
        self.write("unlink files", |change| {
            let files: Vec<String> = change
                .prepare_cached("DELETE FROM doomed RETURNING file")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for file in files {
                let needed: bool = change
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM object WHERE file = ?1 AND deleted_at IS NULL)
                             OR EXISTS (SELECT 1 FROM artefact WHERE file = ?1)",
                    )?
                    .query_row([&file], |row| row.get(0))?;
                if !needed {
                    let path = self.path(&file);
                    durable::remove_below(&self.path(layout::STUDIES), &path)
                        .map_err(SpoolError::io("remove", &path))?;
                }
            }
            Ok(())
        })
    }
}

/// The studies that were finished before a time and still have objects.
pub(super) fn finished(connection: &Connection, until: i64) -> rusqlite::Result<Vec<i64>> {
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
                     AND object.deleted_at IS NULL)",
        )?
        .query_map([until], |row| row.get(0))?
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
