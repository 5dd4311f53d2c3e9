//! Who ends the program, or a process of it, is found out and given up.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thorascribe::spool::{Clock, JobState, SpoolSettings};
use thorascribe::vocabulary::SopClass;

use super::bench::{Bench, QUIET, finish, report, settings, study_uid};

const REST: Duration = Duration::from_secs(5);

/// One whose attempts do not run out before the kills do.
fn bench() -> Bench {
    Bench::with(|folder| SpoolSettings { max_attempts: 12, ..settings(folder) })
}

#[test]
fn a_job_that_killed_its_process_twice_is_given_up_across_restarts() {
    let bench = bench();
    bench.store(1, 1, b"one");
    bench.lease().killed(REST, "signal 6").unwrap();
    let row = bench.row(1);
    assert_eq!((row.state, row.reason.as_deref()), (JobState::Received, Some("signal 6")));
    assert!(bench.spool.lease_draft().unwrap().is_none(), "it rests a while");
    let bench = bench.reopen();
    bench.clock.advance(REST);
    bench.spool.lease_draft().unwrap().unwrap().killed(REST, "signal 6").unwrap();
    let row = bench.row(1);
    assert_eq!(row.state, JobState::Failed);
    let reason = row.reason.unwrap();
    assert!(reason.contains("2 times") && reason.contains("signal 6"), "{reason}");

    assert_eq!(bench.spool.retry_study(&study_uid(1)).unwrap().jobs, 1);
    bench.spool.lease_draft().unwrap().unwrap().killed(REST, "signal 6").unwrap();
    assert_eq!(bench.row(1).state, JobState::Received, "counted anew");
    bench.clock.advance(REST);
    finish(bench.spool.lease_draft().unwrap().unwrap(), vec![report("pacs")]);
    assert_eq!(bench.row(1).state, JobState::Drafted);
}

#[test]
fn of_those_drafted_when_the_node_died_the_one_that_did_it_is_found() {
    let mut bench = bench();
    for study in 1..=4 {
        bench.store(study, 1, b"one");
    }
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    // Study 2 ends the node whenever it is drafted.
    let (mut deaths, mut drafted) = (0, BTreeSet::new());
    loop {
        let mut leases = Vec::new();
        while let Some(lease) = bench.spool.lease_draft().unwrap() {
            leases.push(lease);
        }
        if leases.is_empty() {
            break;
        }
        let together = leases.len();
        assert!(deaths == 0 || together <= 1, "{together} suspects are drafted at once");
        if leases.iter().any(|lease| lease.study == study_uid(2)) {
            deaths += 1;
            let next = bench.crash();
            drop(leases);
            bench = next;
        } else {
            for lease in leases {
                drafted.insert(lease.study.to_string());
                finish(lease, vec![]);
            }
        }
    }
    // Once with the others, twice alone.
    assert_eq!(deaths, 3);
    assert_eq!(drafted.len(), 3);
    let row = bench.row(2);
    assert_eq!(row.state, JobState::Failed);
    let reason = row.reason.unwrap();
    assert!(reason.contains("2 times") && reason.contains("no other"), "{reason}");

    // What comes afterwards is drafted side by side again.
    for study in 5..=6 {
        bench.store(study, 1, b"one");
    }
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    let (five, six) = (bench.spool.lease_draft().unwrap(), bench.spool.lease_draft().unwrap());
    assert!(five.is_some() && six.is_some());
}

#[test]
fn a_suspect_waits_for_those_under_way_and_nothing_begins_beside_it() {
    let bench = bench();
    bench.store(1, 1, b"one");
    let lease = bench.lease();
    let bench = {
        let next = bench.crash();
        drop(lease);
        next
    };
    bench.store(2, 1, b"one");
    bench.clock.advance(QUIET);
    bench.spool.seal_due().unwrap();
    let suspect = bench.spool.lease_draft().unwrap().unwrap();
    assert_eq!(suspect.study, study_uid(1));
    assert!(bench.spool.lease_draft().unwrap().is_none(), "study 2 waits");
    suspect.retry(REST, "not now").unwrap();
    let other = bench.spool.lease_draft().unwrap().unwrap();
    assert_eq!(other.study, study_uid(2));
    bench.clock.advance(REST);
    assert!(bench.spool.lease_draft().unwrap().is_none(), "the suspect waits");
    finish(other, vec![]);
    finish(bench.spool.lease_draft().unwrap().unwrap(), vec![]);
}

#[test]
fn what_waits_for_a_time_that_is_far_again_is_tried_when_the_clock_is_set_back() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let bench = bench();
    let Clock::Manual(now) = bench.clock.clone() else { panic!("a manual clock") };
    // Study 1 rests, study 2 is not yet quiet, study 3 waits for its destination.
    bench.store(1, 1, b"one");
    bench.lease().retry(QUIET * 100, "not now").unwrap();
    bench.store(3, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    bench.spool.lease_delivery("pacs").unwrap().unwrap().retry(QUIET * 100, "down").unwrap();
    bench.store(2, 1, b"one");
    assert!(bench.spool.lease_draft().unwrap().is_none());
    now.fetch_sub(YEAR, Ordering::SeqCst);
    let one = bench.spool.lease_draft().unwrap().unwrap();
    assert_eq!(one.study, study_uid(1));
    finish(one, vec![]);
    assert_eq!(bench.spool.lease_delivery("pacs").unwrap().unwrap().study, study_uid(3));
    let lease = bench.lease();
    assert_eq!(lease.study, study_uid(2));

    // And while the node was down.
    bench.store(4, 1, b"one");
    now.fetch_sub(YEAR, Ordering::SeqCst);
    let next = bench.crash();
    drop(lease);
    next.clock.advance(QUIET);
    next.spool.seal_due().unwrap();
    let mut found = BTreeSet::new();
    while let Some(lease) = next.spool.lease_draft().unwrap() {
        found.insert(lease.study.to_string());
        finish(lease, vec![]);
    }
    assert!(found.contains(study_uid(4).as_str()), "{found:?}");
}

#[test]
fn a_commitment_is_asked_for_again_when_the_clock_is_set_back() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let bench = bench();
    let Clock::Manual(now) = bench.clock.clone() else { panic!("a manual clock") };
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let lease = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let instance = "2.25.1".parse().unwrap();
    lease.sent_with(&instance, None, Some(SopClass::EnhancedSr)).unwrap();
    let asked = bench.spool.next_commitment("pacs", REST).unwrap().unwrap();
    bench.spool.commitment_awaited(&asked, QUIET).unwrap();
    assert!(bench.spool.next_commitment("pacs", REST).unwrap().is_none());
    now.fetch_sub(YEAR, Ordering::SeqCst);
    let again = bench.spool.next_commitment("pacs", REST).unwrap().expect("it is due");
    assert_eq!(again.attempts, 2);
}
