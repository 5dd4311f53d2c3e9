//! The audit trail: DICOM audit messages (PS3.15 §A.5) in a chained local copy, and by syslog.
//!
//! Every message of the program is an [`Event`], and every one of them is written here. A thread
//! writes the local copy ([`chain`]) and syncs it once for all that came meanwhile; what is in the
//! copy then goes to syslog ([`syslog`]), whose server may be slow or gone: nobody waits for it.

pub mod chain;
mod event;
pub mod syslog;
mod xml;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error};

pub use event::{Event, Peer, Study};

use super::metrics::Metrics;
use crate::vocabulary::{AeTitle, ByteSize};
use chain::Chain;
use syslog::Outbox;

/// The folder of the local copy within the spool.
pub const FOLDER: &str = "audit";

/// Messages that may wait for the disk.
const WAITING: usize = 4096;
/// How long the end of the program waits for the last messages.
const CLOSING: Duration = Duration::from_secs(5);

/// Takes events; clones share it. The default one takes none.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    source: AeTitle,
    queue: SyncSender<Order>,
}

enum Order {
    Keep(Timestamp, String),
    /// Answered once everything before is on the disk.
    Flush(SyncSender<()>),
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audit").field(&self.0.is_some()).finish()
    }
}

impl Audit {
    /// Opens the local copy in `folder`, and hands each message on to `outbox`.
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
        let (queue, orders) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || Writer { chain, metrics, outbox, failing: false }.run(&orders))?;
        Ok(Self(Some(Arc::new(Inner { source: source.clone(), queue }))))
    }

    /// Takes an event, with the time of this call.
    pub fn record(&self, event: &Event) {
        let Some(inner) = &self.0 else { return };
        let now = Timestamp::now();
        let message = event.message(now, &inner.source);
        if inner.queue.send(Order::Keep(now, message)).is_err() {
            error!("the audit log has stopped; a message is lost");
        }
    }

    /// Waits until what was recorded is on the disk.
    pub fn flush(&self) {
        let Some(inner) = &self.0 else { return };
        let (done, waiting) = sync_channel(1);
        if inner.queue.send(Order::Flush(done)).is_ok() && waiting.recv_timeout(CLOSING).is_err() {
            error!("the audit log was not written in time");
        }
    }
}

/// The thread behind an [`Audit`].
struct Writer {
    chain: Chain,
    metrics: Metrics,
    outbox: Option<Outbox>,
    failing: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let (mut messages, mut flushed) = (Vec::new(), Vec::new());
            for order in std::iter::once(first).chain(orders.try_iter().take(WAITING)) {
                match order {
                    Order::Keep(at, message) => messages.push((at, message)),
                    Order::Flush(done) => flushed.push(done),
                }
            }
            self.keep(&messages);
            for done in flushed {
                if done.try_send(()).is_err() {
                    debug!("nobody waits for the audit log any more");
                }
            }
        }
    }

    fn keep(&mut self, messages: &[(Timestamp, String)]) {
        let kept = self.chain.append(messages);
        let outcome = if kept.is_ok() { "kept" } else { "failed" };
        for _ in messages {
            self.metrics.audit(outcome);
        }
        match kept {
            Err(error) if !self.failing => {
                error!(%error, "the audit log cannot be written");
                self.failing = true;
            }
            Err(_) => {}
            Ok(()) => self.failing = false,
        }
        let Some(outbox) = &self.outbox else { return };
        for (at, message) in messages {
            outbox.send(*at, message);
        }
    }
}
