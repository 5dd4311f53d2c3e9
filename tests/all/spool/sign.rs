//! Reports that a person signed, as versions of their study.

use serde_json::json;
use thorascribe::spool::{
    ArtefactKind, DeliveryObject, DeliveryState, NewArtefact, Signed, SpoolError,
};
use thorascribe::vocabulary::{PatientText, SopClass};

use super::bench::{Bench, finish, image, report, send, states, study_uid};

fn signed(seen: u32, destinations: &[&str]) -> Signed {
    let version = seen + 1;
    Signed {
        seen,
        version,
        signer: "Dr. Jane Doe".to_owned(),
        text: PatientText::new("Signed text."),
        draft: json!({}),
        artefacts: vec![NewArtefact {
            kind: ArtefactKind::Report,
            sop_class: SopClass::EnhancedSr,
            instance: format!("2.25.9{version}").parse().unwrap(),
            series: "2.25.8".parse().unwrap(),
            bytes: format!("signed version {version}").into_bytes(),
            data_set_offset: 0,
        }],
        destinations: destinations.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// The report that goes next to a destination.
fn next_report(bench: &Bench) -> String {
    let lease = bench.spool.lease_delivery("pacs").unwrap().expect("a delivery");
    let DeliveryObject::Report(files) = &lease.object else { panic!("an image: {lease:?}") };
    let instance = files[0].instance.clone();
    lease.sent(&instance).unwrap();
    instance.to_string()
}

#[test]
fn a_signed_report_goes_instead_of_the_draft_that_waits() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1)]);
    let before = bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert_eq!(before.next_version, 2);
    bench.spool.sign(&study_uid(1), &signed(1, &["pacs"])).unwrap();
    let job = bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert_eq!((job.row.version, job.image.clone()), (2, before.image));
    assert_eq!(job.row.signed.unwrap().by, "Dr. Jane Doe");
    assert_eq!(job.text.unwrap().reveal(), "Signed text.");
    assert_eq!(job.images.len(), 1);
    assert_eq!(send(&bench.spool, "pacs").unwrap(), "1.2.3.1.1.1", "images stay on their way");
    assert_eq!(next_report(&bench), "2.25.92");
    assert!(bench.spool.lease_delivery("pacs").unwrap().is_none());
    let versions = bench.spool.versions(&study_uid(1)).unwrap();
    let told: Vec<_> = versions.iter().map(|v| (v.version, v.signed.is_some())).collect();
    assert_eq!(told, [(2, true), (1, false)]);
    assert_eq!(bench.row(1).state.as_str(), "delivered");
}

#[test]
fn what_was_read_before_a_change_is_not_signed() {
    let bench = Bench::new();
    let changed = |seen| {
        let answer = bench.spool.sign(&study_uid(1), &signed(seen, &["pacs"]));
        matches!(answer, Err(SpoolError::Changed { .. }))
    };
    assert!(changed(1), "no such study");
    bench.store(1, 1, b"data");
    assert!(changed(1), "no draft yet");
    finish(bench.lease(), vec![report("pacs")]);
    assert!(changed(2));
    bench.store(1, 2, b"another image");
    assert!(changed(1), "a new version waits");
    let lease = bench.lease();
    assert!(changed(1));
    lease.unchanged(&[]).unwrap();
    let next = bench.spool.job(&study_uid(1)).unwrap().unwrap().next_version;
    let files = bench.files().len();
    assert!(changed(1), "the number of the merged version is used");
    assert_eq!(bench.files().len(), files, "what was not signed leaves no file");
    let good = Signed { version: next, ..signed(1, &["pacs"]) };
    bench.spool.sign(&study_uid(1), &good).unwrap();
    assert!(matches!(bench.spool.sign(&study_uid(1), &good), Err(SpoolError::Changed { .. })));
}

#[test]
fn a_later_draft_does_not_hold_a_signed_report_back() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![]);
    bench.spool.sign(&study_uid(1), &signed(1, &["pacs"])).unwrap();
    bench.store(1, 2, b"a better image");
    finish(bench.lease(), vec![report("pacs")]);
    let sent = [next_report(&bench), next_report(&bench)];
    assert_eq!(sent[0], "2.25.92", "the signed report, before the new draft");
    assert!(bench.spool.lease_delivery("pacs").unwrap().is_none());
}

#[test]
fn a_signed_report_survives_a_crash() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![report("pacs")]);
    bench.spool.sign(&study_uid(1), &signed(1, &["pacs"])).unwrap();
    let lease = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let after = bench.crash();
    drop(lease);
    assert_eq!(states(&after.row(1)), [DeliveryState::Waiting]);
    assert_eq!(next_report(&after), "2.25.92");
    assert!(after.files().iter().all(|file| file.is_file()));
}
