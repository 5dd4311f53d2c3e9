//! Drafts as Structured Reports: what the public validators, the project's own check and an
//! archive say of them.

mod mutations;
mod signed;
mod source;
mod validators;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dicom_dictionary_std::tags;
use tempfile::TempDir;
use thorascribe::dimse::Timers;
use thorascribe::dimse::requestor::{ProposedContext, Remote, Requestor, StoreItem};
use thorascribe::findings::{Laterality, Severity};
use thorascribe::object::StoredObject;
use thorascribe::report::sr::check::{check, check_against};
use thorascribe::report::sr::{SrClass, SrFile, build};
use thorascribe::report::{
    CodedFinding, Created, Draft, Evidence, ModelIdentity, NodeIdentity, Predecessor, ReportError,
    is_own,
};
use thorascribe::vocabulary::{Observation, PatientText, Priority, TransferSyntax};

use super::support::{Orthanc, fixtures};
use source::{Elements, SETS, Source, UNKNOWN_TO_DCIODVFY, named, radiograph};
use validators::{dcentvfy, dciodvfy, dsrdump};

const TEXT: &str = "PA view. Größe des Herzens normal – no pneumothorax.\nSmall left effusion.\n\
                    Impression: No acute process.";

fn draft(text: &str) -> Draft {
    let moment = jiff::civil::date(2026, 11, 23).at(10, 20, 30, 123_000_000);
    Draft {
        text: PatientText::new(text),
        model: ModelIdentity { name: "XrayGPT 7B".to_owned(), digest: "0123abcd".repeat(8) },
        prompt: "Describe the radiograph.".to_owned(),
        sampling: "greedy".to_owned(),
        version: 1,
        created: Created::new(moment, 60).unwrap(),
        predecessors: Vec::new(),
        findings: coded(),
        priority: Priority::Urgent,
        program_version: "0.1.0".to_owned(),
        verification: None,
    }
}

/// Every observation, with every side, severity and certainty among them.
fn coded() -> Vec<CodedFinding> {
    let sides =
        [None, Some(Laterality::Left), Some(Laterality::Right), Some(Laterality::Bilateral)];
    let severities = [
        None,
        Some(Severity::Minimal),
        Some(Severity::Small),
        Some(Severity::Mild),
        Some(Severity::Moderate),
        Some(Severity::Large),
        Some(Severity::Severe),
    ];
    let one = |(number, observation): (usize, Observation)| CodedFinding {
        observation,
        possible: number % 2 == 1,
        laterality: sides[number % sides.len()],
        severity: severities[number % severities.len()],
        score: (number % 3 > 0).then_some(number as f32 / 21.0),
    };
    Observation::ALL.into_iter().enumerate().map(one).collect()
}

fn node() -> NodeIdentity {
    NodeIdentity::new(&"THORASCRIBE".parse().unwrap())
}

fn report(class: SrClass, source: &Source, evidence: &[Evidence], draft: &Draft) -> SrFile {
    build(class, &source.object, evidence, draft, &node()).unwrap()
}

/// Writes a report and opens it again.
fn written(file: &SrFile, path: PathBuf) -> Source {
    std::fs::write(&path, &file.bytes).unwrap();
    let source = Source::open(path);
    assert_eq!(source.object.data_set_offset(), file.data_set_offset);
    assert_eq!(source.object.instance_uid(), &file.instance);
    source
}

/// Every complaint about a report from all of the validators.
fn complaints(report: &Source, source: &Source, evidence: &[Evidence]) -> Vec<String> {
    let own = check(&report.object)
        .into_iter()
        .chain(check_against(&report.object, &source.object, evidence))
        .map(|violation| violation.to_string());
    let mut all: Vec<String> = own.collect();
    all.extend(dciodvfy(&report.path));
    all.extend(dsrdump(&report.path));
    all.extend(dcentvfy(&[&source.path, &report.path]));
    all
}

