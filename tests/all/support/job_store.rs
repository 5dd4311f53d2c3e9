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
