//! Labelled radiographs: a folder with `labels.csv` and `images/`.
//!
//! The table is NIH ChestX-ray14's (columns `image`, `patient`, `split` and the 14 findings as 0 or
//! 1), or, without any of these findings, one that tells only normal from pneumonia as Kermany's
//! (columns `image` and `label`; the person stands before the first `_` of the image's name), which
//! serves to begin an encoder.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::chance::Chance;
use super::error::TrainError;
use super::label::{FINDINGS, Finding, LabelSet};
use crate::evaluate::table::{flag, line};
use crate::radiograph::{GreyImage, open_picture};
use crate::vocabulary::{Observation, hexadecimal};

/// Which part of the data a radiograph belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Trained on.
    Train,
    /// Kept back from `train`, by patient: thresholds and choices are made here.
    Development,
    /// Of the table's `test`: to quote for abnormal against normal.
    Test,
    /// Of the table's `findings_test`: to quote for each finding.
    FindingsTest,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// The picture.
    pub image: PathBuf,
    /// Whose it is, as the table calls the patient.
    pub patient: String,
    /// What is said of it.
    pub labels: LabelSet,
    /// Where it belongs.
    pub split: Split,
}

/// A radiograph in memory.
#[derive(Debug)]
pub struct Radiograph {
    /// The name of its file without the ending: NIH's image index.
    pub name: String,
    /// The whole picture, 8-bit grey.
    pub image: GreyImage,
    /// What is said of it.
    pub labels: LabelSet,
}

/// The table's name.
const TABLE: &str = "labels.csv";
/// What it must have.
const COLUMNS: &str = "the columns are image, patient, split and the 14 findings of NIH ChestX-ray14, \
                       or image and label";

/// The share of `train`'s patients that is kept back.
const DEVELOPMENT_SHARE: f32 = 0.1;
/// With so many patients hardly one table in two hundred has none kept back.
const ENOUGH_PATIENTS: usize = 50;

/// Reads the table of a data folder. The development split depends on the patients' names alone,
/// so it is the same for every step of a model's training.
pub fn table(dir: &Path) -> Result<Vec<Row>, TrainError> {
    let path = dir.join(TABLE);
    let wrong = |reason: String| TrainError::Table { path: path.clone(), reason };
    let mut reader = csv::Reader::from_path(&path).map_err(|e| wrong(e.to_string()))?;
    let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|h| h == name);
        found.ok_or_else(|| wrong(format!("no column {name:?}; {COLUMNS}")))
    };
    let image = column("image")?;
    let has = |name: &str| header.iter().any(|h| h == name);
    // A column of this name beside the findings is one of those that are ignored.
    let told = if has("label") && !FINDINGS.iter().any(|finding| has(finding.column)) {
        Told::Label(column("label")?)
    } else {
        let findings = FINDINGS.iter().map(|f| column(f.column)).collect::<Result<Vec<_>, _>>()?;
        Told::Findings { patient: column("patient")?, split: column("split")?, findings }
    };
    let mut rows = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let line = line(&record, number);
        let name = record.get(image).unwrap_or_default();
        if name.is_empty() || name.contains(['/', '\\']) {
            return Err(wrong(format!("line {line}, column image: {name:?} is no file name")));
        }
        let row = told.row(dir.join("images").join(name), name, &record);
        rows.push(row.map_err(|reason| wrong(format!("line {line}, column {reason}")))?);
    }
    if rows.is_empty() {
        return Err(wrong("no rows".to_owned()));
    }
    keep_somebody_back(&mut rows);
    Ok(rows)
}

/// Of few patients the names may put none into the share that is kept back: then it is the one
/// nearest to it.
fn keep_somebody_back(rows: &mut [Row]) {
    if rows.iter().any(|row| row.split == Split::Development) {
        return;
    }
    let patients: BTreeSet<String> = trained_on(rows).map(|row| row.patient.clone()).collect();
    let nearest = patients.iter().min_by(|a, b| drawn(a).total_cmp(&drawn(b)));
    let Some(nearest) = nearest.filter(|_| patients.len() > 1) else { return };
    for row in rows.iter_mut().filter(|row| row.patient == *nearest && row.split == Split::Train) {
        row.split = Split::Development;
    }
}

/// Where a table's columns lie.
enum Told {
    Findings { patient: usize, split: usize, findings: Vec<usize> },
    Label(usize),
}

