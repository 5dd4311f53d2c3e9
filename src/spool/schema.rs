//! The job store: SQLite with a write-ahead log, every commit synced.

use std::cmp::Ordering;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::SpoolError;
use super::{durable, layout};

/// Each entry brings a database from its index to the next version (`PRAGMA user_version`).
const MIGRATIONS: &[&str] = &[FIRST, UNREACHABLE, MADE, WORKLIST, COMMITMENT, KILLS, LEASES];

/// A destination that cannot be reached puts off all that waits for it, not each by itself.
const UNREACHABLE: &str = "
ALTER TABLE delivery ADD COLUMN unreachable INTEGER NOT NULL DEFAULT 0;
";

/// A destination may be sent more of what drafting made than the report.
const MADE: &str = "
ALTER TABLE delivery ADD COLUMN artefact TEXT; -- its kind; none: the object
UPDATE delivery SET artefact = 'report' WHERE object IS NULL;
DROP INDEX delivery_once;
CREATE UNIQUE INDEX delivery_once
    ON delivery (job, destination, coalesce(object, 0), coalesce(artefact, ''));
";

/// What ends the program, or a process of it, is found out and given up.
const KILLS: &str = "
ALTER TABLE job ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0; -- drafted alone from now on
ALTER TABLE job ADD COLUMN kills INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_leased ON job (id) WHERE leased = 1;
CREATE INDEX job_suspect ON job (next_attempt_at) WHERE suspect = 1;
";

/// The number of a job or a delivery that is gone is given again: a lease has a name of its own.
const LEASES: &str = "
ALTER TABLE job ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
-- What is to be sent of it is not yet on its way: the images of a job that was given up, a signed
-- report that was found.
ALTER TABLE job ADD COLUMN unforwarded INTEGER NOT NULL DEFAULT 0;
CREATE INDEX job_unforwarded ON job (id) WHERE unforwarded = 1;
";

const FIRST: &str = "
-- A study outlives everything else of it, so that its versions never start over.
CREATE TABLE study (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    versions INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES study ON DELETE CASCADE,
    instance TEXT NOT NULL,
    series TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    file TEXT NOT NULL,
    data_set_offset INTEGER NOT NULL,
    digest TEXT NOT NULL,
    content INTEGER NOT NULL,         -- counts the different contents of one instance
    latest INTEGER NOT NULL,          -- whether this is the newest content
    own INTEGER NOT NULL,             -- made by this node
    calling TEXT NOT NULL,
    called TEXT NOT NULL,
    address TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    deleted_at INTEGER,               -- when retention took its file
    UNIQUE (study, instance, digest)
);
CREATE INDEX object_by_instance ON object (instance);
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES study ON DELETE CASCADE,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT,                     -- what drafting ended with: drafted, skipped
    priority INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
    reason TEXT,                      -- of drafting
    failure TEXT,                     -- of delivery
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    complete_at INTEGER,
    sealed_at INTEGER,
    drafted_at INTEGER,
    text TEXT,
    image INTEGER REFERENCES object ON DELETE SET NULL,
    draft TEXT,
    seconds TEXT,
    UNIQUE (study, version)
);
CREATE INDEX job_by_state ON job (state);
CREATE TABLE job_object (
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    object INTEGER NOT NULL REFERENCES object ON DELETE CASCADE,
    PRIMARY KEY (job, object)
) WITHOUT ROWID;
CREATE TABLE artefact (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    kind TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    instance TEXT NOT NULL,
    series TEXT NOT NULL,
    file TEXT NOT NULL,
    data_set_offset INTEGER NOT NULL
);
CREATE INDEX artefact_by_job ON artefact (job);
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    destination TEXT NOT NULL,
    object INTEGER REFERENCES object ON DELETE CASCADE, -- none: the job's report
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    sent_instance TEXT,
    sent_at INTEGER
);
CREATE UNIQUE INDEX delivery_once ON delivery (job, destination, coalesce(object, 0));
CREATE INDEX delivery_by_destination ON delivery (destination, state);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES study ON DELETE CASCADE,
    version INTEGER,
    at INTEGER NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    note TEXT
);
CREATE INDEX event_by_study ON event (study);
-- Files that no row needs any more; unlinked in a later transaction.
CREATE TABLE doomed (file TEXT PRIMARY KEY) WITHOUT ROWID;
";

