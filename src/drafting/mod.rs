//! Stage: a sealed study becomes a draft, or is skipped with its reason.
//!
//! Comes in: draft leases from the spool. Goes out: the text, the reports for every SR class, the
//! pictures where they are wanted, and the deliveries, in one transition of the job. Promises: one
//! bad object fails one job, and its images still go where images go; the image drafted from is the one that `radiograph::choose` names.
//! May use: everything above it in `lib.rs`.

mod deliveries;
mod disposition;
mod examine;
mod forward;
mod judge;
mod pictures;
pub(crate) mod reports;
mod worker;

pub use deliveries::Recipient;
pub use worker::{Drafting, run};
