//! Attributes outside the content tree: presence, flags, UIDs, lengths.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::Findings;
use super::text::length;
use crate::object::StoredObject;
use crate::report::identity::INSTANCE_CREATOR;
use crate::report::maker::PRODUCT;
use crate::report::sr::copied;
use crate::report::sr::document::CONTRIBUTION;
use crate::report::sr::verified::Status;
use crate::report::sr::view::View;
use crate::report::sr::{SrClass, codes};

/// Attributes with one value that is right.
const FIXED: [(Tag, &str, &str); 5] = [
    (tags::INSTANCE_CREATOR_UID, "InstanceCreatorUID", INSTANCE_CREATOR),
    (tags::MODALITY, "Modality", "SR"),
    (tags::MANUFACTURER_MODEL_NAME, "ManufacturerModelName", PRODUCT),
    (tags::VALUE_TYPE, "ValueType", "CONTAINER"),
    (tags::CONTINUITY_OF_CONTENT, "ContinuityOfContent", "SEPARATE"),
];

/// Attributes that must have some value of at most so many characters.
const FILLED: [(Tag, &str, usize); 13] = [
    (tags::INSTANCE_CREATION_DATE, "InstanceCreationDate", 8),
    (tags::INSTANCE_CREATION_TIME, "InstanceCreationTime", 14),
    (tags::SERIES_DATE, "SeriesDate", 8),
    (tags::SERIES_TIME, "SeriesTime", 14),
    (tags::CONTENT_DATE, "ContentDate", 8),
    (tags::CONTENT_TIME, "ContentTime", 14),
    (tags::MANUFACTURER, "Manufacturer", 64),
    (tags::STATION_NAME, "StationName", 16),
    (tags::DEVICE_SERIAL_NUMBER, "DeviceSerialNumber", 64),
    (tags::DEVICE_UID, "DeviceUID", 64),
    (tags::SOFTWARE_VERSIONS, "SoftwareVersions", 129),
    (tags::INSTANCE_NUMBER, "InstanceNumber", 12),
    (tags::STUDY_INSTANCE_UID, "StudyInstanceUID", 64),
];

/// UIDs of the top level, in the grammar of PS3.5 §9.1.
const UIDS: [(Tag, &str); 6] = [
    (tags::INSTANCE_CREATOR_UID, "InstanceCreatorUID"),
    (tags::SOP_CLASS_UID, "SOPClassUID"),
    (tags::SOP_INSTANCE_UID, "SOPInstanceUID"),
    (tags::DEVICE_UID, "DeviceUID"),
    (tags::STUDY_INSTANCE_UID, "StudyInstanceUID"),
    (tags::SERIES_INSTANCE_UID, "SeriesInstanceUID"),
];

pub(super) fn check(report: &StoredObject, findings: &mut Findings) {
    if !SrClass::ALL.iter().any(|class| Some(class.sop_class()) == report.sop_class()) {
        findings.add("SOPClassUID", "is not Enhanced, Basic Text or Comprehensive SR");
    }
    let status = Status::claimed(report);
    let claimed = status.attributes().map(|(tag, _, name, wanted)| (tag, name, wanted));
    for (tag, name, wanted) in FIXED.into_iter().chain(claimed) {
        let value = report.ascii(tag);
        if value != wanted {
            findings.add(name, format!("is {:?}, not {wanted:?}", shown(&value)));
        }
    }
    for (tag, name, most) in FILLED {
        match report.trimmed(tag) {
            None => findings.add(name, "is missing or empty"),
            Some(value) if value.len() > most => {
                findings.add(name, format!("has more than {most} characters"));
            }
            Some(_) => {}
        }
    }
    for (tag, name) in UIDS {
        check_uid(name, &report.ascii(tag), findings);
    }
    for made in [tags::SOP_INSTANCE_UID, tags::SERIES_INSTANCE_UID] {
        if !report.ascii(made).starts_with("2.25.") {
            findings.add(made.to_string(), "is no UID that this program makes");
        }
    }
    let type_2 = copied::ATTRIBUTES.iter().filter(|copied| copied.always).map(|copied| copied.tag);
    let sequences = [
        tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE,
        tags::PERFORMED_PROCEDURE_CODE_SEQUENCE,
    ];
    for tag in type_2.chain(sequences).filter(|tag| report.element(*tag).is_none()) {
        findings.add(tag.to_string(), "is missing");
    }
    authors(report, status, findings);
    equipment(report, findings);
    signature(report, status, findings);
    template(report, findings);
    requests(report, findings);
}

/// Digits in components without leading zeros, joined by dots.
pub(super) fn check_uid(place: &str, uid: &str, findings: &mut Findings) {
    let component = |c: &str| {
        !c.is_empty() && c.bytes().all(|b| b.is_ascii_digit()) && (c == "0" || !c.starts_with('0'))
    };
    if uid.len() > 64 || !uid.split('.').all(component) {
        findings.add(place, format!("{:?} is no UID", shown(uid)));
    }
}