#[test]
fn reports_in_every_character_set_pass_every_validator() {
    let folder = TempDir::new().unwrap();
    let known = SETS.iter().map(|set| (set, true));
    for (set, known) in known.chain(UNKNOWN_TO_DCIODVFY.iter().map(|set| (set, false))) {
        let source = Source::new(&radiograph(set, "1"), folder.path().join("image.dcm"));
        let evidence = [source.evidence()];
        for class in SrClass::ALL {
            let text = if known { TEXT } else { "Herzgröße – normal" };
            let file = report(class, &source, &evidence, &draft(text));
            let report = written(&file, folder.path().join("report.dcm"));
            let mut complaints = complaints(&report, &source, &evidence);
            if !known {
                complaints.retain(|text| {
                    !text.contains("Character invalid for character repertoire")
                        && !text.contains("contains invalid data values for Value Representations")
                });
            }
            assert!(complaints.is_empty(), "{} {class:?}: {complaints:#?}", set.label);
            let name = report.object.element(tags::PATIENT_NAME).unwrap().value;
            assert_eq!(name.strip_suffix(b" ").unwrap_or(name), set.name, "{}", set.label);
            let declared = report.object.element(tags::SPECIFIC_CHARACTER_SET).map(|e| e.value);
            let original = source.object.element(tags::SPECIFIC_CHARACTER_SET).map(|e| e.value);
            assert_eq!(declared, original, "{}", set.label);
        }
    }
}

#[test]
fn reports_on_every_fixture_pass_every_validator() {
    let folder = TempDir::new().unwrap();
    let (mut syntaxes, mut compared) = (BTreeSet::new(), 0);
    for fixture in fixtures().iter().filter(|fixture| fixture.eligible) {
        let source = Source::open(fixture.path());
        syntaxes.insert(source.object.transfer_syntax());
        let evidence = [source.evidence()];
        let file = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
        let report = written(&file, folder.path().join("report.dcm"));
        let mut complaints = complaints(&report, &source, &evidence);
        // dcentvfy cannot read deflated and High-Throughput JPEG 2000 images.
        let unreadable = dcentvfy(&[&source.path]);
        complaints.retain(|text| !unreadable.contains(text));
        compared += usize::from(unreadable.is_empty());
        assert!(complaints.is_empty(), "{}: {complaints:#?}", fixture.file);
    }
    assert!(syntaxes.len() >= 12 && compared >= 20, "{syntaxes:?}, {compared} by dcentvfy");
}

/// The value of the first findings text of a report.
fn findings(report: &StoredObject) -> Vec<u8> {
    let sections = report.items(tags::CONTENT_SEQUENCE);
    let texts = sections.iter().flat_map(|section| section.items(tags::CONTENT_SEQUENCE));
    let mut values = texts.filter_map(|item| Some(item.element(tags::TEXT_VALUE)?.value.to_vec()));
    values.nth(1).unwrap()
}

#[test]
fn text_is_kept_where_the_source_s_set_holds_it_and_transliterated_elsewhere() {
    let folder = TempDir::new().unwrap();
    for (label, wanted) in [
        ("none", b"Grosse Zi\r\n fin ".as_slice()),
        ("Latin-1", b"Gr\xf6\xdfe Zi\r\n fin "),
        ("UTF-8", "Größe 字\r\n fin".as_bytes()),
        ("Japanese (IR 87)", b"Grosse Zi\r\n fin "),
    ] {
        let source = Source::new(&radiograph(named(label), "1"), folder.path().join("image.dcm"));
        let evidence = [source.evidence()];
        let hostile = draft("Gr\u{f6}\u{df}e \u{1b}\u{0}字\r\n\tfin\u{7}");
        let file = report(SrClass::Enhanced, &source, &evidence, &hostile);
        let report = written(&file, folder.path().join("report.dcm"));
        let text = findings(&report.object);
        assert_eq!(text.trim_ascii_end(), wanted.trim_ascii_end(), "{label}");
        let complaints = complaints(&report, &source, &evidence);
        assert!(complaints.is_empty(), "{label}: {complaints:#?}");
    }
}

