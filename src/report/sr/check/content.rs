//! The content tree against TID 2000 and the relationships of its SR class (PS3.3 §A.35).

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::attributes::{check_code_lengths, check_uid, shown};
use super::text::{charset, check_value};
use super::{Findings, Violation};
use crate::object::{Item, StoredObject};
use crate::report::sr::SrClass;
use crate::report::sr::codes::{self, Code};
use crate::report::sr::verified::Status;
use crate::report::sr::view::View;

/// Rows below the root that must be there once, in this order (TID 2000 rows 5 and 7, TID 1204,
/// TID 1002, TID 1004; the summary that says what the text is).
const MANDATORY: [Code; 10] = [
    codes::TARGET_REGION,
    codes::LANGUAGE,
    codes::OBSERVER_TYPE,
    codes::DEVICE_UID,
    codes::DEVICE_NAME,
    codes::DEVICE_MANUFACTURER,
    codes::DEVICE_MODEL_NAME,
    codes::DEVICE_SERIAL_NUMBER,
    codes::SUMMARY,
    codes::KEY_IMAGES,
];

/// Rows below the root, in the template's order, each with its relationship and value type.
const ROWS: [(Code, &str, &str); 15] = [
    (codes::PROCEDURE_REPORTED, "HAS CONCEPT MOD", "CODE"),
    (codes::ACQUISITION_DEVICE_TYPE, "HAS CONCEPT MOD", "CODE"),
    (codes::TARGET_REGION, "HAS CONCEPT MOD", "CODE"),
    (codes::LANGUAGE, "HAS CONCEPT MOD", "CODE"),
    (codes::OBSERVER_TYPE, "HAS OBS CONTEXT", "CODE"),
    (codes::DEVICE_UID, "HAS OBS CONTEXT", "UIDREF"),
    (codes::DEVICE_NAME, "HAS OBS CONTEXT", "TEXT"),
    (codes::DEVICE_MANUFACTURER, "HAS OBS CONTEXT", "TEXT"),
    (codes::DEVICE_MODEL_NAME, "HAS OBS CONTEXT", "TEXT"),
    (codes::DEVICE_SERIAL_NUMBER, "HAS OBS CONTEXT", "TEXT"),
    (codes::PERSON_NAME, "HAS OBS CONTEXT", "PNAME"),
    (codes::SUMMARY, "CONTAINS", "CONTAINER"),
    (codes::FINDINGS, "CONTAINS", "CONTAINER"),
    (codes::IMPRESSIONS, "CONTAINS", "CONTAINER"),
    (codes::KEY_IMAGES, "CONTAINS", "CONTAINER"),
];

/// Items of a section, each with its value type.
const NARRATIVE: [(Code, &str); 6] = [
    (codes::SUMMARY, "TEXT"),
    (codes::PRIORITY, "CODE"),
    (codes::FINDING, "TEXT"),
    (codes::FINDING, "CODE"),
    (codes::IMPRESSION, "TEXT"),
    (codes::BEST_ILLUSTRATION, "IMAGE"),
];

/// What may qualify a coded finding, each with its value type.
const MODIFIERS: [(Code, &str); 4] = [
    (codes::PRESENCE, "CODE"),
    (codes::PROBABILITY, "TEXT"),
    (codes::LATERALITY, "CODE"),
    (codes::SEVERITY, "CODE"),
];

/// The images of the evidence: instance → class.
type Evidence = BTreeMap<String, String>;

struct Tree<'a> {
    class: Option<SrClass>,
    charset: &'a [u8],
    evidence: Evidence,
}

