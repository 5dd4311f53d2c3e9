//! A job store that SQLite cannot read any more: set aside, and made anew from what can be read of
//! it and from the objects' files.
//!
//! The file `rebuilding` is there from before the first step until after the last one, so that a
//! start after a crash in between goes on where that one was: anew until all was copied that can be
//! read, then with the objects that have no row yet. What was set aside is kept for whoever wants
//! to look.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::salvage;
use super::{SpoolError, durable, layout, schema};

const MARKER: &str = "rebuilding";
/// The second line of the file `rebuilding`, once there is nothing more to copy.
const COPIED: &str = "copied";

/// A database, and where the damaged one before it lies, if there was one.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) damaged: Option<PathBuf>,
}

/// Opens the database; a damaged one is set aside first.
pub(super) fn open(root: &Path) -> Result<Opened, SpoolError> {
    let marker = root.join(MARKER);
    if !marker.exists() {
        match schema::open(root)
            .and_then(|connection| schema::check(&connection).map(|()| connection))
        {
            Ok(connection) => return Ok(Opened { connection, damaged: None }),
            Err(error) if error.is_damage() => {
                let name = format!("{}.damaged-{}", layout::DATABASE, stamp());
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the job store is damaged; it is set aside as {name} and made anew"
                );
                let scratch = root.join(layout::INCOMING);
                durable::write(&marker, &scratch, name.as_bytes())
                    .map_err(SpoolError::io("write", &marker))?;
            }
            Err(error) => return Err(error),
        }
    }
    let text = fs::read_to_string(&marker).map_err(SpoolError::io("read", &marker))?;
    let name = text.lines().next().unwrap_or_default().trim();
    let aside = root.join(name);
    if text.lines().nth(1) == Some(COPIED) {
        let whole = schema::open(root).and_then(|new| schema::check(&new).map(|()| new));
        match whole {
            Ok(connection) => return Ok(Opened { connection, damaged: Some(aside) }),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    set_aside(root, &aside).map_err(SpoolError::io("set aside", &root.join(layout::DATABASE)))?;
    let mut connection = schema::open(root)?;
    salvage::salvage(&aside, &mut connection)?;
    let scratch = root.join(layout::INCOMING);
    durable::write(&marker, &scratch, format!("{name}\n{COPIED}\n").as_bytes())
        .map_err(SpoolError::io("write", &marker))?;
    Ok(Opened { connection, damaged: Some(aside) })
}

/// The database is whole again.
pub(super) fn finish(root: &Path) -> Result<(), SpoolError> {
    let marker = root.join(MARKER);
    durable::remove(&marker)
        .and_then(|()| durable::sync_folder(root))
        .map_err(SpoolError::io("remove", &marker))
}

/// Moves the damaged files; the database itself last, so that it is there when all are. What an
/// attempt before this one made is thrown away.
fn set_aside(root: &Path, aside: &Path) -> io::Result<()> {
    let moved = aside.exists();
    for suffix in ["-shm", "-wal", ""] {
        let from = root.join(format!("{}{suffix}", layout::DATABASE));
        let mut to = aside.as_os_str().to_owned();
        to.push(suffix);
        if moved {
            durable::remove(&from)?;
        } else if from.exists() {
            fs::rename(&from, PathBuf::from(to))?;
            durable::sync_folder(root)?;
        }
    }
    durable::sync_folder(root)
}

fn stamp() -> i64 {
    jiff::Timestamp::now().as_second()
}