/// The device, and the person who changed its text where one signed.
fn authors(report: &StoredObject, status: &Status, findings: &mut Findings) {
    match report.items(tags::AUTHOR_OBSERVER_SEQUENCE).as_slice() {
        [author, people @ ..] if people.is_empty() || status.is_signed() => {
            for person in people {
                if person.ascii(tags::OBSERVER_TYPE) != "PSN"
                    || person.trimmed(tags::PERSON_NAME).is_none()
                {
                    findings.add("AuthorObserverSequence", "names no person");
                }
            }
            if author.ascii(tags::OBSERVER_TYPE) != "DEV" {
                findings.add("AuthorObserverSequence", "names no device");
            }
            for tag in [tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME, tags::DEVICE_UID] {
                if author.trimmed(tag).is_none() {
                    findings.add("AuthorObserverSequence", format!("has no {tag}"));
                }
            }
            if author.ascii(tags::DEVICE_UID) != report.ascii(tags::DEVICE_UID) {
                findings.add("AuthorObserverSequence", "names another device than the equipment");
            }
        }
        others => {
            findings.add("AuthorObserverSequence", format!("has {} items, not 1", others.len()));
        }
    }
}

/// One person who signed, or nobody: Verifying Observer Sequence (PS3.3 Table C.17-2).
fn signature(report: &StoredObject, status: &Status, findings: &mut Findings) {
    let name = "VerifyingObserverSequence";
    let people = report.items(tags::VERIFYING_OBSERVER_SEQUENCE);
    if people.len() != usize::from(status.is_signed()) {
        findings.add(name, format!("has {} items", people.len()));
    }
    for person in people {
        for tag in [
            tags::VERIFYING_ORGANIZATION,
            tags::VERIFICATION_DATE_TIME,
            tags::VERIFYING_OBSERVER_NAME,
        ] {
            if person.trimmed(tag).is_none() {
                findings.add(name, format!("has no {tag}"));
            }
        }
        if person.element(tags::VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE).is_none() {
            findings.add(name, "has no VerifyingObserverIdentificationCodeSequence");
        }
    }
    if report.element(tags::VERIFICATION_DATE_TIME).is_some() {
        findings.add("VerificationDateTime", "stands outside of the sequence");
    }
    if status.is_signed() && report.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).is_empty() {
        findings.add("PredecessorDocumentsSequence", "names no draft");
    }
}

fn equipment(report: &StoredObject, findings: &mut Findings) {
    match report.items(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE).as_slice() {
        [model] => {
            let purpose = model.codes(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE);
            if purpose != [codes::PROCESSING_EQUIPMENT] {
                findings.add("ContributingEquipmentSequence", "is not Processing Equipment");
            }
            if model.ascii(tags::CONTRIBUTION_DESCRIPTION) != CONTRIBUTION {
                findings.add("ContributingEquipmentSequence", "does not say what it did");
            }
            for tag in [
                tags::MANUFACTURER,
                tags::MANUFACTURER_MODEL_NAME,
                tags::DEVICE_SERIAL_NUMBER,
                tags::SOFTWARE_VERSIONS,
                tags::CONTRIBUTION_DATE_TIME,
            ] {
                if model.trimmed(tag).is_none_or(|value| value.len() > 64) {
                    findings.add("ContributingEquipmentSequence", format!("has no good {tag}"));
                }
            }
        }
        others => findings
            .add("ContributingEquipmentSequence", format!("has {} items, not 1", others.len())),
    }
}

fn template(report: &StoredObject, findings: &mut Findings) {
    let items = report.items(tags::CONTENT_TEMPLATE_SEQUENCE);
    let named = matches!(items.as_slice(), [item]
        if item.ascii(tags::MAPPING_RESOURCE) == "DCMR"
            && item.ascii(tags::TEMPLATE_IDENTIFIER) == "2000");
    if !named {
        findings.add("ContentTemplateSequence", "does not name TID 2000 of DCMR");
    }
    if report.codes(tags::CONCEPT_NAME_CODE_SEQUENCE) != [codes::X_RAY_REPORT] {
        findings.add("ConceptNameCodeSequence", "is not (43468-8, LN, \"X-Ray Report\")");
    }
}

/// Referenced Request Sequence: its types 1 and 2 (PS3.3 Table C.17-2).
fn requests(report: &StoredObject, findings: &mut Findings) {
    for request in report.items(tags::REFERENCED_REQUEST_SEQUENCE) {
        if request.ascii(tags::STUDY_INSTANCE_UID) != report.study_uid().as_str() {
            findings.add("ReferencedRequestSequence", "names another study");
        }
        for tag in [
            tags::REFERENCED_STUDY_SEQUENCE,
            tags::ACCESSION_NUMBER,
            tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
            tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
            tags::REQUESTED_PROCEDURE_ID,
            tags::REQUESTED_PROCEDURE_DESCRIPTION,
            tags::REQUESTED_PROCEDURE_CODE_SEQUENCE,
        ] {
            if request.element(tag).is_none() {
                findings.add("ReferencedRequestSequence", format!("has no {tag}"));
            }
        }
    }
}

/// A value for a message: escaped by `{:?}` where it is used, and cut.
pub(super) fn shown(value: &str) -> &str {
    value.get(..64).unwrap_or(value)
}

/// A code's parts no longer than the standard allows, counted in characters.
pub(super) fn check_code_lengths(
    place: &str,
    item: &impl View,
    charset: &[u8],
    findings: &mut Findings,
) {
    for (tag, name, most) in [
        (tags::CODE_VALUE, "CodeValue", 16),
        (tags::CODING_SCHEME_DESIGNATOR, "CodingSchemeDesignator", 16),
        (tags::CODE_MEANING, "CodeMeaning", 64),
    ] {
        match item.trimmed(tag) {
            None => findings.add(place, format!("a code has no {name}")),
            Some(value) if length(value, charset) > most => {
                findings.add(place, format!("{name} has more than {most} characters"));
            }
            Some(_) => {}
        }
    }
}