#[test]
fn the_same_draft_is_the_same_object_and_another_text_another() {
    let folder = TempDir::new().unwrap();
    let set = named("Latin-1");
    let first = Source::new(&radiograph(set, "1"), folder.path().join("1.dcm"));
    let second = Source::new(&radiograph(set, "2"), folder.path().join("2.dcm"));
    let evidence = [first.evidence(), second.evidence()];
    let built = report(SrClass::Enhanced, &first, &evidence, &draft(TEXT));
    // A draft that was stored and read again, images in another order: as after a crash.
    let stored = serde_json::to_string(&draft(TEXT)).unwrap();
    let restored: Draft = serde_json::from_str(&stored).unwrap();
    let turned = [second.evidence(), first.evidence()];
    assert_eq!(report(SrClass::Enhanced, &first, &turned, &restored), built);

    let mut others = vec![report(SrClass::BasicText, &first, &evidence, &draft(TEXT))];
    others.push(report(SrClass::Enhanced, &first, &evidence, &draft("Other text.")));
    others.push(report(SrClass::Enhanced, &first, &evidence[..1], &draft(TEXT)));
    let mut changed = evidence.clone();
    changed[1].digest = "d2".to_owned();
    others.push(report(SrClass::Enhanced, &first, &changed, &draft(TEXT)));
    for change in [
        |draft: &mut Draft| draft.version = 2,
        |draft: &mut Draft| draft.model.digest = "f".repeat(64),
        |draft: &mut Draft| "Other".clone_into(&mut draft.prompt),
        |draft: &mut Draft| "temperature 0.7".clone_into(&mut draft.sampling),
    ] {
        let mut other = draft(TEXT);
        change(&mut other);
        others.push(report(SrClass::Enhanced, &first, &evidence, &other));
    }
    others.push(built);
    let instances: BTreeSet<_> = others.iter().map(|f| &f.instance).collect();
    let series: BTreeSet<_> = others.iter().map(|f| &f.series).collect();
    assert_eq!((instances.len(), series.len()), (others.len(), others.len()));
}

#[test]
fn the_evidence_is_every_image_and_the_text_rests_on_the_one_drafted_from() {
    let folder = TempDir::new().unwrap();
    let set = named("UTF-8");
    let images: Vec<Source> = ["1", "2", "3"]
        .map(|number| {
            let path = folder.path().join(format!("{number}.dcm"));
            Source::new(&radiograph(set, number), path)
        })
        .into();
    let evidence: Vec<Evidence> = images.iter().map(Source::evidence).collect();
    let file = report(SrClass::Enhanced, &images[1], &evidence, &draft(TEXT));
    let sr = written(&file, folder.path().join("report.dcm"));
    let complaints = complaints(&sr, &images[1], &evidence);
    assert!(complaints.is_empty(), "{complaints:#?}");
    let all: Vec<&Path> =
        images.iter().map(|image| image.path.as_path()).chain([sr.path.as_path()]).collect();
    assert_eq!(dcentvfy(&all), Vec::<String>::new());
    let text = String::from_utf8_lossy(&file.bytes).into_owned();
    assert!(evidence.iter().all(|image| text.contains(image.instance.as_str())));

    let fewer = check_against(&sr.object, &images[1].object, &evidence[..2]);
    assert_eq!(fewer.len(), 1, "{fewer:?}");
    let elsewhere =
        build(SrClass::Enhanced, &images[0].object, &evidence[1..], &draft(TEXT), &node());
    assert!(matches!(elsewhere, Err(ReportError::NotInEvidence(_))));
    let blank = build(SrClass::Enhanced, &images[0].object, &evidence, &draft(" \n"), &node());
    assert!(matches!(blank, Err(ReportError::EmptyText)));
}

#[test]
fn a_revision_names_its_predecessor_of_the_same_class() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(&radiograph(named("none"), "1"), folder.path().join("image.dcm"));
    let evidence = [source.evidence()];
    let older: Vec<Predecessor> = SrClass::ALL
        .map(|class| {
            let file = report(class, &source, &evidence, &draft(TEXT));
            Predecessor {
                sop_class: class.sop_class().uid().parse().unwrap(),
                instance: file.instance,
                study: source.object.study_uid().clone(),
                series: file.series,
            }
        })
        .into();
    let mut newer = draft("Revised text.");
    newer.version = 2;
    newer.predecessors.clone_from(&older);
    let file = report(SrClass::BasicText, &source, &evidence, &newer);
    let sr = written(&file, folder.path().join("report.dcm"));
    let complaints = complaints(&sr, &source, &evidence);
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert_eq!(sr.object.value(tags::INSTANCE_NUMBER).as_deref(), Some("2"));
    let study = sr.object.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE);
    let series = study[0].items(tags::REFERENCED_SERIES_SEQUENCE);
    let images = series[0].items(tags::REFERENCED_SOP_SEQUENCE);
    let named = images[0].value(tags::REFERENCED_SOP_INSTANCE_UID).unwrap();
    assert_eq!(named, older[1].instance.as_str());
}

