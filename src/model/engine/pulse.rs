//! What the engine's thread does, as others see it: so that one that hangs can be told from one
//! that computes for long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the engine does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Whether it waits for work.
    pub idle: bool,
    /// Steps done since its start: images encoded, prompts read, tokens of the drafts under way.
    pub steps: u64,
}

/// Written by the engine's thread.
#[derive(Debug, Default)]
pub(super) struct Beat {
    busy: AtomicBool,
    steps: AtomicU64,
}

impl Beat {
    /// The thread has work, or is about to wait for some.
    pub(super) fn busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// A step was done.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Release);
    }

    /// The moment, where `waiting` says whether work lies in the queue.
    pub(super) fn pulse(&self, waiting: bool) -> Pulse {
        let idle = !waiting && !self.busy.load(Ordering::Acquire);
        Pulse { idle, steps: self.steps.load(Ordering::Acquire) }
    }
}
