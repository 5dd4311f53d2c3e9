//! Files of drafts: those of this attempt, and those that were made before and lost their rows.
//!
//! What was made before may be with a destination. A draft made again of the same images bears the
//! same UIDs, and then it is the older file that stands: one UID never names two contents.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::draft::{NewArtefact, SpooledObject};
use super::error::Fault;
use super::job::ArtefactKind;
use super::rebuild::{self, FoundArtefact, Lost, Unrecorded};
use super::transition::{Change, Transition};
use super::{Spool, lease, settle};

/// The rows of a job's files: of one that was made before under the same UID, the older file
/// stands; what an earlier attempt made beside these goes.
pub(super) fn keep_artefacts(
    change: &Change<'_>,
    job: i64,
    artefacts: &[NewArtefact],
    files: &[String],
) -> rusqlite::Result<()> {
    let before: Vec<(i64, String, String)> = change
        .prepare_cached("SELECT id, instance, file FROM artefact WHERE job = ?1")?
        .query_map([job], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let doom = |file: &str| change.execute("INSERT OR IGNORE INTO doomed VALUES (?1)", [file]);
    for (artefact, file) in artefacts.iter().zip(files) {
        match before.iter().find(|(_, instance, _)| *instance == artefact.instance.as_str()) {
            None => lease::insert_artefact(change, job, artefact, file)?,
            Some((.., older)) if older != file => {
                doom(file)?;
            }
            Some(_) => {}
        }
    }
    let is_made = |instance: &str| artefacts.iter().any(|made| made.instance.as_str() == instance);
    for (id, _, file) in before.iter().filter(|(_, instance, _)| !is_made(instance)) {
        change.execute("DELETE FROM artefact WHERE id = ?1", [id])?;
        doom(file)?;
    }
    Ok(())
}

/// A file, and whether something may still need it.
type Left<'f> = Vec<(&'f Unrecorded, bool)>;

/// Gives found files to the jobs that made them. The newest version of a study that has a report is
/// begun again when it was lost; a signed one is there again. The files that are left.
pub(super) fn adopt<'f>(
    spool: &Spool,
    change: &Change<'_>,
    found: &'f [FoundArtefact],
) -> Result<Left<'f>, Fault> {
    let mut studies: BTreeMap<&str, BTreeMap<u32, Vec<&FoundArtefact>>> = BTreeMap::new();
    for artefact in found {
        if let Lost::Artefact(version, _) = artefact.file.kind {
            let versions = studies.entry(artefact.study.as_str()).or_default();
            versions.entry(version).or_default().push(artefact);
        }
    }
    let mut left = Vec::new();
    for (uid, mut versions) in studies {
        let study: i64 =
            change.query_row("SELECT id FROM study WHERE uid = ?1", [uid], |row| row.get(0))?;
        let reported = |files: &[&FoundArtefact]| files.iter().any(|file| is_report(file));
        let newest =
            versions.iter().rfind(|(_, files)| reported(files)).map(|(version, _)| *version);
        if let Some((version, files)) = newest.and_then(|newest| versions.remove_entry(&newest)) {
            match job_of(change, study, version, &files)? {
                Some(job) => {
                    give(change, &job, &files, &mut left)?;
                    if !job.sealed {
                        seal(spool, change, &job, &files)?;
                    }
                }
                None => left.extend(files.iter().map(|artefact| (&artefact.file, true))),
            }
        }
        for (version, files) in versions {
            match find(change, study, version)? {
                Some(job) => give(change, &job, &files, &mut left)?,
                None => left.extend(files.iter().map(|file| (&file.file, file.signed.is_some()))),
            }
        }
    }
    Ok(left)
}

fn is_report(artefact: &FoundArtefact) -> bool {
    matches!(artefact.file.kind, Lost::Artefact(_, ArtefactKind::Report))
}

fn give<'f>(
    change: &Change<'_>,
    job: &Job,
    files: &[&'f FoundArtefact],
    left: &mut Left<'f>,
) -> rusqlite::Result<()> {
    for artefact in files {
        if !take(change, job, artefact)? {
            left.push((&artefact.file, artefact.signed.is_some()));
        }
    }
    Ok(())
}

struct Job {
    id: i64,
    study: i64,
    version: u32,
    state: String,
    sealed: bool,
    signed: bool,
}

