//! What a report takes from the image that it was drafted from, byte for byte.
//!
//! Converting text is how names are lost, so nothing is decoded: the bytes go over together with
//! the Specific Character Set that they are in. Only the padding to even length may be added.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::data_set::{DataSet, is_plain};
use super::view::View;
use crate::object::{Item, StoredObject};

/// An attribute that is copied from the top level, and whether it must be there even when empty
/// (type 2).
pub(crate) struct Copied {
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    pub(crate) always: bool,
}

const fn always(tag: Tag, vr: VR) -> Copied {
    Copied { tag, vr, always: true }
}

const fn given(tag: Tag, vr: VR) -> Copied {
    Copied { tag, vr, always: false }
}

/// Patient, Patient Study and General Study modules, the time zone of their times, and the
/// institution (PS3.3 §C.7.1.1, §C.7.2.2, §C.7.2.1, §C.12.1, §C.7.5.1).
pub(crate) const ATTRIBUTES: &[Copied] = &[
    given(tags::SPECIFIC_CHARACTER_SET, VR::CS),
    always(tags::STUDY_DATE, VR::DA),
    always(tags::STUDY_TIME, VR::TM),
    always(tags::ACCESSION_NUMBER, VR::SH),
    given(tags::INSTITUTION_NAME, VR::LO),
    always(tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    given(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH),
    given(tags::STUDY_DESCRIPTION, VR::LO),
    given(tags::PHYSICIANS_OF_RECORD, VR::PN),
    given(tags::ADMITTING_DIAGNOSES_DESCRIPTION, VR::LO),
    always(tags::PATIENT_NAME, VR::PN),
    always(tags::PATIENT_ID, VR::LO),
    given(tags::ISSUER_OF_PATIENT_ID, VR::LO),
    always(tags::PATIENT_BIRTH_DATE, VR::DA),
    given(tags::PATIENT_BIRTH_TIME, VR::TM),
    always(tags::PATIENT_SEX, VR::CS),
    given(tags::OTHER_PATIENT_NAMES, VR::PN),
    given(tags::PATIENT_AGE, VR::AS),
    given(tags::PATIENT_SIZE, VR::DS),
    given(tags::PATIENT_WEIGHT, VR::DS),
    given(tags::PATIENT_IDENTITY_REMOVED, VR::CS),
    given(tags::DEIDENTIFICATION_METHOD, VR::LO),
    always(tags::STUDY_ID, VR::SH),
];

/// The attributes of an item that are copied.
type OfItem = &'static [(Tag, VR)];

/// The macro of an identifier's issuer (PS3.3 §10.14, HL7v2 Hierarchic Designator).
const DESIGNATOR: OfItem = &[
    (tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT),
    (tags::UNIVERSAL_ENTITY_ID, VR::UT),
    (tags::UNIVERSAL_ENTITY_ID_TYPE, VR::CS),
];

/// Issuer of Patient ID Qualifiers (PS3.3 §10.14).
const QUALIFIERS: OfItem = &[
    (tags::UNIVERSAL_ENTITY_ID, VR::UT),
    (tags::UNIVERSAL_ENTITY_ID_TYPE, VR::CS),
    (tags::IDENTIFIER_TYPE_CODE, VR::CS),
];

/// The Code Sequence Macro (PS3.3 §8.8-1).
const CODE: OfItem = &[
    (tags::CODE_VALUE, VR::SH),
    (tags::CODING_SCHEME_DESIGNATOR, VR::SH),
    (tags::CODING_SCHEME_VERSION, VR::SH),
    (tags::CODE_MEANING, VR::LO),
    (tags::CONTEXT_GROUP_VERSION, VR::DT),
    (tags::CONTEXT_IDENTIFIER, VR::CS),
    (tags::CONTEXT_UID, VR::UI),
    (tags::MAPPING_RESOURCE, VR::CS),
    (tags::MAPPING_RESOURCE_UID, VR::UI),
    (tags::LONG_CODE_VALUE, VR::UC),
    (tags::URN_CODE_VALUE, VR::UR),
];

/// Sequences that are copied from the top level.
pub(crate) const SEQUENCES: &[(Tag, OfItem)] = &[
    (tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, DESIGNATOR),
    (tags::PROCEDURE_CODE_SEQUENCE, CODE),
    (tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE, QUALIFIERS),
];

/// Copies the attributes of patient and study.
pub(crate) fn patient_and_study(source: &StoredObject, report: &mut DataSet) {
    for Copied { tag, vr, always } in ATTRIBUTES {
        let value = source.bytes(*tag).unwrap_or_default();
        if *always || !value.is_empty() {
            report.put(*tag, *vr, value);
        }
    }
    for (tag, of_item) in SEQUENCES {
        let items = items(source, *tag, of_item);
        if !items.is_empty() {
            report.put_sequence(*tag, items);
        }
    }
}

/// What tells of a request where no sequence does.
const TELLING: [Tag; 4] = [
    tags::REQUESTED_PROCEDURE_ID,
    tags::REQUESTED_PROCEDURE_DESCRIPTION,
    tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
    tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
];

/// Referenced Request Sequence (PS3.3 §C.17.2): one item a request that the image carries.
pub(crate) fn requests(source: &StoredObject) -> Vec<DataSet> {
    let items = source.items(tags::REQUEST_ATTRIBUTES_SEQUENCE);
    if !items.is_empty() {
        return items.iter().map(|item| request(source, Some(item))).collect();
    }
    let told = TELLING.iter().any(|tag| source.trimmed(*tag).is_some())
        || !source.items(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE).is_empty();
    if told { vec![request(source, None)] } else { vec![] }
}

/// An attribute of a request stands in its item, else beside it.
fn request(source: &StoredObject, item: Option<&Item<'_>>) -> DataSet {
    const VALUES: [(Tag, VR, bool); 6] = [
        (tags::ACCESSION_NUMBER, VR::SH, true),
        (tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, true),
        (tags::REQUESTED_PROCEDURE_ID, VR::SH, true),
        (tags::REASON_FOR_THE_REQUESTED_PROCEDURE, VR::LO, false),
        (tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, true),
        (tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, true),
    ];
    const NESTED: [(Tag, OfItem, bool); 3] = [
        (tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, DESIGNATOR, false),
        (tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, CODE, true),
        (tags::REASON_FOR_REQUESTED_PROCEDURE_CODE_SEQUENCE, CODE, false),
    ];
    let mut request = DataSet::new();
    let character_set = item.and_then(|item| item.trimmed(tags::SPECIFIC_CHARACTER_SET));
    if let Some(character_set) = character_set {
        request.put(tags::SPECIFIC_CHARACTER_SET, VR::CS, character_set);
    }
    // What stands beside an item in characters of its own is written in others.
    let fits = |value: &&[u8]| character_set.is_none() || is_plain(value);
    for (tag, vr, always) in VALUES {
        let own = item.and_then(|item| item.bytes(tag)).filter(|value| !value.is_empty());
        let beside = || source.bytes(tag).filter(fits);
        let value = own.or_else(beside).unwrap_or_default();
        if always || !value.is_empty() {
            request.put(tag, vr, value);
        }
    }
    for (tag, of_item, always) in NESTED {
        let mut copied = item.map(|item| items(item, tag, of_item)).unwrap_or_default();
        if copied.is_empty() {
            copied = items(source, tag, of_item);
        }
        if always || !copied.is_empty() {
            request.put_sequence(tag, copied);
        }
    }
    request.put_sequence(tags::REFERENCED_STUDY_SEQUENCE, vec![]);
    request.put(tags::STUDY_INSTANCE_UID, VR::UI, source.study_uid().as_str());
    request
}

/// The items of a sequence with those of their attributes that are named.
fn items(source: &impl View, sequence: Tag, of_item: OfItem) -> Vec<DataSet> {
    let copy = |item: &Item<'_>| {
        let mut copied = DataSet::new();
        // An item may be written in characters of its own (PS3.5 §7.5.3).
        for (tag, vr) in [(tags::SPECIFIC_CHARACTER_SET, VR::CS)].iter().chain(of_item) {
            if let Some(value) = item.bytes(*tag) {
                copied.put(*tag, *vr, value);
            }
        }
        copied
    };
    source.nested(sequence).iter().map(copy).collect()
}