impl Told {
    fn row(&self, image: PathBuf, name: &str, record: &csv::StringRecord) -> Result<Row, String> {
        let field = |index: &usize| record.get(*index).unwrap_or_default().trim();
        let train = |patient| if kept_back(patient) { Split::Development } else { Split::Train };
        match self {
            Self::Findings { patient, split, findings } => {
                let patient = field(patient);
                let split = match field(split) {
                    "train" => train(patient),
                    "test" => Split::Test,
                    "findings_test" => Split::FindingsTest,
                    other => {
                        return Err(format!(
                            "split: {other:?} is neither train, test nor findings_test"
                        ));
                    }
                };
                let cells = FINDINGS.iter().zip(findings);
                let flags = cells.map(|(finding, cell)| {
                    present(field(cell)).map_err(|reason| format!("{}: {reason}", finding.column))
                });
                let labels = LabelSet::from_flags(flags.collect::<Result<Vec<_>, _>>()?);
                Ok(Row { image, patient: patient.to_owned(), labels, split })
            }
            Self::Label(label) => {
                let label = field(label);
                if label.is_empty() {
                    return Err("label: empty; give normal or pneumonia".to_owned());
                }
                let positive = !label.eq_ignore_ascii_case("normal");
                let pneumonia = |f: &Finding| positive && f.observation == Observation::Pneumonia;
                let labels = LabelSet::from_flags(FINDINGS.iter().map(pneumonia));
                let person = name.split('_').next().unwrap_or(name);
                Ok(Row { image, patient: person.to_owned(), labels, split: train(person) })
            }
        }
    }
}

/// Whether a finding's cell says that it is present. What is not known cannot be trained on.
fn present(cell: &str) -> Result<bool, String> {
    flag(cell).ok().flatten().ok_or_else(|| {
        format!(
            "{cell:?} is no label to train on; give 1 (present) or 0 (absent), and leave out the \
             rows of which that is not known"
        )
    })
}

/// Refuses the table of a data folder that leaves nothing to train on, or nobody kept back.
pub fn check(dir: &Path, rows: &[Row]) -> Result<(), TrainError> {
    check_trained_on(dir, rows)?;
    if rows.iter().any(|row| row.split == Split::Development) {
        return Ok(());
    }
    let patients: HashSet<&str> = trained_on(rows).map(|row| row.patient.as_str()).collect();
    let reason = format!(
        "nobody of split `train` is kept back, on whom calibration and thresholds rest: a tenth of \
         the patients is, drawn by the patient's name, and there are {} in all; about \
         {ENOUGH_PATIENTS} are needed",
        patients.len()
    );
    Err(TrainError::Table { path: dir.join(TABLE), reason })
}

/// Refuses the table of a data folder that leaves nothing to train on.
pub fn check_trained_on(dir: &Path, rows: &[Row]) -> Result<(), TrainError> {
    if trained_on(rows).next().is_some() {
        return Ok(());
    }
    let kept = rows.iter().filter(|row| row.split == Split::Development).count();
    let reason = format!(
        "no row of split `train` is left after keeping a tenth of its patients back: of {} rows \
         {kept} are kept back and {} are of other splits; about {ENOUGH_PATIENTS} patients of \
         `train` are needed",
        rows.len(),
        rows.len() - kept
    );
    Err(TrainError::Table { path: dir.join(TABLE), reason })
}

/// The rows that are trained on.
pub fn trained_on(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.split == Split::Train)
}

/// Reads the pictures of one split, in parallel, in the table's order.
pub fn radiographs(rows: &[Row], split: Split) -> Result<Vec<Radiograph>, TrainError> {
    rows.par_iter()
        .filter(|row| row.split == split)
        .map(|row| {
            let image = open_picture(&row.image).map_err(|error| TrainError::Picture {
                path: row.image.clone(),
                reason: crate::observe::chain(&error),
            })?;
            let name = row.image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Radiograph { name, image, labels: row.labels })
        })
        .collect()
}

/// SHA-256 of radiographs as they are trained on (names, pictures, labels), hexadecimal.
pub fn digest(studies: &[Radiograph]) -> String {
    let mut all = Sha256::new();
    for Radiograph { name, image, labels } in studies {
        all.update(format!("{name} {} {} {labels:?}\n", image.width(), image.height()));
        all.update(image.pixels());
    }
    hexadecimal(&all.finalize())
}

/// Whether this patient's radiographs are kept back.
fn kept_back(patient: &str) -> bool {
    drawn(patient) < DEVELOPMENT_SHARE
}

/// A number from 0 to 1 by a patient's name (FNV-1a of it, then a draw).
fn drawn(patient: &str) -> f32 {
    let hash = patient.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    Chance::new(hash).unit()
}
