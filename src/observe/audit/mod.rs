//! The audit trail: DICOM audit messages (PS3.15 §A.5) in a chained local copy, and by syslog.
//!
//! Every message of the program is an [`Event`], and every one of them is written here. A thread
//! writes the local copy ([`chain`]) and syncs it once for all that came meanwhile; what is in the
//! copy then goes to syslog ([`syslog`]), whose server may be slow or gone: nobody waits for it.
//! Nobody waits for the disk either: what it does not take waits here and is tried again, and what
//! finds no room meanwhile is counted and said in the copy afterwards.

mod chain;
mod event;
mod host;
mod message;
mod queue;
pub mod syslog;
mod verify;
mod writer;
mod xml;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error};

pub use event::{Event, Peer, Person, Study};
pub use verify::{Broken, Verified, verify};

use super::metrics::Metrics;
use crate::vocabulary::{AeTitle, ByteSize};
use chain::Chain;
use queue::Queue;
use syslog::Outbox;
use writer::Writer;

/// The folder of the local copy within the spool.
pub const FOLDER: &str = "audit";

/// Messages that may wait for the disk: some 20 MB.
const WAITING: usize = 16_384;
/// How long the end of the program waits for the last messages.
const CLOSING: Duration = Duration::from_secs(5);

/// Takes events; clones share it. The default one takes none.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    source: AeTitle,
    queue: Arc<Queue>,
    outbox: Option<Outbox>,
    metrics: Metrics,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audit").field(&self.0.is_some()).finish()
    }
}

impl Audit {
    /// Opens the local copy in `folder`, and hands each message on to `outbox`. Other processes may
    /// have it open too.
    ///
    /// # Errors
    /// A folder that cannot be used.
    pub fn open(
        source: &AeTitle,
        folder: &Path,
        max_file: ByteSize,
        metrics: Metrics,
        outbox: Option<Outbox>,
    ) -> std::io::Result<Self> {
        let chain = Chain::open(folder, max_file.0)?;
        let queue = Arc::new(Queue::new(WAITING));
        let writer = Writer {
            source: source.clone(),
            queue: Arc::clone(&queue),
            chain,
            metrics: metrics.clone(),
            outbox: outbox.clone(),
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self(Some(Arc::new(Inner { source: source.clone(), queue, outbox, metrics }))))
    }

    /// Opens it beside the node that keeps it, which hands on what is added.
    ///
    /// # Errors
    /// A folder that cannot be used.
    pub fn beside(source: &AeTitle, folder: &Path) -> std::io::Result<Self> {
        Self::open(source, folder, ByteSize(u64::MAX), Metrics::new(), None)
    }

    /// Takes an event, with the time of this call. Never waits.
    pub fn record(&self, event: &Event) {
        let Some(inner) = &self.0 else { return };
        let now = Timestamp::now();
        if !inner.queue.put((now, event.message(now, &inner.source))) {
            inner.metrics.audit("lost");
        }
    }

    /// Waits until what was recorded is on the disk, at most some seconds; whether it is.
    pub fn flush(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        let written = inner.queue.flush(CLOSING);
        if !written {
            error!("the audit log was not written in time");
        }
        written
    }

    /// The same off the network's threads, and then until it is sent by syslog too, should the
    /// server take it at once.
    pub async fn drain(&self) {
        let own = self.clone();
        let flushed = tokio::task::spawn_blocking(move || own.flush()).await;
        debug!(written = flushed.unwrap_or(false), "the audit log was waited for");
        if let Some(outbox) = self.0.as_ref().and_then(|inner| inner.outbox.as_ref()) {
            outbox.drained().await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}
