//! The content tree: TID 2000 Basic Diagnostic Imaging Report with TID 1001, 1002 and 1004 for
//! the observer and TID 2002 for the narrative (PS3.16).

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::SrClass;
use super::codes::{self, Code};
use super::data_set::DataSet;
use crate::report::CodedFinding;
use crate::vocabulary::Priority;

/// An image of the content tree.
#[derive(Debug, Clone)]
pub(crate) struct ImageReference {
    pub(crate) class: String,
    pub(crate) instance: String,
}

/// What the tree says; text is in the object's character set.
#[derive(Debug)]
pub(crate) struct Narrative {
    pub(crate) procedures: Vec<Code>,
    pub(crate) acquisition: Option<Code>,
    pub(crate) observer: Observer,
    /// The name of the person who signed.
    pub(crate) signer: Option<Vec<u8>>,
    pub(crate) summary: Vec<u8>,
    pub(crate) findings: Option<Vec<u8>>,
    pub(crate) coded: Vec<CodedFinding>,
    pub(crate) priority: Priority,
    pub(crate) impression: Option<Vec<u8>>,
    pub(crate) image: ImageReference,
}

/// The device that observed (TID 1004).
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) serial: String,
}

/// The items below the root, in the template's order.
pub(crate) fn items(class: SrClass, narrative: &Narrative) -> Vec<DataSet> {
    let mut items = Vec::new();
    for procedure in &narrative.procedures {
        items.push(code("HAS CONCEPT MOD", &codes::PROCEDURE_REPORTED, procedure, vec![]));
    }
    if let Some(device) = &narrative.acquisition {
        items.push(code("HAS CONCEPT MOD", &codes::ACQUISITION_DEVICE_TYPE, device, vec![]));
    }
    items.push(code("HAS CONCEPT MOD", &codes::TARGET_REGION, &codes::CHEST, vec![]));
    items.push(code("HAS CONCEPT MOD", &codes::LANGUAGE, &codes::ENGLISH, vec![]));
    items.extend(observer(&narrative.observer));
    if let Some(name) = &narrative.signer {
        items.extend(person(name));
    }
    let summary = text(&codes::SUMMARY, &narrative.summary, vec![]);
    let priority = code("CONTAINS", &codes::PRIORITY, &narrative.priority.into(), vec![]);
    items.push(section(&codes::SUMMARY, vec![summary, priority]));
    let findings = findings(class, narrative);
    if !findings.is_empty() {
        items.push(section(&codes::FINDINGS, findings));
    }
    if let Some(impression) = &narrative.impression {
        // Without findings the impression is what the image was read for.
        let sources = if narrative.findings.is_none() { source(narrative) } else { vec![] };
        items.push(section(
            &codes::IMPRESSIONS,
            vec![text(&codes::IMPRESSION, impression, sources)],
        ));
    }
    let key = image("CONTAINS", &codes::BEST_ILLUSTRATION, &narrative.image);
    items.push(section(&codes::KEY_IMAGES, vec![key]));
    items
}

pub(in crate::report) fn observer(observer: &Observer) -> Vec<DataSet> {
    const CONTEXT: &str = "HAS OBS CONTEXT";
    let mut uid = item(CONTEXT, "UIDREF", &codes::DEVICE_UID);
    uid.put(tags::UID, VR::UI, &observer.uid);
    let mut items = vec![code(CONTEXT, &codes::OBSERVER_TYPE, &codes::DEVICE, vec![]), uid];
    let texts = [
        (&codes::DEVICE_NAME, &observer.name),
        (&codes::DEVICE_MANUFACTURER, &observer.manufacturer),
        (&codes::DEVICE_MODEL_NAME, &observer.model),
        (&codes::DEVICE_SERIAL_NUMBER, &observer.serial),
    ];
    items.extend(texts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| {
        let mut item = item(CONTEXT, "TEXT", name);
        item.put(tags::TEXT_VALUE, VR::UT, value);
        item
    }));
    items
}

