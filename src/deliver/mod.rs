//! Stage: what was drafted goes to its destinations by C-STORE.
//!
//! Comes in: delivery leases from the spool. Goes out: objects at their destination, the outcome
//! back in the spool. Promises: one task a destination, so that a slow or dead one delays no
//! other; an object is `sent` only after the destination's status said so; files go out byte for
//! byte; nothing waits for a commitment that nobody asks for. May use: everything above it in `lib.rs`.

mod commitment;
mod destination;
mod dispatch;
mod disposition;
mod rewrite;
mod sender;
mod sr_class;
mod unclaimed;

pub use destination::Destination;
pub use dispatch::run;
pub use sender::Delivery;
