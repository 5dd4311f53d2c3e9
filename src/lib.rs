//! Thorascribe: a DICOM network node that drafts chest-radiograph reports.
//!
//! ```text
//! modality ──C-STORE──▶ receive ──▶ spool ──▶ radiograph ──▶ model ──▶ findings ──▶ report ──▶ deliver ──C-STORE──▶ PACS
//!                        (SCP)     (durable)   (pixels)     (draft)   (triage)     (SR)    (SCU, routes)
//!                                     └──▶ worklist (web page, metrics)
//! ```
//!
//! A stage talks to the next through the [`spool`] alone: a job row with a state, and files. So a
//! crash anywhere resumes from the last committed state.
//!
//! What never happens:
//! - An object is never acknowledged before its file is synced and its row committed.
//! - A peer's bytes never reach the DICOM library before [`object`] has checked their structure.
//! - A path is never made from a peer's text.
//! - Two threads never share the model: [`model::engine`] owns the device.
//! - Memory never grows with what a peer states, only with what it sends, up to a limit.
//! - One UID never names two contents: [`report::identity`] makes each from what it stands for.
//! - Patient data never reach a log above DEBUG: [`vocabulary::PatientText`] hides itself.
//!
//! The modules stand in the order of a radiograph's way; each uses only what stands above it
//! (`node` and `cli` use all), and a test holds the source to that.

pub mod vocabulary;

pub mod object;

pub mod config;

pub mod observe;

pub mod dimse;

pub mod spool;

pub mod radiograph;

pub mod findings;

pub mod model;

pub mod report;

pub mod triage;

pub mod receive;

pub mod drafting;

pub mod deliver;

pub mod worklist;

pub mod dataset;

pub mod evaluate;

pub mod train;

pub mod node;

pub mod cli;
