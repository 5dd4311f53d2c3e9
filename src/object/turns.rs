//! How many may do the same at a time: reading an object can take memory that its sender chose.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A number of turns; clones share them.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// One turn; free again when dropped.
#[derive(Debug)]
pub struct Turn(Arc<Inner>);

impl Turns {
    /// So many at a time, one at least.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Inner { free: Mutex::new(count.max(1)), given_back: Condvar::new() }))
    }

    /// Waits for a turn; blocks the thread.
    pub fn take(&self) -> Turn {
        let free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.given_back.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn(Arc::clone(&self.0))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}
