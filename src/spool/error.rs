//! What can go wrong in the spool.

use std::path::PathBuf;

use crate::vocabulary::{ByteSize, StudyUid};

/// Why the spool could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk holds less than `spool.min_free`: nothing more is taken.
    #[error(
        "the spool's disk has {free} free, below {needed} (spool.min_free): free some space or \
         run `thorascribe queue purge`"
    )]
    Full {
        /// What is left.
        free: ByteSize,
        /// What must stay free.
        needed: ByteSize,
    },
    /// Another node works on the same spool.
    #[error(
        "another node is running on the spool {}: stop it, or give this one its own spool.path",
        path.display()
    )]
    Locked {
        /// The spool's folder.
        path: PathBuf,
    },
    /// No node has ever run on this folder.
    #[error(
        "there is no spool at {}: check spool.path, and whether a node has run there",
        path.display()
    )]
    Missing {
        /// Where a spool was looked for.
        path: PathBuf,
    },
    /// A newer program made this spool.
    #[error(
        "the spool {} has schema version {found}, this program knows {known}: use a newer program",
        path.display()
    )]
    Newer {
        /// The spool's folder.
        path: PathBuf,
        /// The version in the database.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The node that runs on this spool is of an older program, or none has run since.
    #[error(
        "the spool {} has schema version {found}, this program has {known}: start the node of \
         this program once",
        path.display()
    )]
    Older {
        /// The spool's folder.
        path: PathBuf,
        /// The version in the database.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// The study is not as it was when a report of it was read.
    #[error("study {study} has changed since its report was read: read it again, then sign")]
    Changed {
        /// The study.
        study: StudyUid,
    },
    /// The file system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("the job store cannot {what}")]
    Database {
        /// The operation.
        what: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// No job for this study.
    #[error("the spool knows no study {0}")]
    UnknownStudy(StudyUid),
    /// A delivery names an image that its job does not hold.
    #[error("the job of study {study} holds no image {instance}")]
    UnknownImage {
        /// The study.
        study: StudyUid,
        /// The instance that was named.
        instance: String,
    },
}

impl SpoolError {
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// An error inside a transaction, before it is known what the transaction was for.
#[derive(Debug)]
pub(super) enum Fault {
    /// From SQLite.
    Sql(rusqlite::Error),
    /// Already told in full.
    Told(SpoolError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<SpoolError> for Fault {
    fn from(error: SpoolError) -> Self {
        Self::Told(error)
    }
}
