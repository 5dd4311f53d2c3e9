//! Waiting for conditions.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails: long, since machines are slow and
/// shared; nothing waits longer than its condition needs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

const STEP: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `value` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = value() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(STEP);
    }
}
