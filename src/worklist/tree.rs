//! The content tree of a report, for people.

use dicom_dictionary_std::tags;
use maud::{Markup, html};

use crate::object::{Item, StoredObject};
use crate::spool::{ArtefactKind, JobDetail};

/// The tree of the newest version's report, folded; nothing where there is none.
pub(super) fn tree(job: &JobDetail) -> Markup {
    let mut reports = job.artefacts.iter().filter(|file| file.kind == ArtefactKind::Report);
    let file = reports.find_map(|file| StoredObject::open(&file.path).ok());
    html! {
        @if let Some(report) = file {
            section aria-labelledby="tree" {
                h2 #tree { "Report object" }
                details {
                    summary { (root(&report)) }
                    ul.tree { (node(&report.top())) }
                }
            }
        }
    }
}

fn root(report: &StoredObject) -> String {
    let value = |tag| report.value(tag).unwrap_or_default();
    let class = report.sop_class().map_or("", |class| class.name());
    format!(
        "{class}, {}, {}, {}",
        value(tags::COMPLETION_FLAG),
        value(tags::VERIFICATION_FLAG),
        report.instance_uid()
    )
}

/// A content item with those below it.
fn node(item: &Item<'_>) -> Markup {
    let children = item.items(tags::CONTENT_SEQUENCE);
    let relationship = item.value(tags::RELATIONSHIP_TYPE).unwrap_or_default().to_lowercase();
    html! {
        li {
            @if !relationship.is_empty() { span.small { (relationship) } " " }
            b { (meaning(item, tags::CONCEPT_NAME_CODE_SEQUENCE)) }
            @let value = value(item);
            @if !value.is_empty() { ": " (value) }
            @if !children.is_empty() { ul { @for child in &children { (node(child)) } } }
        }
    }
}

/// The value of an item by its value type.
fn value(item: &Item<'_>) -> String {
    let text = |tag| item.text(tag).unwrap_or_default();
    match item.value(tags::VALUE_TYPE).as_deref() {
        Some("TEXT") => text(tags::TEXT_VALUE),
        Some("CODE") => meaning(item, tags::CONCEPT_CODE_SEQUENCE),
        Some("PNAME") => text(tags::PERSON_NAME),
        Some("UIDREF") => text(tags::UID),
        Some("DATETIME") => text(tags::DATE_TIME),
        Some("NUM") => {
            let measured = item.items(tags::MEASURED_VALUE_SEQUENCE);
            let number = |value: &Item<'_>| {
                let unit = meaning(value, tags::MEASUREMENT_UNITS_CODE_SEQUENCE);
                format!("{} {unit}", value.text(tags::NUMERIC_VALUE).unwrap_or_default())
            };
            measured.first().map(number).unwrap_or_default()
        }
        Some("IMAGE" | "COMPOSITE") => {
            let named = item.items(tags::REFERENCED_SOP_SEQUENCE);
            let uid = |item: &Item<'_>| item.value(tags::REFERENCED_SOP_INSTANCE_UID);
            named.first().and_then(uid).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// A code as `Finding (121071, DCM)`.
fn meaning(item: &Item<'_>, sequence: dicom_core::Tag) -> String {
    let codes = item.items(sequence);
    let Some(code) = codes.first() else { return String::new() };
    let text = |tag| code.text(tag).unwrap_or_default();
    format!(
        "{} ({}, {})",
        text(tags::CODE_MEANING),
        text(tags::CODE_VALUE),
        text(tags::CODING_SCHEME_DESIGNATOR)
    )
}
