//! One transaction on the job store: what it changes, and what it tells of it.

use std::cell::RefCell;
use std::ops::Deref;

use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::error::{Fault, SpoolError};
use super::{Spool, Waiters};
use crate::vocabulary::ByteSize;

/// A step of a job or a delivery, for its history and the log.
pub(super) struct Transition<'a> {
    before: &'a str,
    after: &'a str,
    destination: Option<&'a str>,
    note: Option<&'a str>,
}

impl<'a> Transition<'a> {
    pub(super) fn new(before: &'a str, after: &'a str) -> Self {
        Self { before, after, destination: None, note: None }
    }

    /// Of a delivery, not of the whole job.
    pub(super) fn to(self, destination: &'a str) -> Self {
        Self { destination: Some(destination), ..self }
    }

    /// Why.
    pub(super) fn because(self, note: &'a str) -> Self {
        Self { note: Some(note), ..self }
    }
}

/// What is logged once it is committed.
struct Told {
    job: i64,
    study: String,
    version: u32,
    before: String,
    after: String,
    destination: Option<String>,
}

/// An open write transaction.
pub(super) struct Change<'c> {
    transaction: rusqlite::Transaction<'c>,
    told: RefCell<Vec<Told>>,
    pub(super) now: i64,
}

impl<'c> Deref for Change<'c> {
    type Target = rusqlite::Transaction<'c>;
    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl Change<'_> {
    /// Adds a step to the history of a job.
    pub(super) fn record(&self, job: i64, step: &Transition<'_>) -> Result<(), rusqlite::Error> {
        let found = self
            .prepare_cached(
                "SELECT study.id, study.uid, job.version FROM job JOIN study ON study.id = job.study
                 WHERE job.id = ?1",
            )?
            .query_row([job], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((study, uid, version)) = found else { return Ok(()) };
        let note = match (step.destination, step.note) {
            (Some(destination), Some(note)) => Some(format!("{destination}: {note}")),
            (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
            (None, None) => None,
        };
        self.prepare_cached(
            "INSERT INTO event (study, version, at, before, after, note)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![study, version, self.now, step.before, step.after, note])?;
        self.told.borrow_mut().push(Told {
            job,
            study: uid,
            version,
            before: step.before.to_owned(),
            after: step.after.to_owned(),
            destination: step.destination.map(str::to_owned),
        });
        Ok(())
    }

    fn commit(self, waiters: &Waiters) -> Result<(), rusqlite::Error> {
        self.transaction.commit()?;
        tracing::trace!("transaction committed");
        let told = self.told.into_inner();
        // Looking for work in vain is no change: it would wake the one who looked, again and again.
        let changed = !told.is_empty();
        for told in told {
            // A test that kills the node reads the last of these lines to know where it did.
            tracing::info!(
                job = told.job,
                study = told.study,
                version = told.version,
                from = told.before,
                to = told.after,
                destination = told.destination,
                "job transition"
            );
        }
        if changed {
            waiters.wake();
        }
        Ok(())
    }
}

impl Spool {
    /// Runs a write transaction; nothing of it stands unless all of it does.
    pub(super) fn write<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Change<'_>) -> Result<T, Fault>,
    ) -> Result<T, SpoolError> {
        let told = |source| self.database_error(what, source);
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
        let change = Change { transaction, told: RefCell::default(), now: self.inner.clock.now() };
        self.mind_the_clock(&change).map_err(told)?;
        let result = work(&change).map_err(|fault| match fault {
            Fault::Sql(source) => told(source),
            Fault::Told(error) => error,
        })?;
        let committed = change.commit(&self.inner.waiters);
        // A lease that was not committed gives itself back as it goes, which takes the connection.
        drop(connection);
        committed.map_err(told)?;
        Ok(result)
    }

    fn database_error(&self, what: &'static str, source: rusqlite::Error) -> SpoolError {
        if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            let free = self.free().unwrap_or(ByteSize(0));
            return SpoolError::Full { free, needed: self.settings().min_free };
        }
        SpoolError::Database { what, source }
    }

    /// Runs reads on one state of the database.
    pub(super) fn read<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        let mut connection = self.connection();
        let told = |source| SpoolError::Database { what, source };
        let transaction = connection.transaction().map_err(told)?;
        work(&transaction).map_err(told)
    }
}