#[test]
fn times_are_those_of_the_source_s_zone_where_it_names_one() {
    let folder = TempDir::new().unwrap();
    let mut image = radiograph(named("none"), "1");
    let path = folder.path().join("image.dcm");
    let plain = Source::new(&image, path.clone());
    let file = report(SrClass::Enhanced, &plain, &[plain.evidence()], &draft(TEXT));
    let sr = written(&file, folder.path().join("1.dcm"));
    assert!(sr.object.element(tags::TIMEZONE_OFFSET_FROM_UTC).is_none());
    assert_eq!(sr.object.value(tags::CONTENT_TIME).as_deref(), Some("102030.123000"));

    image.put(tags::TIMEZONE_OFFSET_FROM_UTC, dicom_core::VR::SH, "-1130");
    let zoned = Source::new(&image, path);
    let file = report(SrClass::Enhanced, &zoned, &[zoned.evidence()], &draft(TEXT));
    let sr = written(&file, folder.path().join("2.dcm"));
    assert_eq!(sr.object.value(tags::TIMEZONE_OFFSET_FROM_UTC).as_deref(), Some("-1130"));
    assert_eq!(sr.object.value(tags::CONTENT_DATE).as_deref(), Some("20261122"));
    assert_eq!(sr.object.value(tags::CONTENT_TIME).as_deref(), Some("215030.123000"));
}

#[test]
fn own_reports_are_known_and_radiographs_are_not() {
    let folder = TempDir::new().unwrap();
    let source = Source::new(&radiograph(named("none"), "1"), folder.path().join("image.dcm"));
    let file = report(SrClass::Enhanced, &source, &[source.evidence()], &draft(TEXT));
    assert!(is_own(&written(&file, folder.path().join("report.dcm")).object));
    assert!(!is_own(&source.object));
}

/// A source with values that the standard forbids, and one without what it may lack.
fn odd_sources() -> Vec<(&'static str, Elements)> {
    use dicom_core::VR;
    let long = radiograph(named("Latin-1"), "1")
        .put(tags::STUDY_DESCRIPTION, VR::LO, "x".repeat(90))
        .put(tags::ACCESSION_NUMBER, VR::SH, "y".repeat(40))
        .put_items(
            tags::PROCEDURE_CODE_SEQUENCE,
            &[source::code("v".repeat(30).as_str(), "99LOCAL", "z".repeat(90))],
        )
        .clone();
    let bare = radiograph(named("none"), "1")
        .remove(tags::PATIENT_NAME)
        .remove(tags::PATIENT_ID)
        .remove(tags::STUDY_DATE)
        .remove(tags::STUDY_ID)
        .remove(tags::REFERRING_PHYSICIAN_NAME)
        .remove(tags::PROCEDURE_CODE_SEQUENCE)
        .remove(tags::REQUEST_ATTRIBUTES_SEQUENCE)
        .clone();
    let incomplete = radiograph(named("none"), "1")
        .put_items(tags::PROCEDURE_CODE_SEQUENCE, &[source::code("P1", "", "")])
        .remove(tags::REQUEST_ATTRIBUTES_SEQUENCE)
        .put(tags::REQUESTED_PROCEDURE_ID, VR::SH, "RP9")
        .clone();
    vec![("long", long), ("bare", bare), ("incomplete codes", incomplete)]
}

