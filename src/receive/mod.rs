//! The stage that takes objects in: who may send, what is kept, what a sender is told.
//!
//! Comes in: C-STOREs. Goes out: objects in the spool, or in an archive's folder. Promises:
//! Success only after the object is on the disk, whole and as its command says; what is refused
//! leaves nothing. May use: everything above it in `lib.rs`.

pub mod archive;
pub mod file_meta;
