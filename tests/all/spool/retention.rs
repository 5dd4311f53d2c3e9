//! Deleting much: in pieces, and past what cannot be deleted.

use std::fs;
use std::time::Instant;

use super::bench::{AFTER_DELIVERY, Bench, finish, report, send};
use super::durability::{listen, steps_of};

/// Delivered studies, whose objects may go.
fn delivered(studies: u32) -> Bench {
    let bench = Bench::new();
    for study in 1..=studies {
        bench.store(study, 1, study.to_string().as_bytes());
        finish(bench.lease(), vec![report("pacs")]);
        assert!(send(&bench.spool, "pacs").is_some());
    }
    bench.clock.advance(AFTER_DELIVERY);
    bench
}

#[test]
fn deleting_much_leaves_the_store_to_others_in_between() {
    const STUDIES: u32 = 250;
    let bench = delivered(STUDIES);
    listen();
    let started = Instant::now();
    let mut deleted = 0;
    let steps = steps_of(|| deleted = bench.spool.retain().unwrap());
    assert_eq!(deleted, STUDIES as usize);
    assert_eq!(bench.files().len(), STUDIES as usize, "the reports stay");
    // Three pieces, each with the rows first and then the files.
    let commits = steps.iter().filter(|step| step.as_str() == "transaction committed").count();
    println!("{commits} transactions in {:?}", started.elapsed());
    assert!(commits >= 6, "{steps:?}");
    assert_eq!(bench.spool.retain().unwrap(), 0);
}

#[test]
fn a_file_that_cannot_be_deleted_keeps_no_other() {
    let bench = delivered(3);
    let objects: Vec<_> =
        bench.files().into_iter().filter(|file| file.extension().unwrap() == "dcm").collect();
    // A folder bears its name: it cannot be unlinked, not by root either.
    fs::remove_file(&objects[0]).unwrap();
    fs::create_dir(&objects[0]).unwrap();
    fs::write(objects[0].join("in the way"), b"").unwrap();
    assert_eq!(bench.spool.retain().unwrap(), 3);
    assert!(!objects[1].exists() && !objects[2].exists());
    assert!(objects[0].exists());
    fs::remove_file(objects[0].join("in the way")).unwrap();
    fs::remove_dir(&objects[0]).unwrap();
    fs::write(&objects[0], b"as it was").unwrap();
    assert_eq!(bench.spool.retain().unwrap(), 0);
    assert!(!objects[0].exists(), "it is tried again");
}
