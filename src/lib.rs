//! Thorascribe: a DICOM network node that drafts chest-radiograph reports.
//!
//! The modules stand in the order of a radiograph's way through the node; each uses only what
//! stands above it.

pub mod vocabulary;

pub mod object;

pub mod config;

pub mod observe;

pub mod dimse;

pub mod spool;

pub mod radiograph;

pub mod findings;

pub mod triage;

pub mod model;

pub mod report;

pub mod receive;

pub mod drafting;

pub mod deliver;

pub mod worklist;

pub mod train;

pub mod evaluate;

pub mod node;

pub mod cli;
