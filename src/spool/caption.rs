//! Who and what a study is, as the worklist shows and searches it.

use rusqlite::{OptionalExtension, Row, params};

use super::transition::Change;
use super::{Spool, SpoolError};
use crate::vocabulary::{PatientText, StudyUid};

/// What stands in the head of a study; empty where its images say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caption {
    /// The patient's name as people read it.
    pub patient: PatientText,
    /// Patient ID.
    pub patient_id: PatientText,
    /// `1960-01-02`.
    pub birth_date: PatientText,
    /// Accession number.
    pub accession: String,
    /// Modality.
    pub modality: String,
    /// `2026-01-02`.
    pub date: String,
    /// Study description.
    pub description: PatientText,
}

impl Spool {
    /// The patient's ID of a study, as the image has it that its draft was made from, before a draft
    /// its newest image; empty where that says none.
    pub fn patient_id(&self, study: &StudyUid) -> Result<PatientText, SpoolError> {
        self.read("find a patient's ID", |transaction| {
            let found: Option<String> = transaction
                .prepare_cached(
                    "SELECT patient_id FROM caption JOIN study ON study.id = caption.study
                     WHERE study.uid = ?1",
                )?
                .query_row([study.as_str()], |row| row.get(0))
                .optional()?;
            Ok(PatientText::new(found.unwrap_or_default()))
        })
    }
}

/// The columns in the order of [`of`].
pub(super) const COLUMNS: &str =
    "patient, patient_id, birth_date, accession, modality, date, description";

/// Keeps what an image says of its study. The newest image's word counts until a draft is made;
/// from then on that of the image drafted from, so that page and report name one patient.
pub(super) fn keep(change: &Change<'_>, study: i64, caption: &Caption) -> rusqlite::Result<()> {
    let drafted = change
        .prepare_cached("SELECT 1 FROM job WHERE study = ?1 AND outcome = 'drafted'")?
        .exists([study])?;
    if drafted { Ok(()) } else { replace(change, study, caption) }
}

/// Keeps what the image says that a job's draft was made from.
pub(super) fn keep_drafted(
    change: &Change<'_>,
    job: i64,
    caption: &Caption,
) -> rusqlite::Result<()> {
    let study = change
        .prepare_cached("SELECT study FROM job WHERE id = ?1")?
        .query_row([job], |row| row.get(0))?;
    replace(change, study, caption)
}

fn replace(change: &Change<'_>, study: i64, caption: &Caption) -> rusqlite::Result<()> {
    change
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO caption (study, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        ))?
        .execute(params![
            study,
            caption.patient.reveal(),
            caption.patient_id.reveal(),
            caption.birth_date.reveal(),
            caption.accession,
            caption.modality,
            caption.date,
            caption.description.reveal(),
        ])?;
    Ok(())
}

/// A caption from [`COLUMNS`], the first at `at`; empty for a study that has none.
pub(super) fn of(row: &Row<'_>, at: usize) -> rusqlite::Result<Caption> {
    let text = |column| -> rusqlite::Result<String> {
        Ok(row.get::<_, Option<String>>(at + column)?.unwrap_or_default())
    };
    Ok(Caption {
        patient: PatientText::new(text(0)?),
        patient_id: PatientText::new(text(1)?),
        birth_date: PatientText::new(text(2)?),
        accession: text(3)?,
        modality: text(4)?,
        date: text(5)?,
        description: PatientText::new(text(6)?),
    })
}
