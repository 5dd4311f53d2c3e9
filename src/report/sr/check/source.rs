//! A report against what it was built from: the image drafted from and all images of the job.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags;

use super::{Findings, Violation};
use crate::object::StoredObject;
use crate::report::Evidence;
use crate::report::sr::copied;
use crate::report::sr::view::View;

/// Everything in which a report differs from its source: patient, study and request attributes
/// that are not the source's bytes, and images that the evidence lacks or adds.
pub fn check_against(
    report: &StoredObject,
    source: &StoredObject,
    evidence: &[Evidence],
) -> Vec<Violation> {
    let mut findings = Findings::default();
    if report.study_uid() != source.study_uid() {
        findings.add("StudyInstanceUID", "is another than the source's");
    }
    for copied in copied::ATTRIBUTES {
        // In UTF-8 what is copied may be ASCII only, which is the same bytes in both.
        let utf8 = copied.tag == tags::SPECIFIC_CHARACTER_SET
            && value(report, copied.tag) == b"ISO_IR 192"
            && copied::ATTRIBUTES.iter().all(|copied| value(source, copied.tag).is_ascii());
        if value(report, copied.tag) != value(source, copied.tag) && !utf8 {
            findings.add(copied.tag.to_string(), "is not what the source holds");
        }
    }
    for (tag, of_item) in copied::SEQUENCES {
        let (copies, originals) = (report.items(*tag), source.items(*tag));
        let same = copies.len() == originals.len()
            && copies.iter().zip(&originals).all(|(copy, original)| {
                of_item.iter().all(|(tag, _)| value(copy, *tag) == value(original, *tag))
            });
        if !same {
            findings.add(tag.to_string(), "is not what the source holds");
        }
    }
    let requests = report.items(tags::REFERENCED_REQUEST_SEQUENCE).len();
    if requests != copied::requests(source).len() {
        findings.add("ReferencedRequestSequence", "does not hold the source's requests");
    }
    if !held(report).eq(&wanted(evidence)) {
        let place = "CurrentRequestedProcedureEvidenceSequence";
        findings.add(place, "does not hold the job's images, each in its series and class");
    }
    findings.0
}

/// Bytes without the padding that a copy may add.
fn value(object: &impl View, tag: dicom_core::Tag) -> &[u8] {
    let bytes = object.bytes(tag).unwrap_or_default();
    let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

type Images = BTreeSet<(String, String, String)>;

fn wanted(evidence: &[Evidence]) -> Images {
    evidence
        .iter()
        .map(|image| {
            (image.series.to_string(), image.sop_class.to_string(), image.instance.to_string())
        })
        .collect()
}

fn held(report: &StoredObject) -> Images {
    let mut images = Images::new();
    for study in report.items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE) {
        for series in study.items(tags::REFERENCED_SERIES_SEQUENCE) {
            for image in series.items(tags::REFERENCED_SOP_SEQUENCE) {
                images.insert((
                    series.ascii(tags::SERIES_INSTANCE_UID),
                    image.ascii(tags::REFERENCED_SOP_CLASS_UID),
                    image.ascii(tags::REFERENCED_SOP_INSTANCE_UID),
                ));
            }
        }
    }
    images
}
