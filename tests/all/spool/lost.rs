//! A job store that is whole and knows less than the files: missing, empty, restored from an older
//! copy, or without the end of its log. Nothing acknowledged is lost, and nothing is reported twice.

use std::fs;
use std::path::Path;

use serde_json::json;
use thorascribe::spool::{ArtefactKind, DeliveryObject, JobState, NewArtefact, Signed, Spool};
use thorascribe::vocabulary::{InstanceUid, PatientText, SopClass};

use super::bench::{
    Bench, QUIET, draft, finish, rebuild, report, report_text, report_uid, send, settings, states,
    study_uid,
};

fn image(bench: &Bench, study: u32, instance: u32) {
    bench.store(study, instance, format!("{study} {instance}").as_bytes());
}

/// Opens it again after something happened to its folder.
fn after(bench: Bench, what: impl FnOnce(&Path)) -> Bench {
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    what(folder.path());
    let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
    assert!(spool.damaged().is_none(), "to SQLite all is well");
    rebuild(&spool);
    assert!(spool.unrecorded().unwrap().is_empty());
    Bench { folder, clock, spool }
}

fn remove(folder: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(folder.join(format!("jobs.sqlite{suffix}"))));
    }
}

fn empty(folder: &Path) {
    remove(folder);
    fs::write(folder.join("jobs.sqlite"), b"").unwrap();
}

/// Drafts what is due and gives study, version and number of images; the text is another one than
/// before, as when the clock or the program is.
fn drafts(bench: &Bench) -> Vec<(String, u32, usize)> {
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    let mut made = Vec::new();
    while let Some(lease) = bench.spool.lease_draft().unwrap() {
        made.push((lease.study.to_string(), lease.version, lease.objects.len()));
        let mut drafted = draft(&lease, vec![report("pacs")]);
        drafted.artefacts[0].bytes = b"made anew".to_vec();
        lease.drafted(drafted).unwrap();
    }
    made.sort();
    made
}

/// Sends all that is due: the UID and the content of each report.
fn sent(bench: &Bench) -> Vec<(InstanceUid, String)> {
    let mut all = Vec::new();
    while let Some(lease) = bench.spool.lease_delivery("pacs").unwrap() {
        let DeliveryObject::Report(files) = &lease.object else { panic!("{lease:?}") };
        let instance = files[0].instance.clone();
        all.push((instance.clone(), fs::read_to_string(&files[0].path).unwrap()));
        lease.sent(&instance).unwrap();
    }
    all.sort_by_key(|(instance, _)| instance.to_string());
    all
}

fn report_of(study: u32, version: u32, images: usize) -> (InstanceUid, String) {
    let uid = study_uid(study);
    let text = String::from_utf8(report_text("report", &uid, version, images)).unwrap();
    (report_uid(&uid, version), text)
}

/// One study delivered in its first version, one in its second, one not drafted, and one drafted
/// from its first image when the second came.
fn filled() -> Bench {
    let bench = Bench::new();
    image(&bench, 1, 1);
    finish(bench.lease(), vec![report("pacs")]);
    image(&bench, 2, 1);
    finish(bench.lease(), vec![report("pacs")]);
    while send(&bench.spool, "pacs").is_some() {}
    image(&bench, 2, 2);
    finish(bench.lease(), vec![report("pacs")]);
    while send(&bench.spool, "pacs").is_some() {}
    image(&bench, 3, 1);
    image(&bench, 4, 1);
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    let three = bench.spool.lease_draft().unwrap().unwrap();
    finish(bench.spool.lease_draft().unwrap().unwrap(), vec![report("pacs")]);
    image(&bench, 4, 2);
    drop(three);
    bench
}

#[test]
fn a_job_store_that_is_missing_or_empty_is_made_anew_and_reports_nothing_twice() {
    for lose in [remove, empty] {
        let bench = after(filled(), lose);
        let name = |study: u32| study_uid(study).to_string();
        let expected =
            [(name(1), 1, 1), (name(2), 2, 2), (name(3), 1, 1), (name(4), 1, 1), (name(4), 2, 2)];
        assert_eq!(drafts(&bench), expected);
        let sent = sent(&bench);
        // What a destination may have goes again as it was, byte for byte; what was never drafted
        // is new.
        let new = |study, version| (report_uid(&study_uid(study), version), "made anew".to_owned());
        let four = if sent.len() == 5 { vec![report_of(4, 1, 1)] } else { vec![] };
        let mut wanted = vec![report_of(1, 1, 1), report_of(2, 2, 2), new(3, 1)];
        wanted.extend(four);
        wanted.push(new(4, 2));
        assert_eq!(sent, wanted);
        assert_eq!(bench.files().iter().filter(|f| f.extension().unwrap() == "dcm").count(), 6);
        for study in 1..=4 {
            assert_eq!(bench.row(study).state, JobState::Delivered, "study {study}");
        }
        assert!(!bench.folder.path().join("unreadable").exists());
    }
}

#[test]
fn a_job_store_older_than_the_files_gets_what_it_lacks() {
    let bench = Bench::new();
    image(&bench, 1, 1);
    image(&bench, 2, 1);
    finish(bench.lease(), vec![]);
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    let store = folder.path().join("jobs.sqlite");
    let older = fs::read(&store).unwrap();
    let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
    let bench = Bench { folder, clock, spool };
    // One of the two waits in the copy. It is drafted and delivered, and an image comes after that.
    let waiting = bench.rows().into_iter().find(|row| row.state == JobState::Received).unwrap();
    let study: u32 = waiting.study.as_str().rsplit('.').next().unwrap().parse().unwrap();
    finish(bench.lease(), vec![report("pacs")]);
    assert!(send(&bench.spool, "pacs").is_some());
    image(&bench, study, 2);
    image(&bench, 3, 1);
    let bench = after(bench, |folder| {
        remove(folder);
        fs::write(folder.join("jobs.sqlite"), &older).unwrap();
    });
    let name = |study: u32| study_uid(study).to_string();
    let mut made = drafts(&bench);
    made.sort_by_key(|(study, version, _)| (study.len(), study.clone(), *version));
    assert_eq!(made, [(name(study), 1, 1), (name(study), 2, 2), (name(3), 1, 1)]);
    let sent = sent(&bench);
    assert!(sent.contains(&report_of(study, 1, 1)) || sent.len() == 2, "{sent:?}");
    assert!(
        sent.iter()
            .all(|(uid, text)| text != "made anew" || *uid != report_uid(&study_uid(study), 1)),
        "{sent:?}"
    );
}