pub(super) fn check(report: &StoredObject, findings: &mut Findings) {
    let class =
        SrClass::ALL.into_iter().find(|class| Some(class.sop_class()) == report.sop_class());
    let tree = Tree { class, charset: charset(report), evidence: evidence(report, findings) };
    let items = report.items(tags::CONTENT_SEQUENCE);
    let signed = Status::claimed(report).is_signed();
    let mut row = 0;
    let mut names = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let place = format!("1.{}", number + 1);
        let Some(name) = tree.name(&place, item, findings) else { continue };
        match ROWS.iter().position(|(code, ..)| *code == name) {
            // A second observer: the person who signed.
            Some(_) if signed && name == codes::OBSERVER_TYPE => {}
            Some(at) if at < row => findings.add(&place, "is out of the template's order"),
            Some(at) => row = at,
            None => findings.add(&place, "is no row of the template"),
        }
        let wanted = ROWS.iter().find(|(code, ..)| *code == name);
        if let Some((_, relationship, value_type)) = wanted {
            kind(&place, item, relationship, value_type, findings);
        }
        tree.value(&place, item, &name, findings);
        if item.ascii(tags::VALUE_TYPE) == "CONTAINER" {
            tree.section(&place, item, findings);
        } else if !item.items(tags::CONTENT_SEQUENCE).is_empty() {
            findings.add(&place, "may hold no items");
        }
        names.push(name);
    }
    let person = (&codes::PERSON_NAME, usize::from(signed));
    let observers = |code: &Code| 1 + usize::from(signed && *code == codes::OBSERVER_TYPE);
    let wanted = MANDATORY.iter().map(|code| (code, observers(code))).chain([person]);
    for (code, wanted) in wanted {
        let count = names.iter().filter(|name| *name == code).count();
        if count != wanted {
            let meaning = String::from_utf8_lossy(&code.meaning).into_owned();
            findings.add("ContentSequence", format!("has {count} items {meaning:?}, not {wanted}"));
        }
    }
    if !names.iter().any(|name| [codes::FINDINGS, codes::IMPRESSIONS].contains(name)) {
        findings.add("ContentSequence", "has neither findings nor impressions");
    }
    observer(report, &items, findings);
}

