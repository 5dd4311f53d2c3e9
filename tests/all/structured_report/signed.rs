//! Reports that a physician signed.

use dicom_dictionary_std::tags;
use tempfile::TempDir;
use thorascribe::report::sr::SrClass;
use thorascribe::report::sr::build;
use thorascribe::report::sr::check::check;
use thorascribe::report::{Created, Draft, NodeIdentity, Predecessor, Verification};
use thorascribe::vocabulary::PatientText;

use super::source::{SETS, Source, named, radiograph};
use super::{TEXT, complaints, draft, report, written};

/// What every set holds.
const ASCII: &str = "The heart is normal. There is no effusion. Impression: no acute disease.";

fn signed(older: &Source, edited: bool) -> Draft {
    let moment = jiff::civil::date(2026, 11, 24).at(8, 0, 0, 0);
    Draft {
        version: 2,
        predecessors: vec![Predecessor {
            sop_class: older.object.sop_class_uid().clone(),
            instance: older.object.instance_uid().clone(),
            study: older.object.study_uid().clone(),
            series: older.object.series_uid().clone(),
        }],
        verification: Some(Verification {
            name: "Müller^Jane^^Dr.".to_owned(),
            organization: String::new(),
            at: Created::new(moment, 60).unwrap(),
            edited,
        }),
        ..draft(ASCII)
    }
}

#[test]
fn signed_reports_in_every_class_and_character_set_pass_every_validator() {
    let folder = TempDir::new().unwrap();
    for set in &SETS {
        let source = Source::new(&radiograph(set, "1"), folder.path().join("image.dcm"));
        let evidence = [source.evidence()];
        for class in SrClass::ALL {
            let file = report(class, &source, &evidence, &draft(TEXT));
            let older = written(&file, folder.path().join("draft.dcm"));
            let file = report(class, &source, &evidence, &signed(&older, true));
            let report = written(&file, folder.path().join("report.dcm"));
            let complaints = complaints(&report, &source, &evidence);
            assert!(complaints.is_empty(), "{} {class:?}: {complaints:#?}", set.label);
        }
    }
}

#[test]
fn a_signed_report_names_who_took_it_over_and_the_draft() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(&radiograph(named("Latin-1"), "1"), folder.path().join("image.dcm"));
    let evidence = [source.evidence()];
    let file = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
    let older = written(&file, folder.path().join("draft.dcm"));
    for edited in [false, true] {
        let file = report(SrClass::Enhanced, &source, &evidence, &signed(&older, edited));
        let report = written(&file, folder.path().join("report.dcm")).object;
        let value = |tag| report.value(tag).unwrap_or_default();
        assert_eq!(value(tags::VERIFICATION_FLAG), "VERIFIED");
        assert_eq!(value(tags::COMPLETION_FLAG), "COMPLETE");
        assert_eq!(value(tags::PRELIMINARY_FLAG), "FINAL");
        assert_eq!(value(tags::INSTANCE_NUMBER), "2");
        let people = report.items(tags::VERIFYING_OBSERVER_SEQUENCE);
        assert_eq!(people.len(), 1);
        let name = people[0].person_name(tags::VERIFYING_OBSERVER_NAME).unwrap();
        assert_eq!(name.alphabetic, "Müller^Jane^^Dr.");
        let at = people[0].value(tags::VERIFICATION_DATE_TIME).unwrap();
        assert_eq!(at, "20261124080000.000000+0100");
        let institution = source.object.text(tags::INSTITUTION_NAME).unwrap();
        assert_eq!(people[0].text(tags::VERIFYING_ORGANIZATION).unwrap(), institution);
        let authors = report.items(tags::AUTHOR_OBSERVER_SEQUENCE).len();
        assert_eq!(authors, if edited { 2 } else { 1 });
        let predecessors = report.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE);
        let series = predecessors[0].items(tags::REFERENCED_SERIES_SEQUENCE);
        let named = series[0].items(tags::REFERENCED_SOP_SEQUENCE);
        let instance = named[0].value(tags::REFERENCED_SOP_INSTANCE_UID).unwrap();
        assert_eq!(instance, older.object.instance_uid().as_str());
    }
}

#[test]
fn letters_beyond_the_image_s_set_make_a_report_in_utf_8_or_none_but_are_never_changed() {
    let folder = TempDir::new().unwrap();
    for (label, text, kept) in [
        ("none", "Herzgröße normal — 心臓 ok.", true),
        ("Latin-1", "Herzgröße normal — 5 µm.", true),
        ("Latin-1", "心臓 ok.", false),
        ("Japanese (IR 87)", "心臓 ok.", false),
        ("UTF-8", "心臓 ok.", true),
    ] {
        let source = Source::new(&radiograph(named(label), "1"), folder.path().join("image.dcm"));
        let evidence = [source.evidence()];
        let older = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
        let older = written(&older, folder.path().join("draft.dcm"));
        let draft = Draft { text: PatientText::new(text), ..signed(&older, true) };
        let node = NodeIdentity::new(&"THORASCRIBE".parse().unwrap());
        let built = build(SrClass::Enhanced, &source.object, &evidence, &draft, &node);
        if !kept {
            let why = built.unwrap_err().to_string();
            assert!(why.contains("心臓") && why.contains("character set"), "{label}: {why}");
            continue;
        }
        let report = written(&built.unwrap(), folder.path().join("report.dcm"));
        let complaints = complaints(&report, &source, &evidence);
        assert!(complaints.is_empty(), "{label}: {complaints:#?}");
        let items = report.object.items(tags::CONTENT_SEQUENCE);
        let sections = items.iter().flat_map(|item| item.items(tags::CONTENT_SEQUENCE));
        let texts = sections.filter_map(|item| item.text(tags::TEXT_VALUE)).collect::<Vec<_>>();
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let wanted = letters(text);
        assert!(texts.iter().any(|text| letters(text).contains(&wanted)), "{label}: {texts:?}");
    }
}

#[test]
fn the_same_signature_gives_the_same_object_and_another_one_another() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(&radiograph(named("UTF-8"), "1"), folder.path().join("image.dcm"));
    let evidence = [source.evidence()];
    let file = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
    let older = written(&file, folder.path().join("draft.dcm"));
    let once = report(SrClass::Enhanced, &source, &evidence, &signed(&older, false));
    let again = report(SrClass::Enhanced, &source, &evidence, &signed(&older, false));
    assert_eq!(once, again);
    let mut other = signed(&older, false);
    other.verification.as_mut().unwrap().name = "Doe^John".to_owned();
    let other = report(SrClass::Enhanced, &source, &evidence, &other);
    assert!(other.instance != once.instance && other.series != once.series);
    assert!(once.instance != file.instance);
}

#[test]
fn a_signature_without_a_draft_is_seen() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(&radiograph(named("UTF-8"), "1"), folder.path().join("image.dcm"));
    let evidence = [source.evidence()];
    let file = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
    let older = written(&file, folder.path().join("draft.dcm"));
    let alone = Draft { predecessors: Vec::new(), ..signed(&older, true) };
    let file = report(SrClass::Enhanced, &source, &evidence, &alone);
    let report = written(&file, folder.path().join("report.dcm"));
    let places: Vec<_> = check(&report.object).into_iter().map(|v| v.place).collect();
    assert_eq!(places, ["PredecessorDocumentsSequence"]);
}
