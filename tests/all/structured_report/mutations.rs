//! A good report broken in 105 ways, and who notices.

use std::path::{Path, PathBuf};

use dicom_core::VR;
use dicom_dictionary_std::tags;
use serde::Deserialize;
use tempfile::TempDir;
use thorascribe::object::StoredObject;
use thorascribe::report::sr::SrClass;
use thorascribe::report::sr::check::{check, check_against};

use super::source::{Source, named, radiograph};
use super::validators::{dcentvfy, dciodvfy, dsrdump};
use super::{TEXT, draft, report};
use crate::support::modality::python;
use crate::support::objects::root;
use crate::support::process::succeed;

#[derive(Debug, Deserialize)]
struct Mutation {
    name: String,
    file: PathBuf,
    /// Why it is no fault by the standard.
    lawful: Option<String>,
}

/// What the project's own check has against a file; one that cannot be opened is refused.
fn own(file: &Path, source: &Source, other: &Source) -> Vec<String> {
    let report = match StoredObject::open(file) {
        Ok(report) => report,
        Err(error) => return vec![format!("cannot be read: {error}")],
    };
    let evidence = [source.evidence(), other.evidence()];
    check(&report)
        .into_iter()
        .chain(check_against(&report, &source.object, &evidence))
        .map(|violation| violation.to_string())
        .collect()
}

#[test]
fn every_fault_of_105_is_caught() {
    let folder = TempDir::new().unwrap();
    let mut images = ["1", "2"].map(|number| radiograph(named("UTF-8"), number));
    for image in &mut images {
        image.put(tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, "+0100");
    }
    let [source, other] =
        [0, 1].map(|n| Source::new(&images[n], folder.path().join(format!("image{n}.dcm"))));
    let evidence = [source.evidence(), other.evidence()];
    let mut command = python();
    command.arg(root().join("tests/all/structured_report/mutations.py"));
    for class in [SrClass::Enhanced, SrClass::BasicText, SrClass::Comprehensive] {
        let path = folder.path().join(format!("{class:?}.dcm"));
        std::fs::write(&path, report(class, &source, &evidence, &draft(TEXT)).bytes).unwrap();
        assert_eq!(own(&path, &source, &other), Vec::<String>::new());
        command.arg(path);
    }
    let listing = succeed(command.arg(folder.path()));
    let mutations: Vec<Mutation> =
        listing.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(mutations.len(), 105);

    let mut missed = Vec::new();
    for mutation in &mutations {
        let complaints = [
            ("dciodvfy", dciodvfy(&mutation.file)),
            ("dcentvfy", dcentvfy(&[&source.path, &other.path, &mutation.file])),
            ("dsrdump", dsrdump(&mutation.file)),
            ("own check", own(&mutation.file, &source, &other)),
        ];
        let caught: Vec<&str> =
            complaints.iter().filter(|(_, found)| !found.is_empty()).map(|(who, _)| *who).collect();
        let first = complaints.iter().rev().find_map(|(_, found)| found.first());
        println!(
            "{:46} | {:40} | {}",
            mutation.name,
            caught.join(", "),
            mutation.lawful.as_deref().or(first.map(String::as_str)).unwrap_or("-"),
        );
        match &mutation.lawful {
            None if caught.is_empty() => missed.push(&mutation.name),
            Some(_) if !caught.is_empty() => missed.push(&mutation.name),
            _ => {}
        }
    }
    assert!(missed.is_empty(), "missed faults, or complaints about what is lawful: {missed:?}");
}