/// The observer of the tree is the device of the equipment.
fn observer(report: &StoredObject, items: &[Item<'_>], findings: &mut Findings) {
    let uid = items.iter().find_map(|item| item.trimmed(tags::UID));
    if uid != report.trimmed(tags::DEVICE_UID) {
        findings.add("ContentSequence", "names another device than the equipment");
    }
}

fn evidence(report: &StoredObject, findings: &mut Findings) -> Evidence {
    let mut images = Evidence::new();
    let name = "CurrentRequestedProcedureEvidenceSequence";
    for study in report.items(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE) {
        if study.ascii(tags::STUDY_INSTANCE_UID) != report.study_uid().as_str() {
            findings.add(name, "holds another study");
        }
        for series in study.items(tags::REFERENCED_SERIES_SEQUENCE) {
            check_uid(name, &series.ascii(tags::SERIES_INSTANCE_UID), findings);
            for image in series.items(tags::REFERENCED_SOP_SEQUENCE) {
                let instance = image.ascii(tags::REFERENCED_SOP_INSTANCE_UID);
                check_uid(name, &instance, findings);
                let class = image.ascii(tags::REFERENCED_SOP_CLASS_UID);
                if images.insert(instance, class).is_some() {
                    findings.add(name, "names an image twice");
                }
            }
        }
    }
    if images.is_empty() {
        findings.add(name, "names no image");
    }
    images
}

impl Tree<'_> {
    /// A section holds narrative of its value types, and at least one item.
    fn section(&self, place: &str, section: &Item<'_>, findings: &mut Findings) {
        if section.ascii(tags::CONTINUITY_OF_CONTENT) != "SEPARATE" {
            findings.add(place, "has no ContinuityOfContent SEPARATE");
        }
        let items = section.items(tags::CONTENT_SEQUENCE);
        if items.is_empty() {
            findings.add(place, "is an empty section");
        }
        for (number, item) in items.iter().enumerate() {
            let place = format!("{place}.{}", number + 1);
            let Some(name) = self.name(&place, item, findings) else { continue };
            let value_type = item.ascii(tags::VALUE_TYPE);
            if !NARRATIVE.iter().any(|(code, kind)| *code == name && *kind == value_type) {
                findings.add(&place, format!("is no {:?} of TID 2002", shown(&value_type)));
            }
            kind(&place, item, "CONTAINS", &value_type, findings);
            self.value(&place, item, &name, findings);
            self.sources(&place, item, &value_type, findings);
        }
    }

    /// What an item of a section was inferred from: images alone, and none below a CODE of a
    /// Basic Text SR.
    fn sources(&self, place: &str, item: &Item<'_>, value_type: &str, findings: &mut Findings) {
        let children = item.items(tags::CONTENT_SEQUENCE);
        if item.element(tags::CONTENT_SEQUENCE).is_some() && children.is_empty() {
            findings.add(place, "has a ContentSequence without items");
        }
        let basic_code = self.class == Some(SrClass::BasicText) && value_type == "CODE";
        let modifier = |item: &Item<'_>| item.ascii(tags::RELATIONSHIP_TYPE) == "HAS CONCEPT MOD";
        let modified = value_type == "CODE";
        let sources = children.iter().any(|child| !(modified && modifier(child)));
        if sources && (basic_code || value_type == "IMAGE") {
            findings.add(place, format!("a {value_type} may hold no items in this SR class"));
        }
        for (number, child) in children.iter().enumerate() {
            let place = format!("{place}.{}", number + 1);
            let Some(name) = self.name(&place, child, findings) else { continue };
            if modified && modifier(child) {
                self.modifier(&place, child, &name, findings);
                continue;
            }
            if ![codes::SOURCE_OF_MEASUREMENT, codes::BEST_ILLUSTRATION].contains(&name) {
                findings.add(&place, "is no purpose of reference of TID 2001");
            }
            kind(&place, child, "INFERRED FROM", "IMAGE", findings);
            self.value(&place, child, &name, findings);
            if !child.items(tags::CONTENT_SEQUENCE).is_empty() {
                findings.add(&place, "an IMAGE may hold no items");
            }
        }
    }

    /// What qualifies a coded finding.
    fn modifier(&self, place: &str, item: &Item<'_>, name: &Code, findings: &mut Findings) {
        let Some((_, value_type)) = MODIFIERS.iter().find(|(code, _)| code == name) else {
            findings.add(place, "is no modifier of a finding");
            return;
        };
        kind(place, item, "HAS CONCEPT MOD", value_type, findings);
        self.value(place, item, name, findings);
        if !item.items(tags::CONTENT_SEQUENCE).is_empty() {
            findings.add(place, "a modifier may hold no items");
        }
    }

    /// The one concept name of an item, checked against the table of codes.
    fn name(&self, place: &str, item: &Item<'_>, findings: &mut Findings) -> Option<Code> {
        self.code(place, item, tags::CONCEPT_NAME_CODE_SEQUENCE, true, findings)
    }

    fn code(
        &self,
        place: &str,
        item: &Item<'_>,
        tag: Tag,
        known: bool,
        findings: &mut Findings,
    ) -> Option<Code> {
        let items = item.items(tag);
        let [code] = items.as_slice() else {
            findings.add(place, format!("{tag} has {} items, not 1", items.len()));
            return None;
        };
        let before = findings.0.len();
        check_code_lengths(place, code, self.charset, findings);
        if findings.0.len() > before {
            return None;
        }
        let code = item.codes(tag).pop()?;
        match Code::meaning_of(&code.value, &code.scheme) {
            Some(meaning) if *code.meaning != *meaning => {
                let problem = "a code has another meaning than its scheme gives it";
                findings.add(place, problem);
            }
            None if known => findings.add(place, "a code is none that this program uses"),
            _ => {}
        }
        Some(code)
    }

    /// The value of an item, by its value type.
    fn value(&self, place: &str, item: &Item<'_>, name: &Code, findings: &mut Findings) {
        match item.ascii(tags::VALUE_TYPE).as_str() {
            "TEXT" => {
                let text = item.bytes(tags::TEXT_VALUE).unwrap_or_default();
                check_value(place, text, self.charset, findings);
            }
            "CODE" => {
                // What the procedure was called is the source's.
                let known = *name != codes::PROCEDURE_REPORTED;
                self.code(place, item, tags::CONCEPT_CODE_SEQUENCE, known, findings);
            }
            "PNAME" => {
                let name = item.bytes(tags::PERSON_NAME).unwrap_or_default();
                check_value(place, name, self.charset, findings);
            }
            "UIDREF" => check_uid(place, &item.ascii(tags::UID), findings),
            "IMAGE" => self.image(place, item, findings),
            "CONTAINER" => {}
            other => findings.0.push(Violation {
                place: place.to_owned(),
                problem: format!("has the value type {:?}", shown(other)),
            }),
        }
    }

    fn image(&self, place: &str, item: &Item<'_>, findings: &mut Findings) {
        let references = item.items(tags::REFERENCED_SOP_SEQUENCE);
        let [reference] = references.as_slice() else {
            findings.add(place, format!("names {} images, not 1", references.len()));
            return;
        };
        let instance = reference.ascii(tags::REFERENCED_SOP_INSTANCE_UID);
        check_uid(place, &instance, findings);
        let class = reference.ascii(tags::REFERENCED_SOP_CLASS_UID);
        match self.evidence.get(&instance) {
            None => findings.add(place, "names an image that is not in the evidence"),
            Some(known) if *known != class => {
                findings.add(place, "names an image with another class than the evidence");
            }
            Some(_) => {}
        }
    }
}

fn kind(
    place: &str,
    item: &Item<'_>,
    relationship: &str,
    value_type: &str,
    findings: &mut Findings,
) {
    for (tag, wanted) in [(tags::RELATIONSHIP_TYPE, relationship), (tags::VALUE_TYPE, value_type)] {
        let found = item.ascii(tag);
        if found != wanted {
            findings.add(place, format!("{tag} is {:?}, not {wanted:?}", shown(&found)));
        }
    }
}