/// The job of a version; begun again when it was lost and is the newest of a study that has images.
fn job_of(
    change: &Change<'_>,
    study: i64,
    version: u32,
    files: &[&FoundArtefact],
) -> Result<Option<Job>, Fault> {
    let signed = files.iter().find_map(|artefact| artefact.signed.as_ref());
    let known = find(change, study, version)?;
    match (&known, signed) {
        // Begun for images whose rows were lost, under the number that the signed report has.
        (Some(job), Some(_)) if job.state == "received" => {
            change.execute("DELETE FROM job WHERE id = ?1 AND attempts = 0", [job.id])?;
        }
        (Some(_), _) => return Ok(known),
        (None, _) => {}
    }
    let is_newest: bool = change.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM job WHERE study = ?1 AND version >= ?2)
             AND EXISTS (SELECT 1 FROM object WHERE study = ?1 AND NOT own AND deleted_at IS NULL)",
        params![study, version],
        |row| row.get(0),
    )?;
    if !is_newest {
        return Ok(None);
    }
    let job = begin(change, study, version)?;
    // What still waited for a draft gives way: this one was drafted after it.
    settle::supersede_waiting(change, job)?;
    if let Some((signer, text)) = signed {
        change.execute(
            "UPDATE job SET state = 'drafted', outcome = 'drafted', signer = ?2, signed_at = ?3,
                 drafted_at = ?3, text = ?4, draft = '{}', seconds = '{}', unforwarded = 1
             WHERE id = ?1",
            params![job, signer, change.now, text.reveal()],
        )?;
        change.record(job, &Transition::new("received", "signed").because(signer))?;
        settle::supersede_older(change, job)?;
    }
    Ok(find(change, study, version)?)
}

fn find(change: &Change<'_>, study: i64, version: u32) -> rusqlite::Result<Option<Job>> {
    change
        .query_row(
            "SELECT id, state, sealed_at IS NOT NULL, signed_at IS NOT NULL FROM job
             WHERE study = ?1 AND version = ?2",
            params![study, version],
            |row| {
                let (id, state, sealed) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Job { id, study, version, state, sealed, signed: row.get(3)? })
            },
        )
        .optional()
}

/// Gives a file to its job, which is to be drafted again or lacks a file of that class; whether the
/// job can use it.
fn take(change: &Change<'_>, job: &Job, artefact: &FoundArtefact) -> rusqlite::Result<bool> {
    let Lost::Artefact(_, kind) = artefact.file.kind else { return Ok(false) };
    if artefact.signed.is_some() != job.signed {
        return Ok(false);
    }
    let offset = i64::try_from(artefact.data_set_offset).unwrap_or(i64::MAX);
    let taken = change.execute(
        "INSERT INTO artefact (job, kind, sop_class, instance, series, file, data_set_offset)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM job WHERE id = ?1
             AND (state = 'received' OR outcome = 'drafted')
             AND NOT EXISTS (SELECT 1 FROM artefact
                 WHERE job = ?1 AND kind = ?2 AND sop_class = ?3)",
        params![
            job.id,
            kind.as_str(),
            artefact.sop_class.uid(),
            artefact.instance.as_str(),
            artefact.series.as_str(),
            artefact.file.name,
            offset,
        ],
    )?;
    Ok(taken > 0)
}

/// The job has again the images that its report stands on, and what is no image; images beyond
/// these are for a version after it.
fn seal(
    spool: &Spool,
    change: &Change<'_>,
    job: &Job,
    files: &[&FoundArtefact],
) -> Result<(), Fault> {
    let evidence: Vec<_> = files.iter().flat_map(|artefact| &artefact.evidence).collect();
    let objects: Vec<(i64, SpooledObject)> = change
        .prepare(&format!(
            "SELECT {}, object.id FROM object
             WHERE study = ?1 AND latest AND deleted_at IS NULL ORDER BY object.id",
            lease::OBJECT
        ))?
        .query_map([job.study], |row| Ok((row.get(8)?, lease::object(spool, row)?)))?
        .collect::<Result<_, _>>()?;
    let (own, later): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|(_, object)| !object.is_image() || evidence.contains(&&object.instance));
    if !job.signed && !own.iter().any(|(_, object)| object.is_image()) {
        return Ok(());
    }
    for (object, _) in own {
        change
            .execute("INSERT OR IGNORE INTO job_object VALUES (?1, ?2)", params![job.id, object])?;
    }
    change.execute(
        "UPDATE job SET sealed_at = ?2, complete_at = ?2 WHERE id = ?1",
        params![job.id, change.now],
    )?;
    let is_newest: bool = change.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM job WHERE study = ?1 AND version > ?2)",
        params![job.study, job.version],
        |row| row.get(0),
    )?;
    if is_newest && !later.is_empty() {
        begin(change, job.study, job.version + 1)?;
    }
    Ok(())
}

/// Begins a job of a study in a version, without an object that comes in.
pub(super) fn begin(change: &Change<'_>, study: i64, version: u32) -> rusqlite::Result<i64> {
    change.execute(
        "UPDATE study SET versions = max(versions, ?2) WHERE id = ?1",
        params![study, version],
    )?;
    change.execute(
        "INSERT INTO job (study, version, state, first_at, last_at)
         VALUES (?1, ?2, 'received', ?3, ?3)",
        params![study, version, change.now],
    )?;
    let job = change.last_insert_rowid();
    change.record(job, &rebuild::lost())?;
    Ok(job)
}