/// An error without the place of its attribute: `<…StudyDescription(…)[1]> - …`.
fn attribute_of(error: &str) -> String {
    let path = error.split('>').next().unwrap();
    path.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_faulty_source_is_copied_and_adds_no_other_faults() {
    let folder = TempDir::new().unwrap();
    for (label, elements) in odd_sources() {
        let source = Source::new(&elements, folder.path().join("image.dcm"));
        let evidence = [source.evidence()];
        let file = report(SrClass::Enhanced, &source, &evidence, &draft(TEXT));
        let sr = written(&file, folder.path().join("report.dcm"));
        assert_eq!(check_against(&sr.object, &source.object, &evidence), [], "{label}");
        let known: Vec<String> = dciodvfy(&source.path).iter().map(|e| attribute_of(e)).collect();
        let new: Vec<String> = dciodvfy(&sr.path)
            .into_iter()
            .filter(|error| !known.contains(&attribute_of(error)))
            .collect();
        assert_eq!(new, Vec::<String>::new(), "{label}: {known:#?}");
        assert_eq!(dsrdump(&sr.path), Vec::<String>::new(), "{label}");
    }
}

#[test]
fn items_in_characters_of_their_own_stay_so() {
    use dicom_core::VR;
    let folder = TempDir::new().unwrap();
    let code = || {
        let mut code = source::code("P1", "99LOCAL", "胸部");
        code.put(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        code
    };
    let mut request = Elements::default();
    request
        .put(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192")
        .put(tags::REQUESTED_PROCEDURE_ID, VR::SH, "RP1")
        .put(tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, "胸部")
        .put_items(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, &[code()]);
    let image = radiograph(named("Latin-1"), "1")
        .put_items(tags::PROCEDURE_CODE_SEQUENCE, &[code()])
        .put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, &[request])
        .clone();
    let source = Source::new(&image, folder.path().join("image.dcm"));
    let evidence = [source.evidence()];
    for class in SrClass::ALL {
        let file = report(class, &source, &evidence, &draft(TEXT));
        let sr = written(&file, folder.path().join("report.dcm"));
        let complaints = complaints(&sr, &source, &evidence);
        assert!(complaints.is_empty(), "{class:?}: {complaints:#?}");
        let items = sr.object.items(tags::PROCEDURE_CODE_SEQUENCE);
        assert_eq!(items[0].text(tags::CODE_MEANING).as_deref(), Some("胸部"));
    }
}

#[test]
fn an_archive_gives_back_the_data_set_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for label in ["Latin-1", "Japanese (IR 13, IR 87)", "UTF-8"] {
        let source = Source::new(&radiograph(named(label), "1"), folder.path().join("image.dcm"));
        for class in SrClass::ALL {
            let file = report(class, &source, &[source.evidence()], &draft(TEXT));
            let sr = written(&file, folder.path().join("report.dcm"));
            runtime.block_on(store(&file, &sr.path, orthanc.port()));
            let stored = orthanc.reports();
            let stored = stored.iter().find(|r| r.instance == file.instance.as_str()).unwrap();
            let back = orthanc.download(stored, folder.path());
            let offset = StoredObject::open(&back).unwrap().data_set_offset();
            let bytes = std::fs::read(&back).unwrap();
            let (offset, own) = (offset as usize, file.data_set_offset as usize);
            assert!(bytes[offset..] == file.bytes[own..], "{label} {class:?}");
        }
    }
}

async fn store(file: &SrFile, path: &Path, port: u16) {
    let remote = Remote {
        calling: "THORASCRIBE".parse().unwrap(),
        called: "ORTHANC".parse().unwrap(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
    };
    let context = ProposedContext {
        abstract_syntax: file.sop_class.uid().to_owned(),
        transfer_syntaxes: vec![TransferSyntax::ExplicitLittle],
    };
    let mut requestor = Requestor::connect(&remote, &[context], &Timers::default()).await.unwrap();
    let item = StoreItem {
        sop_class_uid: file.sop_class.uid().to_owned(),
        instance_uid: file.instance.clone(),
        transfer_syntax: TransferSyntax::ExplicitLittle,
        path: path.to_owned(),
        data_set_offset: file.data_set_offset,
    };
    let status = requestor.store(&item).await.unwrap();
    assert_eq!(status.0, 0, "{status}");
    let _ended = requestor.release().await;
}
