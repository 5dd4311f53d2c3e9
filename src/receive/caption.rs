//! Who and what a study is, read from one of its objects.

use dicom_dictionary_std::tags;

use crate::object::{PersonName, StoredObject};
use crate::spool::Caption;
use crate::vocabulary::PatientText;

/// Characters of a value that are kept: more is no name.
const LONGEST: usize = 256;

/// The caption of an object's study.
pub fn caption(object: &StoredObject) -> Caption {
    let short = |text: &str| text.trim().chars().take(LONGEST).collect::<String>();
    let text = |tag| short(&object.text(tag).unwrap_or_default());
    let value = |tag| short(&object.value(tag).unwrap_or_default());
    let name = object.person_name(tags::PATIENT_NAME);
    Caption {
        patient: PatientText::new(short(&name.as_ref().map(shown).unwrap_or_default())),
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
