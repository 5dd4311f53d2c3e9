//! A job store with any page damaged: set aside and made anew, with every study that was
//! acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;
use thorascribe::spool::{Clock, DeliveryObject, JobState, Lost, Spool, Unrecorded};
use thorascribe::vocabulary::{InstanceUid, SopClass, Uid};

use super::bench::{
    Bench, META, QUIET, copy, draft, finish, rebuild, received, report, report_text, report_uid,
    send, settings, store, study_uid,
};

const STUDIES: u32 = 12;
/// SQLite's own.
const PAGE: u64 = 4096;

/// Studies in every state, each with one object that says which it is; closed.
fn filled() -> Bench {
    let bench = Bench::new();
    for study in 1..=STUDIES {
        bench.store(study, 1, study.to_string().as_bytes());
    }
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    // A third delivered, a third waiting for the destination, a third not yet drafted.
    for study in 1..=8 {
        let lease = bench.spool.lease_draft().unwrap().unwrap();
        assert_eq!(lease.study, study_uid(study));
        finish(lease, vec![report("pacs")]);
    }
    for _ in 1..=4 {
        assert!(send(&bench.spool, "pacs").is_some());
    }
    bench
}

/// Every study is there, in its first version; those that were delivered are, or are done anew.
#[track_caller]
fn check(spool: &Spool, clock: &Clock, what: &str) -> BTreeMap<u32, JobState> {
    let states = (1..=STUDIES).map(|study| {
        let detail = spool.job(&study_uid(study)).unwrap();
        let detail = detail.unwrap_or_else(|| panic!("{what}: study {study} is lost"));
        assert_eq!(detail.row.version, 1, "{what}: study {study}");
        assert_eq!(detail.objects.len(), 1, "{what}: study {study}");
        assert!(detail.objects[0].path.is_file(), "{what}: study {study}");
        (study, detail.row.state)
    });
    let states = states.collect();
    // All work is done to its end.
    clock.advance(QUIET * 10);
    spool.seal_due().unwrap();
    while let Some(lease) = spool.lease_draft().unwrap() {
        assert_eq!(lease.objects.len(), 1, "{what}");
        finish(lease, vec![report("pacs")]);
    }
    while send(spool, "pacs").is_some() {}
    for study in 1..=STUDIES {
        let row = spool.job(&study_uid(study)).unwrap().unwrap().row;
        assert_eq!(row.state, JobState::Delivered, "{what}: study {study}");
        assert_eq!(row.version, 1, "{what}: study {study}");
    }
    states
}

/// A copy of a spool, with one page of its job store overwritten.
fn with_damaged_page(spool: &Path, page: u64) -> TempDir {
    let place = TempDir::new().unwrap();
    copy(spool, place.path());
    let file = fs::File::options().write(true).open(place.path().join("jobs.sqlite")).unwrap();
    file.write_all_at(&[0xA5; PAGE as usize], page * PAGE).unwrap();
    place
}

#[test]
fn whichever_page_of_the_job_store_is_damaged_every_acknowledged_study_is_kept() {
    let Bench { folder, spool, .. } = filled();
    // The last one who closes it empties the write-ahead log into it.
    drop(spool);
    let pages = fs::metadata(folder.path().join("jobs.sqlite")).unwrap().len() / PAGE;
    assert!(pages > 20, "{pages}");
    let (mut damaged, mut kept) = (0, 0);
    for page in 0..pages {
        let place = with_damaged_page(folder.path(), page);
        let clock = Clock::manual();
        clock.advance(QUIET * 100);
        let spool = Spool::open_with(settings(place.path()), clock.clone()).unwrap();
        let what = format!("page {page}");
        if let Some(aside) = spool.damaged() {
            assert!(aside.is_file() && aside.to_string_lossy().contains("damaged"), "{aside:?}");
            rebuild(&spool);
            damaged += 1;
        }
        let states = check(&spool, &clock, &what);
        kept += usize::from(states[&1] == JobState::Delivered);
        drop(spool);
        let again = Spool::open_with(settings(place.path()), clock).unwrap();
        assert!(again.damaged().is_none(), "{what}: it is whole now");
    }
    println!("{damaged} of {pages} pages are noticed; what was delivered stays so in {kept}");
    // Most pages hold an index, or a table that nothing depends on.
    assert!(damaged > 15 && kept > pages as usize / 2, "{damaged}, {kept} of {pages}");
}

