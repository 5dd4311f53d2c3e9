//! Commitments that nobody asks for any more.

use thorascribe::spool::JobState;
use thorascribe::vocabulary::{InstanceUid, SopClass};

use super::bench::{Bench, QUIET, finish, report};

/// The report is with the destination, which is to commit to keep it.
fn deliver(bench: &Bench, study: u32, destination: &str) {
    bench.store(study, 1, b"one");
    finish(bench.lease(), vec![report(destination)]);
    let lease = bench.spool.lease_delivery(destination).unwrap().unwrap();
    let instance: InstanceUid = format!("2.25.{study}").parse().unwrap();
    lease.sent_with(&instance, None, Some(SopClass::EnhancedSr)).unwrap();
}

#[test]
fn only_the_destinations_that_are_asked_to_commit_are_waited_for() {
    let bench = Bench::new();
    deliver(&bench, 1, "pacs");
    deliver(&bench, 2, "archive");
    let asked = ["archive".to_owned()];
    assert_eq!(bench.spool.waive_commitments_but(&asked).unwrap(), [("pacs".to_owned(), 1)]);
    assert_eq!(bench.row(1).state, JobState::Delivered);
    assert_eq!(bench.row(2).state, JobState::Drafted);
    assert!(bench.spool.next_commitment("archive", QUIET).unwrap().is_some());
    // A delivery that was under way at the reload still wants one when it ends.
    deliver(&bench, 3, "pacs");
    assert_eq!(bench.row(3).state, JobState::Drafted);
    assert_eq!(bench.spool.waive_commitments_but(&asked).unwrap(), [("pacs".to_owned(), 1)]);
    assert_eq!(bench.row(3).state, JobState::Delivered);
    assert!(bench.spool.waive_commitments_but(&asked).unwrap().is_empty());
}
