//! Durable objects (files) and jobs (SQLite): what stands between the stages.
//!
//! Comes in: received objects, outcomes of drafting, outcomes of deliveries. Goes out: leases on
//! the next piece of work. Promises: an object whose [`Incoming::commit`] returned is on the disk,
//! file and row; a crash anywhere resumes from the last committed state; every attempt that is
//! lost is counted and made again, until `max_attempts`; a version number of a study is used once;
//! an object's file is deleted only after its row says so, whatever became of the row;
//! artefacts and drafts are opaque here. May use: `vocabulary`.
//!
//! A job is a version of a study: `received` → `drafted` → `delivered`, or `skipped`, `failed`,
//! `superseded` (a newer version was drafted before this one was sent). All calls block; call them
//! through `spawn_blocking` or from a thread of one's own.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::vocabulary::ByteSize;

mod adopt;
mod caption;
mod clock;
mod commitment;
mod completion;
mod damage;
mod delivery;
mod depth;
mod draft;
mod durable;
mod error;
mod finished;
mod forward;
mod incoming;
mod job;
mod layout;
mod lease;
mod listing;
mod operator;
mod orphan;
mod patience;
mod rebuild;
mod recovery;
mod retention;
pub mod retry;
mod salvage;
mod schema;
mod set_back;
mod settle;
mod sign;
mod transition;
mod view;
mod waiters;

pub use caption::Caption;
pub use clock::Clock;
pub use commitment::{Commitment, Reported};
use damage::Opened;
pub use delivery::{DeliveryLease, DeliveryObject, SendableFile};
pub use depth::{Depth, Waiting};
pub use draft::{
    Artefact, Drafted, NewArtefact, NewDelivery, NewDeliveryObject, PreviousDraft, SpooledObject,
};
pub use error::SpoolError;
pub use forward::Unforwarded;
pub use incoming::{Incoming, Receipt, Received, Sender};
pub use job::{ArtefactKind, DeliveryState, JobState};
pub use lease::DraftLease;
pub use listing::{JobFilter, Listed};
pub use operator::Retried;
pub use patience::{Patience, blocking};
pub use rebuild::{FoundArtefact, Lost, Unrecorded};
pub use sign::Signed;
pub use view::{DeliveryView, EventView, JobDetail, JobView, Signature, VersionView};
pub use waiters::Changes;
use waiters::Waiters;

/// What the spool needs to know.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// The folder that holds everything.
    pub path: PathBuf,
    /// Below this much free space nothing more is received.
    pub min_free: ByteSize,
    /// A study is complete after this long without a new object.
    pub quiet: Duration,
    /// A study is complete this long after its first object.
    pub deadline: Duration,
    /// How long files stay after the last delivery.
    pub after_delivery: Duration,
    /// How often drafting, and each delivery, is tried.
    pub max_attempts: u32,
}

/// The spool; clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: SpoolSettings,
    clock: Clock,
    connection: Mutex<Connection>,
    waiters: Waiters,
    orphans: Mutex<Vec<orphan::Orphan>>,
    /// The damaged job store that this one was made from.
    damaged: Option<PathBuf>,
    /// The latest time that was seen: an earlier one says that the clock was set back.
    latest: AtomicI64,
    /// Held as long as the node works on the spool.
    _lock: Option<File>,
}

impl Spool {
    /// Opens (or makes) a spool for the one node that works on it: takes the lock, removes what
    /// was unfinished, and gives back the leases that a crash left.
    pub fn open(settings: SpoolSettings) -> Result<Self, SpoolError> {
        Self::open_with(settings, Clock::System)
    }

    /// [`Spool::open`] with another clock.
    pub fn open_with(settings: SpoolSettings, clock: Clock) -> Result<Self, SpoolError> {
        let root = settings.path.clone();
        for folder in [root.clone(), root.join(layout::INCOMING), root.join(layout::STUDIES)] {
            durable::folder(&folder).map_err(SpoolError::io("make the folder", &folder))?;
        }
        durable::keep_private(&root).map_err(SpoolError::io("keep others out of", &root))?;
        let lock = lock(&root)?;
        let Opened { connection, damaged } = damage::open(&settings.path)?;
        let spool = Self::over(settings, clock, connection, damaged, Some(lock));
        spool.recover()?;
        Ok(spool)
    }

    /// Joins a spool beside the node that may be running on it: no lock, no recovery.
    pub fn attach(path: &Path) -> Result<Self, SpoolError> {
        if !path.join(layout::DATABASE).is_file() {
            return Err(SpoolError::Missing { path: path.to_owned() });
        }
        let settings = SpoolSettings {
            path: path.to_owned(),
            min_free: ByteSize(0),
            quiet: Duration::ZERO,
            deadline: Duration::ZERO,
            after_delivery: Duration::ZERO,
            max_attempts: u32::MAX,
        };
        let connection = schema::join(&settings.path)?;
        Ok(Self::over(settings, Clock::System, connection, None, None))
    }

    fn over(
        settings: SpoolSettings,
        clock: Clock,
        connection: Connection,
        damaged: Option<PathBuf>,
        lock: Option<File>,
    ) -> Self {
        let (connection, waiters) = (Mutex::new(connection), Waiters::default());
        Self {
            inner: Arc::new(Inner {
                settings,
                clock,
                connection,
                waiters,
                orphans: Mutex::default(),
                damaged,
                latest: AtomicI64::new(i64::MIN),
                _lock: lock,
            }),
        }
    }

    /// What it was opened with.
    pub fn settings(&self) -> &SpoolSettings {
        &self.inner.settings
    }

    /// Wakes a stage when something may have changed; see [`Changes`].
    pub fn changed(&self) -> Changes {
        self.inner.waiters.changes()
    }

    /// Space left on the spool's disk for this user.
    pub fn free(&self) -> Result<ByteSize, SpoolError> {
        let path = &self.settings().path;
        let found = rustix::fs::statvfs(path)
            .map_err(|e| SpoolError::io("measure the free space of", path)(e.into()))?;
        Ok(ByteSize(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    /// Fails unless a file and a row can be written and enough space is free.
    pub fn check_writable(&self) -> Result<(), SpoolError> {
        drop(self.begin()?);
        self.write("be written", |change| {
            change.execute("UPDATE study SET versions = versions WHERE id = 0", [])?;
            Ok(())
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.settings().path.join(file)
    }

    fn scratch(&self) -> PathBuf {
        self.path(layout::INCOMING)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back, so the connection is still good.
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(root: &Path) -> Result<File, SpoolError> {
    let path = root.join(layout::LOCK);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(SpoolError::io("open", &path))?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::Locked { path: root.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(SpoolError::Io { what: "lock", path, source });
            }
        }
    }
}

/// A node that was killed while it started a decoder leaves its lock with that process until it
/// becomes the decoder, which is soon.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
