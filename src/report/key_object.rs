//! A Key Object Selection (PS3.3 §A.35.4, TID 2010) that points at the image drafted from and at
//! the picture of where the model looked.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::capture::SERIES_DESCRIPTION;
use super::heading::Heading;
use super::identity::{Evidence, Fingerprint};
use super::maker::{Maker, moment};
use super::sr::codes::Code;
use super::sr::data_set::DataSet;
use super::sr::{copied, document, tree};
use super::{Draft, NodeIdentity, ObjectFile, ReportError};
use crate::object::StoredObject;
use crate::vocabulary::SopClass;

const CONTRIBUTION: &str = "Named the image that a vision-language model drafted from";
/// After that of the captures.
const SERIES_NUMBER: &str = "9702";
/// CID 7010.
const OF_INTEREST: Code = Code::fixed("113000", "DCM", "Of Interest");
const DESCRIPTION: Code = Code::fixed("113012", "DCM", "Key Object Description");
const WORDS: &str = "AI DRAFT - NOT FOR DIAGNOSIS. The image that the draft was made from, and a \
                     picture of where the model looked. Not reviewed by a physician.";

/// Builds the selection of `source` and of `capture`, made of the same draft.
///
/// `evidence` are all images of the job, as for the report.
///
/// # Errors
/// `source` is not among `evidence`, or the object cannot be encoded.
pub fn build(
    source: &StoredObject,
    capture: &ObjectFile,
    evidence: &[Evidence],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<ObjectFile, ReportError> {
    let sop_class = SopClass::KeyObjectSelection;
    let maker = Maker::new(draft, node);
    let fingerprint = Fingerprint::new(sop_class, evidence, draft)
        .with_content(capture.instance.as_str().as_bytes());
    let (instance, series) = (fingerprint.instance(), fingerprint.series());
    let created = moment(draft, source);
    let mut selection = DataSet::new();
    copied::patient_and_study(source, &mut selection);
    maker.equipment(created, CONTRIBUTION, &mut selection);
    let heading = Heading { sop_class, modality: "KO", instance: &instance, series: &series };
    heading.put(draft, source, created, &mut selection);
    let values: [(Tag, VR, &str); 3] = [
        (tags::SERIES_DESCRIPTION, VR::LO, SERIES_DESCRIPTION),
        (tags::SERIES_NUMBER, VR::IS, SERIES_NUMBER),
        (tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"),
    ];
    for (tag, vr, value) in values {
        selection.put(tag, vr, value);
    }
    selection.put_sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![]);
    let requests = copied::requests(source);
    if !requests.is_empty() {
        selection.put_sequence(tags::REFERENCED_REQUEST_SEQUENCE, requests);
    }
    let chosen = [
        (
            source.series_uid().as_str(),
            source.sop_class_uid().as_str(),
            source.instance_uid().as_str(),
        ),
        (capture.series.as_str(), capture.sop_class.uid(), capture.instance.as_str()),
    ];
    let referenced = document::study(source.study_uid().as_str(), chosen.to_vec());
    selection.put_sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![referenced]);
    content(&maker, &chosen, &mut selection);
    let (bytes, data_set_offset) = maker.file(sop_class, instance.as_str(), &selection)?;
    Ok(ObjectFile { sop_class, instance, series, bytes, data_set_offset })
}

/// SR Document Content: images as (series, class, instance).
fn content(maker: &Maker<'_>, images: &[(&str, &str, &str)], selection: &mut DataSet) {
    let mut template = DataSet::new();
    template.put(tags::MAPPING_RESOURCE, VR::CS, "DCMR");
    template.put(tags::MAPPING_RESOURCE_UID, VR::UI, "1.2.840.10008.8.1.1");
    template.put(tags::TEMPLATE_IDENTIFIER, VR::CS, "2010");
    selection.put(tags::VALUE_TYPE, VR::CS, "CONTAINER");
    selection.put_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &OF_INTEREST);
    selection.put_sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]);
    let mut items = tree::observer(&maker.observer());
    items.push(tree::text(&DESCRIPTION, WORDS.as_bytes(), vec![]));
    items.extend(images.iter().map(|(_, class, instance)| {
        let mut reference = DataSet::new();
        reference.put(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class);
        reference.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance);
        let mut item = DataSet::new();
        item.put(tags::RELATIONSHIP_TYPE, VR::CS, "CONTAINS");
        item.put(tags::VALUE_TYPE, VR::CS, "IMAGE");
        item.put_sequence(tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
        item
    }));
    selection.put_sequence(tags::CONTENT_SEQUENCE, items);
}
