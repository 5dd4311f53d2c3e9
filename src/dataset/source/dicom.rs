//! A folder of DICOM objects: radiographs, with reports as SR objects of the same study or as text
//! files named by Study Instance UID or accession number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use sha2::{Digest, Sha256};

use super::{Image, Report, Text, files, is, read_text};
use crate::dataset::error::DatasetError;
use crate::object::{Item, StoredObject};
use crate::report::is_own;
use crate::vocabulary::{SopKind, hexadecimal};

/// What a folder holds of one study.
#[derive(Default)]
struct Study {
    patient: String,
    accession: Option<String>,
    images: Vec<Image>,
    report: Option<String>,
}

/// The reports; `None` where no file is a DICOM object.
pub(super) fn find(source: &Path) -> Result<Option<Vec<Report>>, DatasetError> {
    let mut studies = BTreeMap::<String, Study>::new();
    let mut texts = BTreeMap::<String, PathBuf>::new();
    for path in files(source)? {
        if is(&path, "txt") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(stem, path);
            continue;
        }
        // What is no DICOM object is none of this reader's business.
        let Ok(object) = StoredObject::open(&path) else { continue };
        let study = studies.entry(object.study_uid().to_string()).or_default();
        study.patient = pseudonym(&object);
        study.accession = study.accession.take().or_else(|| object.value(tags::ACCESSION_NUMBER));
        match object.sop_class().map(crate::vocabulary::SopClass::kind) {
            Some(SopKind::Radiograph | SopKind::SecondaryCapture) => {
                let file = path.strip_prefix(source).unwrap_or(&path).to_owned();
                study.images.push(Image { file, view: object.value(tags::VIEW_POSITION) });
            }
            // A draft of a program is nothing to learn from.
            Some(SopKind::Report) if !is_own(&object) => {
                let text = study.report.get_or_insert_default();
                text.push_str(&content(&object.items(tags::CONTENT_SEQUENCE)));
            }
            _ => {}
        }
    }
    if studies.is_empty() {
        return Ok(None);
    }
    let reports = studies.into_iter().map(|(uid, study)| report(uid, study, &texts));
    Ok(Some(reports.collect::<Result<_, _>>()?))
}

fn report(
    id: String,
    study: Study,
    texts: &BTreeMap<String, PathBuf>,
) -> Result<Report, DatasetError> {
    let by_accession = study.accession.as_ref().and_then(|number| texts.get(number));
    let text = match (texts.get(&id).or(by_accession), study.report) {
        (Some(path), _) => read_text(path)?,
        (None, report) => report.unwrap_or_default(),
    };
    let Study { patient, images, .. } = study;
    Ok(Report { id, patient, images, split: None, text: Text::Free(text) })
}

/// The same for all studies of a patient; the patient's own number is not written down.
fn pseudonym(object: &StoredObject) -> String {
    let id = object.text(tags::PATIENT_ID).unwrap_or_default();
    if id.is_empty() {
        return object.study_uid().to_string();
    }
    let issuer = object.text(tags::ISSUER_OF_PATIENT_ID).unwrap_or_default();
    let digest = Sha256::digest(format!("{issuer}\0{id}"));
    hexadecimal(digest.get(..8).unwrap_or_default())
}

/// The texts of an SR's content, each container's meaning as a heading. The scan has bounded how
/// deep sequences nest.
fn content(items: &[Item<'_>]) -> String {
    let mut text = String::new();
    for item in items {
        let nested = item.items(tags::CONTENT_SEQUENCE);
        let name = item.items(tags::CONCEPT_NAME_CODE_SEQUENCE);
        let name = name.first().and_then(|name| name.text(tags::CODE_MEANING));
        match item.value(tags::VALUE_TYPE).as_deref() {
            Some("CONTAINER") => {
                let heading = name.map(|name| format!("\n{name}:\n")).unwrap_or_default();
                text.push_str(&heading);
            }
            Some("TEXT") => {
                let words = item.text(tags::TEXT_VALUE).unwrap_or_default();
                text.push_str(&words.replace(['\r', '\n'], " "));
                text.push('\n');
            }
            _ => {}
        }
        text.push_str(&content(&nested));
    }
    text
}
