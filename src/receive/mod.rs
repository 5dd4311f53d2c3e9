//! The stage that takes objects in: who may send, what is kept, what a sender is told.
//!
//! Comes in: C-STOREs. Goes out: objects in the spool, or in an archive's folder. Promises:
//! Success only after the object is on the disk, whole and as its command says; what is refused
//! or cut off leaves nothing; a fault in one object fails that object. May use: everything above
//! it in `lib.rs`.

pub mod accept;
pub mod archive;
pub mod caption;
pub mod commitment;
pub mod file_meta;
mod rebuild;
mod service;
mod status;
mod store;

pub use rebuild::rebuild;
pub use service::{Reception, serve};
pub use status::StoreFailure;