/// The person who took the text over (TID 1003).
fn person(name: &[u8]) -> [DataSet; 2] {
    let mut named = item("HAS OBS CONTEXT", "PNAME", &codes::PERSON_NAME);
    named.put(tags::PERSON_NAME, VR::PN, name);
    [code("HAS OBS CONTEXT", &codes::OBSERVER_TYPE, &codes::PERSON, vec![]), named]
}

fn findings(class: SrClass, narrative: &Narrative) -> Vec<DataSet> {
    let mut items = Vec::new();
    if let Some(findings) = &narrative.findings {
        items.push(text(&codes::FINDING, findings, source(narrative)));
    }
    for finding in &narrative.coded {
        let mut children = modifiers(finding);
        // Basic Text SR knows no CODE that is inferred from an IMAGE (PS3.3 §A.35.1.3.1).
        if class != SrClass::BasicText {
            children.push(image("INFERRED FROM", &codes::BEST_ILLUSTRATION, &narrative.image));
        }
        items.push(code("CONTAINS", &codes::FINDING, &finding.observation.into(), children));
    }
    items
}

/// How certain a finding is, on which side, and how much of it there is.
fn modifiers(finding: &CodedFinding) -> Vec<DataSet> {
    const MODIFIER: &str = "HAS CONCEPT MOD";
    let presence = if finding.possible { codes::EQUIVOCAL } else { codes::PRESENT };
    let mut items = vec![code(MODIFIER, &codes::PRESENCE, &presence, vec![])];
    if let Some(score) = finding.score {
        let mut probability = item(MODIFIER, "TEXT", &codes::PROBABILITY);
        probability.put(tags::TEXT_VALUE, VR::UT, format!("{score:.2}"));
        items.push(probability);
    }
    if let Some(side) = finding.laterality {
        items.push(code(MODIFIER, &codes::LATERALITY, &side.into(), vec![]));
    }
    if let Some(severity) = finding.severity {
        items.push(code(MODIFIER, &codes::SEVERITY, &severity.into(), vec![]));
    }
    items
}

fn source(narrative: &Narrative) -> Vec<DataSet> {
    vec![image("INFERRED FROM", &codes::SOURCE_OF_MEASUREMENT, &narrative.image)]
}

pub(in crate::report) fn item(relationship: &str, value_type: &str, name: &Code) -> DataSet {
    let mut item = DataSet::new();
    item.put(tags::RELATIONSHIP_TYPE, VR::CS, relationship);
    item.put(tags::VALUE_TYPE, VR::CS, value_type);
    item.put_code(tags::CONCEPT_NAME_CODE_SEQUENCE, name);
    item
}

fn section(name: &Code, children: Vec<DataSet>) -> DataSet {
    let mut item = item("CONTAINS", "CONTAINER", name);
    item.put(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
    item.put_sequence(tags::CONTENT_SEQUENCE, children);
    item
}

pub(in crate::report) fn text(name: &Code, value: &[u8], children: Vec<DataSet>) -> DataSet {
    let mut item = item("CONTAINS", "TEXT", name);
    item.put(tags::TEXT_VALUE, VR::UT, value);
    with_children(item, children)
}

fn code(relationship: &str, name: &Code, value: &Code, children: Vec<DataSet>) -> DataSet {
    let mut item = item(relationship, "CODE", name);
    item.put_code(tags::CONCEPT_CODE_SEQUENCE, value);
    with_children(item, children)
}

fn image(relationship: &str, name: &Code, image: &ImageReference) -> DataSet {
    let mut reference = DataSet::new();
    reference.put(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &image.class);
    reference.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &image.instance);
    let mut item = item(relationship, "IMAGE", name);
    item.put_sequence(tags::REFERENCED_SOP_SEQUENCE, vec![reference]);
    item
}

fn with_children(mut item: DataSet, children: Vec<DataSet>) -> DataSet {
    if !children.is_empty() {
        item.put_sequence(tags::CONTENT_SEQUENCE, children);
    }
    item
}
