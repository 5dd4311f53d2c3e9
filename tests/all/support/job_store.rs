//! A look into the node's job store from outside, also after the node was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Where a job stands between its acknowledgement and its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Its objects are kept; nobody works on it.
    Received,
    /// Sealed and leased by the drafting stage.
    Drafting,
    /// The draft is kept; nobody delivers it just now.
    Drafted,
    /// Leased by the delivery stage.
    Delivering,
    /// Nothing more is to be done.
    Ended,
}

impl Phase {
    /// Those in which a crash could lose something.
    pub(crate) const UNDER_WAY: [Self; 4] =
        [Self::Received, Self::Drafting, Self::Drafted, Self::Delivering];
}

const PHASES: &str = "
    SELECT study.uid, job.state, job.leased,
           EXISTS (SELECT 1 FROM delivery WHERE delivery.job = job.id AND delivery.leased <> 0)
    FROM job JOIN study ON study.id = job.study WHERE job.state <> 'merged'";

/// The phase of each study's job; empty while there is no store.
pub(crate) fn phases(spool: &Path) -> BTreeMap<String, Phase> {
    let Ok(connection) = open(&spool.join("jobs.sqlite")) else { return BTreeMap::new() };
    let Ok(mut statement) = connection.prepare(PHASES) else { return BTreeMap::new() };
    let rows = statement.query_map([], |row| {
        let (study, state): (String, String) = (row.get(0)?, row.get(1)?);
        let (drafting, delivering): (bool, bool) = (row.get(2)?, row.get(3)?);
        Ok((study, phase(&state, drafting, delivering)))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn phase(state: &str, drafting: bool, delivering: bool) -> Phase {
    match state {
        "received" if drafting => Phase::Drafting,
        "received" => Phase::Received,
        "drafted" if delivering => Phase::Delivering,
        "drafted" => Phase::Drafted,
        _ => Phase::Ended,
    }
}

/// Opens the store so that closing it leaves the write-ahead log of a killed node as it is: the
/// next start has to recover it.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// The rows of a query, of which each column is text; none while there is no store.
pub(crate) fn rows(spool: &Path, query: &str) -> Vec<Vec<String>> {
    let Ok(connection) = open(&spool.join("jobs.sqlite")) else { return Vec::new() };
    let Ok(mut statement) = connection.prepare(query) else { return Vec::new() };
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

/// Changes the store in a way that no node would.
pub(crate) fn execute(spool: &Path, statement: &str) {
    open(&spool.join("jobs.sqlite")).unwrap().execute_batch(statement).unwrap();
}

/// Gives all versions of a study a priority, as rules would.
pub(crate) fn set_priority(spool: &Path, study: &str, priority: &str) {
    let rank = ["routine", "urgent", "stat"].iter().position(|name| *name == priority).unwrap();
    let changed = open(&spool.join("jobs.sqlite"))
        .unwrap()
        .execute(
            "UPDATE job SET priority = ?2 WHERE study = (SELECT id FROM study WHERE uid = ?1)",
            (study, rank as i64),
        )
        .unwrap();
    assert!(changed > 0, "{study}");
}

/// Adds delivered studies to a spool on which no node runs: one of ten is urgent, one of a hundred
/// stat. Their objects are gone, as after retention.
pub(crate) fn fill(spool: &Path, numbers: std::ops::Range<i64>) {
    const ROWS: &[&str] = &[
        "INSERT INTO study (id, uid, versions) VALUES (?1, '1.2.826.9.' || ?1, 1)",
        "INSERT INTO caption VALUES (?1, 'Patient ' || ?1, 'ID' || ?1, '1960-01-02', 'A' || ?1,
            'DX', '2026-01-02', 'Chest PA')",
        "INSERT INTO object (id, study, instance, series, sop_class, transfer_syntax, file,
             data_set_offset, digest, content, latest, own, calling, called, address, received_at,
             deleted_at)
         VALUES (?1, ?1, '1.2.826.8.' || ?1, '1.2.826.7', '1.2.840.10008.5.1.4.1.1.1.1',
             '1.2.840.10008.1.2.1', 'gone/' || ?1, 0, 'd', 1, 1, 0, 'CR_ROOM', 'THORASCRIBE',
             '127.0.0.1', ?1, ?1)",
        "INSERT INTO job (id, study, version, state, outcome, priority, first_at, last_at,
             complete_at, sealed_at, drafted_at, text, image, draft, seconds)
         VALUES (?1, ?1, 1, 'delivered', 'drafted',
             CASE WHEN ?1 % 100 = 0 THEN 2 WHEN ?1 % 10 = 0 THEN 1 ELSE 0 END,
             1700000000000 + ?1, ?1, ?1, ?1, ?1,
             'The lungs are clear. There is a small left pleural effusion. No pneumothorax.', ?1,
             '{\"model\": {\"name\": \"m\", \"digest\": \"0\"}, \"prompt\": \"Describe.\",
               \"abnormal\": 0.6, \"scores\": [[\"pleural_effusion\", 0.7]]}',
             '{\"read\": 0.1, \"decode\": 0.4}')",
        "INSERT INTO delivery (id, job, destination, artefact, state, attempts, next_attempt_at, sent_at)
         VALUES (?1, ?1, 'pacs', 'report', 'sent', 1, 0, ?1)",
        "INSERT INTO event (study, version, at, before, after) VALUES (?1, 1, ?1, '', 'received')",
    ];
    let mut connection = open(&spool.join("jobs.sqlite")).unwrap();
    let transaction = connection.transaction().unwrap();
    for row in ROWS {
        let mut statement = transaction.prepare(row).unwrap();
        for number in numbers.clone() {
            statement.execute([number + 1]).unwrap();
        }
    }
    transaction.commit().unwrap();
}
