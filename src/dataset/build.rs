//! The whole way: from an archive to `dataset.jsonl` and `dataset.json`.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clean::Removed;
use super::error::{DatasetError, failed};
use super::keep::{Drop, unfit};
use super::rewrite::Rewriter;
use super::source::{self, Image, Layout, Report};
use super::split::{Shares, Split};
use super::summary::{Cleaned, summarise};
use crate::vocabulary::hexadecimal;

/// The pairs.
pub const PAIRS: &str = "dataset.jsonl";
/// What was counted.
pub const MANIFEST: &str = "dataset.json";

/// What may be chosen.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The archive.
    pub source: PathBuf,
    /// Where its images are, if elsewhere.
    pub images: Option<PathBuf>,
    /// Take an image that is named for one that is there.
    pub text_only: bool,
    /// Where to write.
    pub out: PathBuf,
    /// The shares kept back.
    pub shares: Shares,
}

/// Images and the summary that belongs to them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pair {
    /// The report's name in its archive.
    pub id: String,
    /// Whose it is.
    pub patient: String,
    /// The patient's split.
    pub split: Split,
    /// The images, relative to the archive.
    pub images: Vec<Image>,
    /// The cleaned findings.
    pub findings: String,
    /// The cleaned impression.
    pub impression: String,
    /// What to train on.
    pub summary: String,
}

/// What was made, and of what.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// The archive's layout.
    pub layout: Layout,
    /// How summaries were worded.
    pub rewriter: String,
    /// Summaries that the language model left as the rules made them: its answer was empty or cut
    /// off.
    pub not_reworded: usize,
    /// Reports found.
    pub reports: usize,
    /// Reports kept.
    pub kept: usize,
    /// What the paper kept of this archive.
    pub paper_kept: Option<usize>,
    /// Reports dropped, by the first reason that applied.
    pub dropped: BTreeMap<Drop, usize>,
    /// Sentences of the kept reports that were changed or dropped.
    pub removed: Removed,
    /// Images of the kept reports.
    pub images: usize,
    /// The shares asked for.
    pub shares: Shares,
    /// Kept reports by split.
    pub splits: BTreeMap<Split, usize>,
    /// Their patients.
    pub patients: usize,
    /// SHA-256 of `dataset.jsonl`.
    pub digest: String,
}

/// Makes the data set. `progress` is told how many reports there are, then of each that is done.
pub fn build(
    settings: &Settings,
    rewriter: &Rewriter,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Manifest, DatasetError> {
    let out = &settings.out;
    std::fs::create_dir_all(out).map_err(failed("make the folder", out))?;
    let (layout, reports) =
        source::find(&settings.source, settings.images.as_deref(), settings.text_only)?;
    progress(Progress::Found(reports.len()));
    let outcomes = reports.par_iter().map(|report| {
        let outcome = judge(report);
        progress(Progress::Read);
        outcome
    });
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    let mut dropped: BTreeMap<Drop, usize> = Drop::ALL.map(|reason| (reason, 0)).into();
    let mut removed = Removed::default();
    let mut pairs = Vec::new();
    for (report, outcome) in reports.into_iter().zip(outcomes) {
        match outcome {
            Ok(cleaned) => {
                removed += cleaned.removed;
                pairs.push(pair(report, cleaned, settings.shares));
            }
            Err(reason) => *dropped.entry(reason).or_default() += 1,
        }
    }
    let not_reworded = rewriter.reword(&mut pairs, out, progress)?;
    let digest = write(&pairs, &out.join(PAIRS))?;
    let mut splits: BTreeMap<Split, usize> = BTreeMap::new();
    for pair in &pairs {
        *splits.entry(pair.split).or_default() += 1;
    }
    let mut patients: Vec<&str> = pairs.iter().map(|pair| pair.patient.as_str()).collect();
    patients.sort_unstable();
    patients.dedup();
    let manifest = Manifest {
        layout,
        rewriter: rewriter.name(),
        not_reworded,
        reports: pairs.len() + dropped.values().sum::<usize>(),
        kept: pairs.len(),
        paper_kept: layout.paper(),
        dropped,
        removed,
        images: pairs.iter().map(|pair| pair.images.len()).sum(),
        shares: settings.shares,
        splits,
        patients: patients.len(),
        digest,
    };
    let path = out.join(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest).map_err(|error| {
        DatasetError::Malformed { path: path.clone(), reason: error.to_string() }
    })?;
    std::fs::write(&path, text + "\n").map_err(failed("write it", &path))?;
    Ok(manifest)
}

/// What a long build tells of itself.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// So many reports were found.
    Found(usize),
    /// One was read and cleaned.
    Read,
    /// So many summaries are to be reworded.
    Rewording(usize),
    /// One was.
    Reworded,
}

/// A report cleaned, or why it does not serve.
fn judge(report: &Report) -> Result<Result<Cleaned, Drop>, DatasetError> {
    let sections = report.sections()?;
    if let Some(reason) = unfit(&sections, report.images.len()) {
        return Ok(Err(reason));
    }
    let cleaned = summarise(&sections)?;
    Ok(if cleaned.summary.is_empty() { Err(Drop::NothingLeft) } else { Ok(cleaned) })
}

fn pair(report: Report, cleaned: Cleaned, shares: Shares) -> Pair {
    Pair {
        id: report.id,
        split: report.split.unwrap_or_else(|| shares.of(&report.patient)),
        patient: report.patient,
        images: report.images,
        findings: cleaned.findings,
        impression: cleaned.impression,
        summary: cleaned.summary,
    }
}

/// Reads the pairs of a `dataset.jsonl`.
pub fn read(path: &Path) -> Result<Vec<Pair>, DatasetError> {
    let text = std::fs::read_to_string(path).map_err(failed("read it", path))?;
    let pair = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| DatasetError::Malformed {
            path: path.to_owned(),
            reason: format!("line {}: not a pair of `dataset build`: {error}", number + 1),
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(pair).collect()
}

/// Writes a pair a line, and gives the file's digest.
fn write(pairs: &[Pair], path: &Path) -> Result<String, DatasetError> {
    let file = std::fs::File::create(path).map_err(failed("write it", path))?;
    let mut file = BufWriter::new(file);
    let mut hash = Sha256::new();
    for pair in pairs {
        let line = serde_json::to_string(pair).map_err(|error| DatasetError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let line = line + "\n";
        hash.update(line.as_bytes());
        file.write_all(line.as_bytes()).map_err(failed("write it", path))?;
    }
    file.flush().map_err(failed("write it", path))?;
    Ok(hexadecimal(&hash.finalize()))
}
