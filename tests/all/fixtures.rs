//! The fixtures are what their index says, and what the standard asks.

use std::collections::BTreeSet;

use tempfile::TempDir;
use thorascribe::object::StoredObject;
use thorascribe::radiograph::eligible::eligibility;
use thorascribe::vocabulary::TransferSyntax;

use super::support::fixtures;
use super::support::objects::root;
use super::support::orthanc::standard_errors;

#[test]
fn the_index_names_every_fixture_and_they_cover_every_transfer_syntax() {
    let indexed: BTreeSet<_> = fixtures().iter().map(|f| f.file.clone()).collect();
    let present: BTreeSet<_> = std::fs::read_dir(root().join("fixtures/dicom"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.json")
        .collect();
    assert_eq!(indexed, present);
    let syntaxes: BTreeSet<_> = fixtures().iter().map(|f| f.transfer_syntax.as_str()).collect();
    let all: BTreeSet<_> = TransferSyntax::ALL.iter().map(|syntax| syntax.uid()).collect();
    assert_eq!(syntaxes, all);
}

#[test]
fn the_node_reads_the_identity_of_every_fixture() {
    for fixture in fixtures() {
        let object = StoredObject::open(&fixture.path())
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.file));
        assert_eq!(object.transfer_syntax().uid(), fixture.transfer_syntax, "{}", fixture.file);
        assert_eq!(object.sop_class_uid().as_str(), fixture.sop_class, "{}", fixture.file);
        assert_eq!(object.study_uid().as_str(), fixture.study, "{}", fixture.file);
        assert_eq!(object.series_uid().as_str(), fixture.series, "{}", fixture.file);
        assert_eq!(object.instance_uid().as_str(), fixture.instance, "{}", fixture.file);
    }
}

#[test]
fn the_node_may_draft_from_the_fixtures_that_the_index_says() {
    for fixture in fixtures() {
        let object = StoredObject::open(&fixture.path()).unwrap();
        match eligibility(&object, false) {
            Ok(_) => assert!(fixture.eligible, "{} counts as eligible", fixture.file),
            Err(reason) => {
                let reason = reason.to_string();
                assert!(!fixture.eligible, "{} is skipped: {reason}", fixture.file);
                let named = reason.to_lowercase().contains(&fixture.reason);
                assert!(named, "{}: {reason:?} does not name {:?}", fixture.file, fixture.reason);
            }
        }
    }
}

#[test]
fn a_copy_differs_in_its_uids_alone() {
    let folder = TempDir::new().unwrap();
    for fixture in fixtures() {
        let copy = fixture.copy(folder.path(), "copy");
        let (old, new) = (
            StoredObject::open(&fixture.path()).unwrap(),
            StoredObject::open(&copy.path).unwrap_or_else(|e| panic!("{}: {e}", fixture.file)),
        );
        assert_eq!(new.study_uid().as_str(), copy.study);
        assert_eq!(new.series_uid().as_str(), copy.series);
        assert_eq!(new.instance_uid().as_str(), copy.instance);
        assert_ne!(new.instance_uid(), old.instance_uid());
        assert_eq!(
            new.text(dicom_dictionary_std::tags::PATIENT_NAME),
            old.text(dicom_dictionary_std::tags::PATIENT_NAME)
        );
    }
}

#[test]
fn the_fixtures_are_standard_objects() {
    // dciodvfy reads neither the deflated syntax nor High-Throughput JPEG 2000, and one fixture
    // lacks the body part that its class asks for, as real ones do.
    let unread = ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.20"];
    for fixture in fixtures() {
        if unread.iter().any(|syntax| fixture.transfer_syntax.starts_with(syntax)) {
            continue;
        }
        let mut errors = standard_errors(&fixture.path());
        if fixture.file == "cr-description-only.dcm" {
            errors.retain(|error| !error.contains("BodyPartExamined"));
        }
        assert!(errors.is_empty(), "{}: {errors:#?}", fixture.file);
    }
}
