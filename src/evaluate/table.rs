//! Tables of labelled images.
//!
//! A CSV file with the columns `image` and observations, by this program's names or those of NIH
//! and CheXpert, in any case. Cells are 1 or 0; empty or -1 is not known, and left out. Optional:
//! `abnormal` (else: any observation but `no_finding` and `support_devices`), `patient`, `split`,
//! `report` (the reference text), and any other column to measure within, such as `view`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::EvaluateError;
use crate::vocabulary::Observation;

/// An image and what is held for true of it.
#[derive(Debug, Clone)]
pub struct Study {
    /// The file.
    pub image: PathBuf,
    /// As the table names it.
    pub name: String,
    /// By observation, where known.
    pub truth: BTreeMap<Observation, bool>,
    /// Whether there is anything abnormal, where known.
    pub abnormal: Option<bool>,
    /// The other columns, by name in lower case.
    pub columns: BTreeMap<String, String>,
}

impl Study {
    /// A column that has something to say.
    pub fn column(&self, name: &str) -> Option<&str> {
        self.columns.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// What is read of a table.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only rows of these splits; empty: all.
    pub splits: Vec<String>,
    /// Pass over rows whose image is not there.
    pub skip_missing: bool,
}

/// The rows of a table.
#[derive(Debug, Clone)]
pub struct Table {
    /// In the order of the file.
    pub studies: Vec<Study>,
    /// The label columns.
    pub observations: Vec<Observation>,
    /// Rows passed over since their image is not there or serves no measurement.
    pub skipped: usize,
}

/// Reads a table whose images lie in a folder.
///
/// # Errors
/// An unreadable table, one without the columns above or with one of them twice, a cell that is no
/// label, or an image that is not there.
pub fn read(path: &Path, images: &Path, choice: &Choice) -> Result<Table, EvaluateError> {
    let wrong = |reason: String| EvaluateError::Table { path: path.to_owned(), reason };
    let mut reader = csv::Reader::from_path(path).map_err(|e| wrong(e.to_string()))?;
    let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
    let names: Vec<String> = header.iter().map(|h| h.trim().to_lowercase()).collect();
    let labels: Vec<Option<Observation>> = names.iter().map(|n| n.parse().ok()).collect();
    if let Some(reason) = repeated(&header, &names, &labels) {
        return Err(wrong(reason));
    }
    let observations: Vec<Observation> = labels.iter().flatten().copied().collect();
    let has = |name: &str| names.iter().any(|n| n == name);
    if !has("image") {
        return Err(wrong("no column `image`".to_owned()));
    }
    if observations.is_empty() && !has("abnormal") {
        let known = Observation::ALL.map(Observation::name).join(", ");
        return Err(wrong(format!("no label column; give `abnormal` or some of: {known}")));
    }
    if !choice.splits.is_empty() && !has("split") {
        return Err(wrong("--split needs a column `split`".to_owned()));
    }
    let mut table = Table { studies: vec![], observations, skipped: 0 };
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let line = line(&record, at);
        let wrong = |reason: String| wrong(format!("line {line}: {reason}"));
        let mut study = Study {
            image: PathBuf::new(),
            name: String::new(),
            truth: BTreeMap::new(),
            abnormal: None,
            columns: BTreeMap::new(),
        };
        for ((name, label), cell) in names.iter().zip(&labels).zip(&record) {
            let cell = cell.trim();
            match (label, name.as_str()) {
                (Some(observation), _) => {
                    if let Some(truth) = flag(cell).map_err(wrong)? {
                        study.truth.insert(*observation, truth);
                    }
                }
                (None, "abnormal") => study.abnormal = flag(cell).map_err(wrong)?,
                (None, "image") => cell.clone_into(&mut study.name),
                (None, other) => {
                    study.columns.insert(other.to_owned(), cell.to_owned());
                }
            }
        }
        if study.name.is_empty() {
            return Err(wrong("no image is named".to_owned()));
        }
        let split = study.column("split").unwrap_or_default();
        if !choice.splits.is_empty() && !choice.splits.iter().any(|s| s == split) {
            continue;
        }
        if !has("abnormal") {
            study.abnormal = abnormal(&study.truth, &table.observations);
        }
        study.image = images.join(&study.name);
        if study.image.is_file() {
            table.studies.push(study);
        } else if choice.skip_missing {
            table.skipped += 1;
        } else {
            return Err(EvaluateError::Missing { path: study.image, line });
        }
    }
    if table.studies.is_empty() {
        let splits = choice.splits.join(", ");
        return Err(wrong(format!("no row with an image is left (splits asked for: {splits:?})")));
    }
    Ok(table)
}

/// The columns with a meaning of their own; others are only kept for those who ask.
const OWN: [&str; 6] = ["image", "abnormal", "split", "patient", "report", "boxes"];

/// Two columns that would be one, such as `Effusion` and `pleural_effusion`.
fn repeated(
    header: &csv::StringRecord,
    names: &[String],
    labels: &[Option<Observation>],
) -> Option<String> {
    let mut seen: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (at, ((title, name), label)) in header.iter().zip(names).zip(labels).enumerate() {
        let name = label.map_or_else(|| name.as_str(), |observation| observation.name());
        if label.is_none() && !OWN.contains(&name) {
            continue;
        }
        if let Some((before, other)) = seen.insert(name, (at, title)) {
            return Some(format!(
                "columns {} ({other:?}) and {} ({title:?}) are both {name}: remove one",
                before + 1,
                at + 1
            ));
        }
    }
    None
}

/// The line of a record, the first behind the header having number 0. The reader's own count is one
/// too low where lines end in CRLF.
pub(crate) fn line(record: &csv::StringRecord, number: usize) -> usize {
    record.position().map_or(0, |position| position.line() as usize).max(number + 2)
}

/// A label's cell; `None` where it says nothing.
pub(crate) fn flag(cell: &str) -> Result<Option<bool>, String> {
    match cell {
        "1" | "1.0" => Ok(Some(true)),
        "0" | "0.0" => Ok(Some(false)),
        "" | "-1" | "-1.0" => Ok(None),
        other => Err(format!("{other:?} is no label: 1, 0, or nothing (or -1) for not known")),
    }
}

/// Whether a study is abnormal by its labels: certainly when one is so, not when none can be.
fn abnormal(truth: &BTreeMap<Observation, bool>, columns: &[Observation]) -> Option<bool> {
    if let Some(normal) = truth.get(&Observation::NoFinding) {
        return Some(!normal);
    }
    let counts =
        |o: &&Observation| !matches!(o, Observation::NoFinding | Observation::SupportDevices);
    let labels: Vec<Option<&bool>> = columns.iter().filter(counts).map(|o| truth.get(o)).collect();
    if labels.contains(&Some(&true)) {
        return Some(true);
    }
    (!labels.is_empty() && labels.iter().all(Option::is_some)).then_some(false)
}
