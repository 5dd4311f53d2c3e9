//! Leases against other work that bears the same number, and other callers at the same time.

use std::sync::Barrier;

use thorascribe::spool::{DeliveryState, JobState, Spool};
use thorascribe::vocabulary::{InstanceUid, SopClass};

use super::bench::{
    Bench, QUIET, draft, finish, image, instance_uid, report, send, states, study_uid,
};

/// The newest study is dropped while somebody works on it, and the next one gets its numbers.
fn replaced<L>(lease: impl Fn(&Bench) -> L) -> (Bench, L, L) {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    let old = lease(&bench);
    Spool::attach(bench.folder.path()).unwrap().drop_study(&study_uid(1)).unwrap();
    bench.store(2, 1, b"two");
    let new = lease(&bench);
    (bench, old, new)
}

#[test]
fn a_draft_of_a_dropped_study_never_becomes_another_studys() {
    let (bench, old, new) = replaced(Bench::lease);
    assert_eq!((old.job, old.attempts), (new.job, new.attempts), "the number is used again");
    let mut drafted = draft(&old, vec![report("pacs"), image("pacs", 2, 1)]);
    drafted.text = thorascribe::vocabulary::PatientText::new("Of the dropped study.");
    old.drafted(drafted).unwrap();
    let detail = bench.spool.job(&study_uid(2)).unwrap().unwrap();
    assert_eq!((detail.row.state, detail.text), (JobState::Received, None));
    assert!(detail.artefacts.is_empty() && detail.row.deliveries.is_empty());
    assert_eq!(bench.files().len(), 1, "what was made of the dropped study is gone");
    finish(new, vec![report("pacs")]);
    assert_eq!(bench.row(2).state, JobState::Drafted);
}

#[test]
fn a_lease_that_is_dropped_gives_back_no_other_studys() {
    let (bench, old, new) = replaced(Bench::lease);
    drop(old);
    bench.clock.advance(QUIET);
    assert!(bench.spool.lease_draft().unwrap().is_none(), "study 2 is still being drafted");
    finish(new, vec![report("pacs")]);
    assert_eq!(bench.row(2).state, JobState::Drafted);
}

#[test]
fn what_was_sent_of_a_dropped_study_is_not_taken_for_another_studys() {
    let delivery = |bench: &Bench| {
        finish(bench.lease(), vec![report("pacs")]);
        bench.spool.lease_delivery("pacs").unwrap().unwrap()
    };
    let (bench, old, new) = replaced(delivery);
    assert_eq!((old.job, old.attempts), (new.job, new.attempts));
    old.sent(&instance_uid(1, 1)).unwrap();
    assert_eq!(states(&bench.row(2)), [DeliveryState::Waiting]);
    new.sent(&instance_uid(2, 1)).unwrap();
    assert_eq!(states(&bench.row(2)), [DeliveryState::Sent]);
}

#[test]
fn a_refusal_to_keep_a_dropped_study_is_not_taken_for_another_studys() {
    let commitment = |bench: &Bench| {
        finish(bench.lease(), vec![report("pacs")]);
        let lease = bench.spool.lease_delivery("pacs").unwrap().unwrap();
        let instance: InstanceUid = "2.25.1".parse().unwrap();
        lease.sent_with(&instance, None, Some(SopClass::EnhancedSr)).unwrap();
        bench.spool.next_commitment("pacs", QUIET).unwrap().unwrap()
    };
    let (bench, old, new) = replaced(commitment);
    assert!(!bench.spool.is_commitment_open(&old).unwrap());
    bench.spool.commitment_refused(&old, "refused").unwrap();
    bench.spool.commitment_failed(&old, QUIET * 100, "not now").unwrap();
    assert_eq!(states(&bench.row(2)), [DeliveryState::Sent]);
    assert!(bench.spool.is_commitment_open(&new).unwrap());
    bench.clock.advance(QUIET);
    assert!(bench.spool.next_commitment("pacs", QUIET).unwrap().is_some());
}

