//! Pairs of image and summary out of an archive of reports, as the paper makes its training text
//! (Thawakar et al., BioNLP 2024, section 3.1).
//!
//! Comes in: MIMIC-CXR, Open-i or a folder of DICOM objects on disk. Goes out: `dataset.jsonl`, a
//! [`Pair`] a line, and `dataset.json`, which counts what was dropped and why. Promises: the same
//! bytes from the same files; every patient in one split; each report is kept or counted. May use:
//! `vocabulary`, `object`.
//!
//! A report's way: [`source`] finds it and its images, [`sections`] parts its text, [`keep`]
//! decides whether it serves, [`clean`] takes out what an image cannot show, [`summary`] makes one
//! paragraph, [`rewrite`] may have a language model reword it, [`split`] says where it belongs.

pub mod build;
pub mod clean;
mod error;
pub mod keep;
mod phrases;
pub mod rewrite;
pub mod sections;
pub mod source;
pub mod split;
pub mod summary;

pub use build::{Manifest, Pair, Settings, build, read};
pub use error::DatasetError;
