//! The spool's clock: the system's, or one that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Where the time comes from; times are Unix milliseconds.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that only [`Clock::advance`] moves.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    /// Moves a manual clock forward; the system's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(now) = self {
            now.fetch_add(milliseconds(by), Ordering::SeqCst);
        }
    }

    pub(super) fn now(&self) -> i64 {
        match self {
            Self::System => Timestamp::now().as_millisecond(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

/// A duration as the database counts it.
pub(super) fn milliseconds(span: Duration) -> i64 {
    // An eighth of the range leaves room for sums with the present.
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 8)
}

/// A time of the database for display.
pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}
