//! Who and what a study is, read from one of its objects while the spool still holds it.

use dicom_dictionary_std::tags;

use crate::object::{PersonName, StoredObject};
use crate::spool::JobDetail;
use crate::vocabulary::PatientText;

/// What stands in the head of a study; empty where the object says nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Caption {
    pub(super) patient: PatientText,
    pub(super) patient_id: PatientText,
    pub(super) birth_date: PatientText,
    pub(super) accession: String,
    pub(super) modality: String,
    pub(super) date: String,
    pub(super) description: PatientText,
}

/// The caption of a study: from the image it was drafted from, else from any object.
pub(super) fn caption(job: &JobDetail) -> Caption {
    let chosen = job.objects.iter().find(|object| Some(&object.instance) == job.image.as_ref());
    let object = chosen.or_else(|| job.objects.iter().find(|object| !object.own_object));
    // A file that retention has removed leaves the caption empty.
    let Some(object) = object.and_then(|object| StoredObject::open(&object.path).ok()) else {
        return Caption::default();
    };
    let text = |tag| object.text(tag).unwrap_or_default().trim().to_owned();
    let value = |tag| object.value(tag).unwrap_or_default();
    let name = object.person_name(tags::PATIENT_NAME);
    Caption {
        patient: PatientText::new(name.as_ref().map(shown).unwrap_or_default()),
        patient_id: PatientText::new(text(tags::PATIENT_ID)),
        birth_date: PatientText::new(date(&value(tags::PATIENT_BIRTH_DATE))),
        accession: text(tags::ACCESSION_NUMBER),
        modality: value(tags::MODALITY),
        date: date(&value(tags::STUDY_DATE)),
        description: PatientText::new(text(tags::STUDY_DESCRIPTION)),
    }
}

/// The name in Latin letters, and as the person writes it where that differs.
fn shown(name: &PersonName) -> String {
    let plain = |group: &str| group.trim_end_matches('^').replace('^', " ");
    match (plain(&name.alphabetic), plain(&name.ideographic)) {
        (latin, own) if own.is_empty() => latin,
        (latin, own) if latin.is_empty() => own,
        (latin, own) => format!("{latin} ({own})"),
    }
}

/// `20260102` as `2026-01-02`; anything else as it is.
fn date(written: &str) -> String {
    match (written.get(..4), written.get(4..6), written.get(6..8)) {
        (Some(year), Some(month), Some(day)) if written.len() == 8 => {
            format!("{year}-{month}-{day}")
        }
        _ => written.to_owned(),
    }
}
