//! The thread that keeps the local copy, and hands on to syslog what is in it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info};

use super::chain::Chain;
use super::event::Event;
use super::queue::{Message, Queue};
use super::syslog::Outbox;
use crate::observe::metrics::Metrics;
use crate::vocabulary::AeTitle;

/// How soon what could not be written is tried again, and others' lines are looked for.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread behind an [`super::Audit`].
pub(super) struct Writer {
    pub(super) source: AeTitle,
    pub(super) queue: Arc<Queue>,
    pub(super) chain: Chain,
    pub(super) metrics: Metrics,
    pub(super) outbox: Option<Outbox>,
}

impl Writer {
    pub(super) fn run(mut self) {
        // What is not on the disk yet, how much of it syslog was told all the same, and how many
        // found no room behind it.
        let (mut held, mut told, mut lost) = (Vec::new(), 0, 0);
        let mut failing = false;
        loop {
            let taken = self.queue.take(&mut held, AGAIN);
            lost += taken.lost;
            let waiting = held.len();
            held.extend(self.confession(lost));
            let kept = self.keep(&held);
            if kept.is_err() {
                held.truncate(waiting);
            }
            self.tell(held.get(told..).unwrap_or_default());
            told = held.len();
            match kept {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        info!(messages = held.len(), "the audit log is written again");
                    }
                    held.clear();
                    (told, lost) = (0, 0);
                    self.queue.settled();
                }
                Err(reason) if taken.open => {
                    if !std::mem::replace(&mut failing, true) {
                        error!(%reason, "the audit log cannot be written; its messages wait");
                    }
                }
                Err(reason) => {
                    error!(%reason, messages = held.len(), "audit messages are lost");
                }
            }
            if !taken.open {
                return;
            }
        }
    }

    /// What says in the log itself how many messages found no room.
    fn confession(&self, count: u64) -> Option<Message> {
        let now = Timestamp::now();
        (count > 0).then(|| (now, Event::Lost { count }.message(now, &self.source)))
    }

    /// Writes messages, and tells of those that other processes wrote meanwhile.
    fn keep(&mut self, messages: &[Message]) -> std::io::Result<()> {
        if messages.is_empty() && !self.chain.has_grown()? {
            return Ok(());
        }
        let others = self.chain.append(messages)?;
        self.tell(&others);
        for _ in messages {
            self.metrics.audit("kept");
        }
        Ok(())
    }

    fn tell(&self, messages: &[Message]) {
        let Some(outbox) = &self.outbox else { return };
        for (at, message) in messages {
            outbox.send(*at, message);
        }
    }
}