/// Signed reports, who a study is, and the order of the worklist.
const WORKLIST: &str = "
ALTER TABLE job ADD COLUMN signer TEXT;
ALTER TABLE job ADD COLUMN signed_at INTEGER;
CREATE INDEX job_by_urgency
    ON job (signed_at IS NOT NULL, priority DESC, first_at DESC, id DESC);
CREATE TABLE caption (
    study INTEGER PRIMARY KEY REFERENCES study ON DELETE CASCADE,
    patient TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    birth_date TEXT NOT NULL,
    accession TEXT NOT NULL,
    modality TEXT NOT NULL,
    date TEXT NOT NULL,
    description TEXT NOT NULL
);
CREATE INDEX delivery_waiting ON delivery (job) WHERE state = 'waiting';
";

/// What a destination acknowledged may want its commitment too.
const COMMITMENT: &str = "
ALTER TABLE delivery ADD COLUMN commitment INTEGER NOT NULL DEFAULT 0; -- whether it is wanted
ALTER TABLE delivery ADD COLUMN sent_class TEXT;
ALTER TABLE delivery ADD COLUMN commit_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN commit_at INTEGER NOT NULL DEFAULT 0;  -- when it is asked for
CREATE TABLE commitment (
    uid TEXT PRIMARY KEY,             -- of the transaction
    job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    destination TEXT NOT NULL,
    asked_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX commitment_by_job ON commitment (job);
CREATE INDEX delivery_uncommitted ON delivery (destination, commit_at)
    WHERE state = 'sent' AND commitment = 1;
";

/// Opens the database of a spool and brings it to this program's version.
pub(super) fn open(root: &Path) -> Result<Connection, SpoolError> {
    let path = root.join(layout::DATABASE);
    // SQLite would make it readable to all; the write-ahead log takes the database's mode.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(SpoolError::io("open", &path))?;
    durable::sync_folder(root).map_err(SpoolError::io("sync", root))?;
    let mut connection = connect(&path)?;
    // On a full disk what needs no change must not be changed.
    if version(&connection)? == known() {
        return Ok(connection);
    }
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(database("be migrated"))?;
    let found = version(&transaction)?;
    let known = known();
    if found > known {
        return Err(SpoolError::Newer { path: root.to_owned(), found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration).map_err(database("be migrated"))?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(database("be migrated"))?;
    transaction.commit().map_err(database("be migrated"))?;
    Ok(connection)
}

/// Looks for damage; a database that is whole says nothing.
pub(super) fn check(connection: &Connection) -> Result<(), SpoolError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(database("be checked"))?;
    if found == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(database("be trusted")(rusqlite::Error::SqliteFailure(code, Some(found))))
}

/// Opens the database beside a node, which may be another program: as it is or not at all.
pub(super) fn join(root: &Path) -> Result<Connection, SpoolError> {
    let connection = connect(&root.join(layout::DATABASE))?;
    let (found, known, path) = (version(&connection)?, known(), root.to_owned());
    match found.cmp(&known) {
        Ordering::Equal => Ok(connection),
        Ordering::Greater => Err(SpoolError::Newer { path, found, known }),
        Ordering::Less => Err(SpoolError::Older { path, found, known }),
    }
}

fn connect(path: &Path) -> Result<Connection, SpoolError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database("be opened"))?;
    prepare(&connection).map_err(database("be set up"))?;
    Ok(connection)
}

fn version(connection: &Connection) -> Result<i64, SpoolError> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(database("tell its version"))
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn database(what: &'static str) -> impl Fn(rusqlite::Error) -> SpoolError {
    move |source| SpoolError::Database { what, source }
}
