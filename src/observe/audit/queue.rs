//! What waits for the local copy. Whoever has something to say never waits: what finds no room is
//! counted, and said later.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A message and its time.
pub(super) type Message = (Timestamp, String);

/// What came with messages that were taken.
pub(super) struct Taken {
    /// Whether more comes.
    pub(super) open: bool,
    /// How many found no room behind them.
    pub(super) lost: u64,
}

/// Messages between those who record and the thread that writes.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Message>,
    /// With the thread, and not on the disk yet.
    in_hand: usize,
    /// For which there was no room.
    lost: u64,
    /// Taken in so far, and of those on the disk, or given up.
    taken: u64,
    settled: u64,
    closed: bool,
}

impl Queue {
    /// Room for so many, those in the thread's hand included.
    pub(super) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    pub(super) fn put(&self, message: Message) -> bool {
        let mut state = self.state();
        let room = !state.closed && state.waiting.len() + state.in_hand < self.most;
        if room {
            state.waiting.push(message);
            state.taken += 1;
            self.changed.notify_all();
        } else {
            state.lost += 1;
        }
        room
    }

    /// No more comes.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Adds what waits to `held`. Waits for something as long as nothing is held, else for its time
    /// to try again, and at most so long.
    pub(super) fn take(&self, held: &mut Vec<Message>, at_most: Duration) -> Taken {
        let idle = held.is_empty();
        let waits = |state: &mut State| (state.waiting.is_empty() || !idle) && !state.closed;
        let waited = self.changed.wait_timeout_while(self.state(), at_most, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        held.append(&mut state.waiting);
        state.in_hand = held.len();
        Taken { open: !state.closed, lost: std::mem::take(&mut state.lost) }
    }

    /// What was in hand is on the disk, or given up.
    pub(super) fn settled(&self) {
        let mut state = self.state();
        state.settled += std::mem::take(&mut state.in_hand) as u64;
        self.changed.notify_all();
    }

    /// Waits until all that was taken in so far is on the disk; whether it is.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        let mut state = self.state();
        let wanted = state.taken;
        while state.settled < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}