#[test]
fn a_signed_report_whose_record_is_lost_is_there_again_and_goes_out_as_it_was() {
    let bench = Bench::new();
    image(&bench, 1, 1);
    finish(bench.lease(), vec![report("pacs")]);
    assert!(send(&bench.spool, "pacs").is_some());
    let text = report_text("signed", &study_uid(1), 2, 1);
    let signed = Signed {
        seen: 1,
        version: 2,
        signer: "Dr. Jane Doe".to_owned(),
        text: PatientText::new("Signed."),
        draft: json!({}),
        artefacts: vec![NewArtefact {
            kind: ArtefactKind::Report,
            sop_class: SopClass::EnhancedSr,
            instance: "2.25.9".parse().unwrap(),
            series: "2.25.8".parse().unwrap(),
            bytes: text.clone(),
            data_set_offset: 0,
        }],
        destinations: vec!["pacs".to_owned()],
    };
    bench.spool.sign(&study_uid(1), &signed).unwrap();
    let bench = after(bench, remove);
    assert!(drafts(&bench).is_empty(), "no draft goes in place of what a person signed");
    let detail = bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert_eq!((detail.row.version, detail.images.len()), (2, 1));
    assert_eq!(detail.row.signed.unwrap().by, "Dr. Jane Doe");
    assert_eq!(detail.text.unwrap().reveal(), "Signed.");
    let found = bench.spool.unforwarded().unwrap().expect("nobody knows who has it");
    assert!(found.signed);
    bench.spool.forward(&found, &[report("pacs")]).unwrap();
    let instance: InstanceUid = "2.25.9".parse().unwrap();
    assert_eq!(sent(&bench), [(instance, String::from_utf8(text).unwrap())]);
    assert_eq!(bench.row(1).state, JobState::Delivered);
    // And an image that comes now is for a version after it.
    image(&bench, 1, 2);
    assert_eq!(bench.lease().version, 3);
}

#[test]
fn a_draft_made_again_after_a_crash_is_the_file_that_was_made_first() {
    let bench = Bench::new();
    image(&bench, 1, 1);
    let lease = bench.lease();
    // The node dies when the files are written and the rows are not.
    let made = draft(&lease, vec![report("pacs")]).artefacts[0].bytes.clone();
    let object = bench.files().remove(0);
    let stray = object.with_file_name(format!("v1-{}.report", "0".repeat(32)));
    fs::write(&stray, &made).unwrap();
    let next = bench.crash();
    drop(lease);
    rebuild(&next.spool);
    assert_eq!(drafts(&next), [(study_uid(1).to_string(), 1, 1)]);
    assert_eq!(sent(&next), [report_of(1, 1, 1)]);
    next.spool.retain().unwrap();
    assert_eq!(next.files().len(), 2, "the file of the second attempt is gone");
}

#[test]
fn an_object_whose_row_says_that_it_was_deleted_is_kept_while_its_file_is_there() {
    let bench = Bench::new();
    image(&bench, 1, 1);
    finish(bench.lease(), vec![report("pacs")]);
    assert!(send(&bench.spool, "pacs").is_some());
    let object = bench.files().into_iter().find(|f| f.extension().unwrap() == "dcm").unwrap();
    let bytes = fs::read(&object).unwrap();
    bench.clock.advance(super::bench::AFTER_DELIVERY * 2);
    assert_eq!(bench.spool.retain().unwrap(), 1);
    assert!(!object.exists());
    // It came again, and the end of the log that said so is lost.
    let bench = after(bench, |_| fs::write(&object, &bytes).unwrap());
    assert!(object.exists());
    assert_eq!(bench.row(1).state, JobState::Delivered);
    assert_eq!(states(&bench.row(1)).len(), 1, "nothing is sent again");
    bench.clock.advance(super::bench::AFTER_DELIVERY * 2);
    assert_eq!(bench.spool.retain().unwrap(), 1, "it goes in its time");
}

#[test]
fn a_job_whose_objects_are_gone_holds_nothing_up() {
    let bench = Bench::new();
    image(&bench, 1, 1);
    let gone = bench.files().remove(0);
    image(&bench, 2, 1);
    let bench = after(bench, |_| {
        fs::remove_file(&gone).unwrap();
        // Something is without a row, so that the start looks at all files.
        let other = gone.with_file_name("v1-0.txt");
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(other, b"nothing of the spool's").unwrap();
    });
    assert_eq!(bench.row(1).state, JobState::Failed);
    assert!(bench.row(1).reason.unwrap().contains("gone"));
    assert_eq!(drafts(&bench), [(study_uid(2).to_string(), 1, 1)]);
    assert_eq!(fs::read_dir(bench.folder.path().join("unreadable")).unwrap().count(), 1);
}

#[test]
fn an_object_whose_file_is_gone_comes_back_when_it_is_sent_again() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    let file = bench.files().remove(0);
    fs::remove_file(&file).unwrap();
    bench.store(1, 1, b"data");
    assert_eq!(bench.files(), [file]);
}