#[test]
fn leases_that_could_not_be_given_back_are_given_back_whoever_comes_for_them() {
    const STUDIES: u32 = 6;
    const STAGES: usize = 8;
    let bench = Bench::new();
    for study in 1..=STUDIES {
        bench.store(study, 1, b"one");
    }
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    let leases: Vec<_> =
        (1..=STUDIES).map(|_| bench.spool.lease_draft().unwrap().unwrap()).collect();
    let store = rusqlite::Connection::open(bench.folder.path().join("jobs.sqlite")).unwrap();
    // As on a full disk: nothing can be written.
    let full = "CREATE TRIGGER full BEFORE UPDATE ON job BEGIN SELECT RAISE(ABORT, 'full'); END";
    store.execute_batch(full).unwrap();
    drop(leases);
    assert!(bench.spool.lease_draft().is_err());
    store.execute_batch("DROP TRIGGER full").unwrap();
    let barrier = Barrier::new(STAGES);
    std::thread::scope(|scope| {
        let stages: Vec<_> = (0..STAGES)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    bench.spool.lease_delivery("pacs").unwrap().is_none()
                })
            })
            .collect();
        assert!(stages.into_iter().all(|stage| stage.join().expect("no stage panics")));
    });
    bench.clock.advance(QUIET);
    for _ in 1..=STUDIES {
        finish(bench.spool.lease_draft().unwrap().expect("given back"), vec![]);
    }
}

#[test]
fn the_images_of_a_study_that_is_given_up_are_still_to_be_forwarded() {
    let mut bench = Bench::new();
    bench.store(1, 1, b"one");
    assert!(bench.spool.unforwarded().unwrap().is_none());
    // By a start, which knows no destinations.
    let mut lease = bench.lease();
    for _ in 0..3 {
        let next = bench.crash();
        drop(lease);
        bench = next;
        let Some(again) = bench.spool.lease_draft().unwrap() else { break };
        lease = again;
    }
    assert_eq!(bench.row(1).state, JobState::Failed);
    let given_up = bench.spool.unforwarded().unwrap().expect("to be forwarded");
    assert_eq!((given_up.study.clone(), given_up.version), (study_uid(1), 1));
    assert_eq!(given_up.objects.len(), 1);
    assert!(given_up.reason.contains("3 attempts"), "{}", given_up.reason);
    // Two stages may come for it.
    bench.spool.forward(&given_up, &[image("pacs", 1, 1)]).unwrap();
    bench.spool.forward(&given_up, &[image("archive", 1, 1)]).unwrap();
    assert!(bench.spool.unforwarded().unwrap().is_none());
    assert_eq!(bench.row(1).deliveries.len(), 1);

    // A new version that is drafted sends the image itself, once.
    bench.store(1, 2, b"two");
    finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1), image("pacs", 1, 2)]);
    assert_eq!(states(&bench.rows()[1]), [DeliveryState::Superseded]);
    let sent: Vec<_> = std::iter::from_fn(|| send(&bench.spool, "pacs")).collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert_eq!(bench.row(1).state, JobState::Delivered);
}

#[test]
fn a_spool_from_before_leases_had_names_opens_and_goes_on() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let path = bench.folder.path().to_owned();
    let Bench { folder, spool, clock } = bench;
    drop(spool);
    let store = rusqlite::Connection::open(path.join("jobs.sqlite")).unwrap();
    let older = "DROP INDEX job_unforwarded; ALTER TABLE job DROP COLUMN unforwarded;
        ALTER TABLE job DROP COLUMN lease; ALTER TABLE delivery DROP COLUMN lease;
        PRAGMA user_version = 6;";
    store.execute_batch(older).unwrap();
    drop(store);
    let spool = Spool::open_with(super::bench::settings(&path), clock.clone()).unwrap();
    let bench = Bench { folder, clock, spool };
    assert!(send(&bench.spool, "pacs").is_some());
    bench.store(2, 1, b"two");
    finish(bench.lease(), vec![report("pacs")]);
    assert_eq!(bench.row(1).state, JobState::Delivered);
}
