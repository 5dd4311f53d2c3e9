//! What a report of this program says of itself, for when nothing else is known of it any more.

use dicom_dictionary_std::tags;

use super::sr::codes;
use super::sr::view::View;
use crate::object::{Item, StoredObject};
use crate::vocabulary::{InstanceUid, PatientText, person_name};

/// The images that it stands on.
pub(crate) fn evidence(report: &StoredObject) -> Vec<InstanceUid> {
    let studies = report.items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE);
    let series = studies.iter().flat_map(|study| study.items(tags::REFERENCED_SERIES_SEQUENCE));
    let objects: Vec<Item<'_>> =
        series.flat_map(|series| series.items(tags::REFERENCED_SOP_SEQUENCE)).collect();
    let uid = |object: &Item<'_>| object.value(tags::REFERENCED_SOP_INSTANCE_UID)?.parse().ok();
    objects.iter().filter_map(uid).collect()
}

/// Who signed it, for people to read, and the text; none for a draft.
pub(crate) fn signed(report: &StoredObject) -> Option<(String, PatientText)> {
    let observers = report.items(tags::VERIFYING_OBSERVER_SEQUENCE);
    let name = observers.first()?.person_name(tags::VERIFYING_OBSERVER_NAME)?.alphabetic;
    let mut sections = Vec::new();
    for section in report.items(tags::CONTENT_SEQUENCE) {
        let is_summary =
            section.codes(tags::CONCEPT_NAME_CODE_SEQUENCE).first().is_some_and(|name| {
                name.value == codes::SUMMARY.value && name.scheme == codes::SUMMARY.scheme
            });
        if section.value(tags::VALUE_TYPE).as_deref() == Some("CONTAINER") && !is_summary {
            let items = section.items(tags::CONTENT_SEQUENCE);
            sections.extend(items.iter().filter_map(|item| item.text(tags::TEXT_VALUE)));
        }
    }
    Some((person_name::spoken(&name), PatientText::new(sections.join("\n"))))
}
