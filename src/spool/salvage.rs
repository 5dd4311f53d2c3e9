//! What can be read of a damaged job store: row by row, from both ends of each table.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params_from_iter};

use super::SpoolError;

/// Parents before children.
const TABLES: [&str; 10] = [
    "study",
    "object",
    "job",
    "job_object",
    "artefact",
    "delivery",
    "commitment",
    "event",
    "caption",
    "doomed",
];

/// What must hold again: rows whose parents are gone go too, and work whose parts are gone is done
/// anew. A draft made again is the same object, so its destinations do not get another.
const MEND: &str = "
DELETE FROM object WHERE study NOT IN (SELECT id FROM study);
DELETE FROM job WHERE study NOT IN (SELECT id FROM study);
DELETE FROM job_object WHERE job NOT IN (SELECT id FROM job)
    OR object NOT IN (SELECT id FROM object);
DELETE FROM artefact WHERE job NOT IN (SELECT id FROM job);
DELETE FROM delivery WHERE job NOT IN (SELECT id FROM job)
    OR object IS NOT NULL AND object NOT IN (SELECT id FROM object);
DELETE FROM commitment WHERE job NOT IN (SELECT id FROM job);
DELETE FROM event WHERE study NOT IN (SELECT id FROM study);
DELETE FROM caption WHERE study NOT IN (SELECT id FROM study);
UPDATE job SET image = NULL WHERE image NOT IN (SELECT id FROM object);
UPDATE job SET state = 'received', outcome = NULL, attempts = 0, next_attempt_at = 0
WHERE outcome = 'drafted' AND signed_at IS NULL AND state != 'delivered'
    AND NOT EXISTS (SELECT 1 FROM artefact WHERE artefact.job = job.id);
DELETE FROM delivery WHERE state IN ('waiting', 'failed')
    AND job IN (SELECT id FROM job WHERE state = 'received');
UPDATE job SET sealed_at = NULL WHERE state = 'received'
    AND NOT EXISTS (SELECT 1 FROM job_object WHERE job_object.job = job.id);
";

/// Drafts whose deliveries were lost.
const LOST_DELIVERIES: &str = "
UPDATE job SET state = 'received', outcome = NULL, attempts = 0, next_attempt_at = 0
WHERE state = 'drafted' AND signed_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.job = job.id);
";

/// Copies into a new database what a damaged one still gives, in one transaction.
pub(super) fn salvage(damaged: &Path, into: &mut Connection) -> Result<(), SpoolError> {
    let told = |source| SpoolError::Database { what: "be made anew", source };
    into.execute_batch("PRAGMA foreign_keys = OFF").map_err(told)?;
    let transaction =
        into.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match Connection::open_with_flags(damaged, flags) {
        Ok(from) => copy(&from, &transaction).map_err(told)?,
        Err(error) => tracing::error!(%error, "nothing can be read of the damaged job store"),
    }
    transaction.commit().map_err(told)?;
    into.execute_batch("PRAGMA foreign_keys = ON").map_err(told)
}

fn copy(from: &Connection, into: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut lost_deliveries = false;
    for table in TABLES {
        let whole = copy_table(from, into, table)?;
        if !whole {
            tracing::error!(table, "a part of the damaged job store is lost");
        }
        lost_deliveries |= table == "delivery" && !whole;
    }
    into.execute_batch(MEND)?;
    if lost_deliveries {
        into.execute_batch(LOST_DELIVERIES)?;
    }
    Ok(())
}

/// Copies a table; whether all of it could be read. An error is one of the new database.
fn copy_table(from: &Connection, into: &Transaction<'_>, table: &str) -> rusqlite::Result<bool> {
    let new = columns(into, table)?;
    // An older schema has fewer of them; a damaged one may not say.
    let Ok(old) = columns(from, table) else { return Ok(false) };
    let shared: Vec<&String> = new.iter().filter(|name| old.contains(name)).collect();
    if shared.is_empty() {
        return Ok(false);
    }
    let names = shared.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let places = vec!["?"; shared.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    let select = format!("SELECT {names} FROM {table}");
    if copy_rows(from, into, &select, &insert, shared.len())? {
        return Ok(true);
    }
    // From the other end, up to the damage. Some tables have no number to go by.
    let backwards = format!("{select} ORDER BY rowid DESC");
    copy_rows(from, into, &backwards, &insert, shared.len())?;
    Ok(false)
}

fn copy_rows(
    from: &Connection,
    into: &Transaction<'_>,
    select: &str,
    insert: &str,
    width: usize,
) -> rusqlite::Result<bool> {
    let mut insert = into.prepare(insert)?;
    let Ok(mut select) = from.prepare(select) else { return Ok(false) };
    let Ok(mut rows) = select.query([]) else { return Ok(false) };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(true),
            Err(_damage) => return Ok(false),
        };
        let values = (0..width).map(|column| row.get::<_, Value>(column));
        let Ok(values) = values.collect::<rusqlite::Result<Vec<_>>>() else { continue };
        match insert.execute(params_from_iter(values)) {
            // What the damage turned into something that cannot be is left out.
            Ok(_) => {}
            Err(error) if is_refused(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_refused(error: &rusqlite::Error) -> bool {
    let refused = [rusqlite::ErrorCode::ConstraintViolation, rusqlite::ErrorCode::TypeMismatch];
    error.sqlite_error_code().is_some_and(|code| refused.contains(&code))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA table_info({table})"))?;
    statement.query_map([], |row| row.get(1))?.collect()
}
