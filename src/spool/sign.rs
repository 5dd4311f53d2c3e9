//! A report that a person signed: a version of its study beside those that were drafted.

use rusqlite::{OptionalExtension, params};

use super::draft::NewArtefact;
use super::error::{Fault, SpoolError};
use super::transition::{Change, Transition};
use super::{Spool, durable, layout, lease, settle};
use crate::vocabulary::{PatientText, StudyUid};

/// What a person signed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The version that the person read: there must be no newer one.
    pub seen: u32,
    /// The version that this becomes: [`super::JobDetail::next_version`] of the same look.
    pub version: u32,
    /// Who signed, for people to read.
    pub signer: String,
    /// The text that was signed.
    pub text: PatientText,
    /// What the page wants back later; opaque here.
    pub draft: serde_json::Value,
    /// The report in each SR class.
    pub artefacts: Vec<NewArtefact>,
    /// Who gets the report.
    pub destinations: Vec<String>,
}

impl Spool {
    /// Keeps a signed report as the newest version of its study: when this returns, its files and
    /// rows are on the disk, and it goes to its destinations as any report does. A draft that
    /// still waits to be sent goes no more.
    ///
    /// # Errors
    /// [`SpoolError::Changed`] when the study is not as the person saw it.
    pub fn sign(&self, study: &StudyUid, signed: &Signed) -> Result<(), SpoolError> {
        let mut files = Vec::with_capacity(signed.artefacts.len());
        for artefact in &signed.artefacts {
            let kind = artefact.kind.as_str();
            let file = layout::artefact(study.as_str(), signed.version, kind, &artefact.bytes);
            let path = self.path(&file);
            durable::write(&path, &self.scratch(), &artefact.bytes)
                .map_err(|e| self.file_error("keep", &path, e))?;
            files.push(file);
        }
        let kept = self.write("keep a signed report", |change| {
            let job = insert(change, study, signed)?;
            for (artefact, file) in signed.artefacts.iter().zip(&files) {
                lease::insert_artefact(change, job, artefact, file)?;
            }
            change.record(job, &Transition::new("", "signed").because(&signed.signer))?;
            for destination in &signed.destinations {
                change.execute(
                    "INSERT INTO delivery (job, destination, artefact, state, next_attempt_at)
                     VALUES (?1, ?2, 'report', 'waiting', ?3) ON CONFLICT DO NOTHING",
                    params![job, destination, change.now],
                )?;
            }
            settle::supersede_older(change, job)?;
            settle::settle(change, job)
        });
        if kept.is_err() {
            self.discard(&files)?;
        }
        kept
    }
}

/// The row of the signed version, made from the one that was read.
fn insert(change: &Change<'_>, study: &StudyUid, signed: &Signed) -> Result<i64, Fault> {
    let changed = || SpoolError::Changed { study: study.clone() };
    let base: Option<(i64, i64, u32)> = change
        .query_row(
            "SELECT job.id, study.id, version FROM job JOIN study ON study.id = job.study
             WHERE study.uid = ?1 AND state != 'merged' AND outcome = 'drafted' AND leased = 0
                 AND NOT EXISTS (SELECT 1 FROM job newer WHERE newer.study = job.study
                     AND newer.version > job.version AND newer.state != 'merged')",
            [study.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let (base, study) = match base {
        Some((base, study, version)) if version == signed.seen => (base, study),
        _ => return Err(changed().into()),
    };
    let counted = change.execute(
        "UPDATE study SET versions = ?2 WHERE id = ?1 AND versions = ?2 - 1",
        params![study, signed.version],
    )?;
    if counted == 0 {
        return Err(changed().into());
    }
    change.execute(
        "INSERT INTO job (study, version, state, outcome, priority, first_at, last_at,
             complete_at, sealed_at, drafted_at, text, image, draft, seconds, signer, signed_at)
         SELECT study, ?2, 'drafted', 'drafted', priority, first_at, last_at,
             complete_at, ?3, ?3, ?4, image, ?5, seconds, ?6, ?3 FROM job WHERE id = ?1",
        params![
            base,
            signed.version,
            change.now,
            signed.text.reveal(),
            signed.draft.to_string(),
            signed.signer
        ],
    )?;
    let job = change.last_insert_rowid();
    change.execute(
        "INSERT INTO job_object (job, object) SELECT ?2, object FROM job_object WHERE job = ?1",
        params![base, job],
    )?;
    Ok(job)
}
