//! Data sets and files: the scan, and whoever reads what it lets through.

use std::hint::black_box;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use jiff::civil;
use thorascribe::object::{Item, ObjectError, StoredObject, meta};
use thorascribe::radiograph::eligible::check_age;
use thorascribe::radiograph::{age_years, eligibility, render, render_in};
use thorascribe::receive::caption::caption;
use thorascribe::report::sr::check::{check, check_against};
use thorascribe::report::sr::{SrClass, build};
use thorascribe::report::{Created, Draft, Evidence, ModelIdentity, NodeIdentity, is_own};
use thorascribe::triage::StudyFacts;
use thorascribe::vocabulary::{PatientText, Priority, TransferSyntax};

use super::scratch::with_file;

/// More pixels are not rendered: the time is better spent on structure.
const MOST_PIXELS: i64 = 1 << 16;

/// A byte that picks the transfer syntax and a data set in it; beyond the syntaxes, a whole file.
pub fn data_sets(bytes: &[u8]) {
    let Some((syntax, bytes)) = bytes.split_first() else { return };
    if let Some(syntax) = TransferSyntax::ALL.get(usize::from(*syntax)) {
        return look(&StoredObject::from_data_set(bytes.to_vec(), *syntax));
    }
    if let Ok(meta) = meta::parse(bytes) {
        assert!(meta.data_set_offset <= bytes.len());
    }
    with_file(bytes, |path| look(&StoredObject::open(path)));
}

/// Does with an object what the node does with each.
fn look(object: &Result<StoredObject, ObjectError>) {
    let object = match object {
        Ok(object) => object,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    item(&object.top());
    drop(caption(object));
    assert!(!age_years(object).is_some_and(f64::is_nan));
    drop(check_age(object, Some(18)));
    drop(StudyFacts::of(object, 1));
    black_box(is_own(object));
    drop(check(object));
    for assume_chest in [false, true] {
        if let Err(reason) = eligibility(object, assume_chest) {
            assert!(!reason.to_string().is_empty());
        }
    }
    let side = |tag| object.integer(tag).unwrap_or_default().clamp(0, 1 << 20);
    if side(tags::ROWS) * side(tags::COLUMNS) <= MOST_PIXELS {
        match render(object) {
            Ok(rendered) => {
                let image = rendered.image;
                assert_eq!(image.pixels().len(), (image.width() * image.height()) as usize);
                assert!(render_in(object, 1.0e9, 0.0).is_ok());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    report(object);
}

/// Every element in every way it can be read.
fn item(one: &Item<'_>) {
    for element in one.elements() {
        let tag = element.tag;
        drop((one.text(tag), one.person_name(tag), one.value(tag), one.values(tag)));
        drop((one.integer(tag), one.decimals(tag), one.words(tag)));
        if element.vr == VR::SQ || element.vr == VR::UN {
            for inner in one.items(tag) {
                item(&inner);
            }
        }
    }
}

/// A report on the object is itself an object, and names it as its source.
fn report(object: &StoredObject) {
    let at = civil::date(2026, 11, 23).at(10, 20, 30, 0);
    let draft = Draft {
        text: PatientText::new("Größe des Herzens normal.\nNo pneumothorax."),
        model: ModelIdentity { name: "m".to_owned(), digest: "0".repeat(64) },
        prompt: "p".to_owned(),
        sampling: "greedy".to_owned(),
        version: 1,
        created: Created::new(at, 60).expect("a moment"),
        predecessors: Vec::new(),
        findings: Vec::new(),
        priority: Priority::Routine,
        program_version: "0".to_owned(),
        verification: None,
    };
    let evidence = [Evidence {
        sop_class: object.sop_class_uid().clone(),
        instance: object.instance_uid().clone(),
        series: object.series_uid().clone(),
        digest: "0".repeat(64),
    }];
    let node = NodeIdentity::new(&"THORASCRIBE".parse().expect("an AE title"));
    match build(SrClass::Enhanced, object, &evidence, &draft, &node) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(file) => {
            let at = usize::try_from(file.data_set_offset).expect("a place in a file");
            let syntax = TransferSyntax::ExplicitLittle;
            let report = StoredObject::from_data_set(file.bytes[at..].to_vec(), syntax)
                .expect("a report is an object");
            assert_eq!(report.study_uid(), object.study_uid());
            assert!(is_own(&report));
            drop(check_against(&report, object, &evidence));
        }
    }
}