#[test]
fn whichever_page_is_damaged_a_second_version_stays_the_second_and_its_report_the_same() {
    const TWICE: u32 = 6;
    let bench = Bench::new();
    for instance in 1..=2 {
        for study in 1..=TWICE {
            bench.store(study, instance, format!("{study} {instance}").as_bytes());
        }
        bench.clock.advance(QUIET);
        bench.spool.seal_due().unwrap();
        while let Some(lease) = bench.spool.lease_draft().unwrap() {
            finish(lease, vec![report("pacs")]);
        }
        while send(&bench.spool, "pacs").is_some() {}
    }
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    let pages = fs::metadata(folder.path().join("jobs.sqlite")).unwrap().len() / PAGE;
    let mut redone = 0;
    for page in 0..pages {
        let place = with_damaged_page(folder.path(), page);
        let spool = Spool::open_with(settings(place.path()), clock.clone()).unwrap();
        if spool.damaged().is_none() {
            continue;
        }
        rebuild(&spool);
        clock.advance(QUIET);
        spool.seal_due().unwrap();
        while let Some(lease) = spool.lease_draft().unwrap() {
            assert_eq!((lease.version, lease.objects.len()), (2, 2), "page {page}");
            let mut drafted = draft(&lease, vec![report("pacs")]);
            // As by another clock, or another version of the program.
            drafted.artefacts[0].bytes = b"made anew".to_vec();
            lease.drafted(drafted).unwrap();
        }
        while let Some(lease) = spool.lease_delivery("pacs").unwrap() {
            let DeliveryObject::Report(files) = &lease.object else { panic!("{lease:?}") };
            let first = report_text("report", &lease.study, 2, 2);
            assert_eq!(fs::read(&files[0].path).unwrap(), first, "page {page}");
            assert_eq!(files[0].instance, report_uid(&lease.study, 2), "page {page}");
            let instance = files[0].instance.clone();
            lease.sent(&instance).unwrap();
            redone += 1;
        }
        for study in 1..=TWICE {
            let row = spool.job(&study_uid(study)).unwrap().unwrap().row;
            assert_eq!((row.version, row.state), (2, JobState::Delivered), "page {page}: {study}");
        }
    }
    println!("{redone} reports went again");
    assert!(redone > 0);
}

/// The objects among the files without rows.
fn lost_objects(spool: &Spool) -> Vec<Unrecorded> {
    let mut lost = spool.unrecorded().unwrap();
    lost.retain(|file| file.kind == Lost::Object);
    lost
}

#[test]
fn a_rebuild_that_is_cut_short_goes_on() {
    let Bench { folder, spool, .. } = filled();
    drop(spool);
    let path = folder.path().to_owned();
    fs::write(path.join("jobs.sqlite"), b"no database at all").unwrap();
    let clock = Clock::manual();
    clock.advance(QUIET * 100);
    for round in 0..2 {
        let spool = Spool::open_with(settings(&path), clock.clone()).unwrap();
        let lost = lost_objects(&spool);
        assert_eq!(lost.len(), STUDIES as usize - round, "what is done stays done");
        assert!(spool.damaged().is_some());
        let study = fs::read(&lost[0].path).unwrap()[META..].to_vec();
        let study = String::from_utf8(study).unwrap().parse().unwrap();
        spool.record(&[(lost[0].clone(), received(study, 1, false))]).unwrap();
        // The node dies here.
    }
    let spool = Spool::open_with(settings(&path), clock.clone()).unwrap();
    rebuild(&spool);
    check(&spool, &clock, "after two cut rebuilds");
    let aside: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    let damaged = aside.iter().filter(|name| name.to_string_lossy().contains("damaged")).count();
    assert_eq!(damaged, 1, "{aside:?}");
}

/// A report on a storage commitment that was asked for before the damage.
#[test]
fn a_request_for_a_commitment_outlives_most_damage() {
    let bench = filled();
    let lease = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let instance: InstanceUid = "2.25.4".parse().unwrap();
    lease.sent_with(&instance, None, Some(SopClass::EnhancedSr)).unwrap();
    let asked = bench.spool.next_commitment("pacs", QUIET).unwrap().unwrap();
    let transaction: Uid = asked.transaction;
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    let pages = fs::metadata(folder.path().join("jobs.sqlite")).unwrap().len() / PAGE;
    let (mut damaged, mut understood) = (0, 0);
    for page in 0..pages {
        let place = with_damaged_page(folder.path(), page);
        let spool = Spool::open_with(settings(place.path()), clock.clone()).unwrap();
        if spool.damaged().is_none() {
            continue;
        }
        damaged += 1;
        rebuild(&spool);
        let reported =
            spool.commitment_reported(&transaction, std::slice::from_ref(&instance), &[]).unwrap();
        understood += usize::from(reported.is_some_and(|reported| reported.committed == 1));
    }
    println!("{understood} of {damaged} rebuilt stores know the request");
    assert!(damaged > 15 && understood > damaged / 2, "{understood} of {damaged}");
}

#[test]
fn a_file_that_is_no_object_any_more_is_put_aside() {
    let bench = filled();
    let files = bench.files();
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    fs::write(folder.path().join("jobs.sqlite"), b"no database at all").unwrap();
    let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
    // The newest, of which nothing was drafted.
    let lost = lost_objects(&spool).pop().unwrap();
    spool.put_aside(&lost).unwrap();
    assert!(!lost.path.exists());
    rebuild(&spool);
    assert_eq!(fs::read_dir(folder.path().join("unreadable")).unwrap().count(), 1);
    let objects = files.iter().filter(|file| file.extension().unwrap() == "dcm").count();
    assert_eq!(objects, STUDIES as usize);
    store(&spool, 99, 1, b"99", false);
    assert!(spool.job(&study_uid(99)).unwrap().is_some());
}
