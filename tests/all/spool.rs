//! The spool: what is acknowledged lasts, what is begun is finished, what fails is tried again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use thorascribe::spool::{
    Changes, DeliveryObject, DeliveryState, JobFilter, JobState, NewDelivery, Receipt, Spool,
    SpoolError, SpoolSettings,
};
use thorascribe::vocabulary::{ByteSize, Priority};

mod action;
pub(crate) mod bench;
mod commitments;
mod damage;
mod durability;
mod kills;
mod leases;
mod lost;
mod model;
mod retention;
mod sign;

use bench::{
    AFTER_DELIVERY, Bench, DEADLINE, META, QUIET, draft, finish, image, instance_uid, rebuild,
    received, report, send, settings, states, store, study_uid,
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_study_goes_from_received_to_drafted_to_delivered() {
    let bench = Bench::new();
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Stored);
    assert_eq!(bench.row(1).state, JobState::Received);
    let lease = bench.lease();
    assert_eq!((lease.version, lease.attempts, lease.objects.len()), (1, 1, 1));
    assert_eq!(lease.sender.calling.as_str(), "CR_ROOM_1");
    assert_eq!(fs::read(&lease.objects[0].path).unwrap()[META..], *b"one");
    finish(lease, vec![report("pacs"), image("pacs", 1, 1)]);
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert_eq!(send(&bench.spool, "pacs"), Some(instance_uid(1, 1).to_string()));
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert_eq!(send(&bench.spool, "pacs").as_deref(), Some("report"));
    assert_eq!(bench.row(1).state, JobState::Delivered);
    assert_eq!(send(&bench.spool, "pacs"), None);
    let detail = bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert_eq!(detail.text.unwrap().reveal(), "No acute disease.");
    assert_eq!(detail.image, Some(instance_uid(1, 1)));
    let steps: Vec<&str> = detail.events.iter().map(|event| event.to.as_str()).collect();
    let expected = "received complete drafting drafted sending sent sending sent delivered";
    assert_eq!(steps.join(" "), expected);
}

#[test]
fn without_a_destination_a_job_is_done_when_drafted() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![]);
    assert_eq!(bench.row(1).state, JobState::Drafted);
}

#[test]
fn the_same_instance_again_is_a_duplicate_and_makes_no_second_job() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Duplicate);
    finish(bench.lease(), vec![]);
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Duplicate);
    bench.clock.advance(DEADLINE);
    assert_eq!(bench.spool.seal_due().unwrap(), 0);
    assert_eq!(bench.rows().len(), 1);
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert_eq!(bench.incoming(), 0);
}

#[test]
fn the_same_instance_with_other_bytes_is_new_content_and_replaces_the_old() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    assert_eq!(bench.store(1, 1, b"two"), Receipt::NewContent);
    let lease = bench.lease();
    assert_eq!(lease.objects.len(), 1);
    assert_eq!(fs::read(&lease.objects[0].path).unwrap()[META..], *b"two");
    finish(lease, vec![image("pacs", 1, 1)]);
    assert_eq!(bench.store(1, 1, b"three"), Receipt::NewContent);
    let lease = bench.lease();
    assert_eq!(lease.version, 2);
    assert_eq!(fs::read(&lease.objects[0].path).unwrap()[META..], *b"three");
    finish(lease, vec![image("pacs", 1, 1)]);
    // The content that was replaced before it was sent does not go any more.
    let rows = bench.rows();
    assert_eq!(states(&rows[1]), [DeliveryState::Superseded]);
    assert_eq!(rows[1].state, JobState::Superseded);
    assert_eq!(states(&rows[0]), [DeliveryState::Waiting]);
}

#[test]
fn what_was_sent_before_is_sent_again_only_when_its_content_is_new() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1)]);
    while send(&bench.spool, "pacs").is_some() {}
    bench.store(1, 2, b"two");
    finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1), image("pacs", 1, 2)]);
    assert_eq!(send(&bench.spool, "pacs"), Some(instance_uid(1, 2).to_string()));
    assert_eq!(send(&bench.spool, "pacs").as_deref(), Some("report"));
    assert_eq!(send(&bench.spool, "pacs"), None);
    assert_eq!(bench.row(1).state, JobState::Delivered);
}

#[test]
fn a_study_is_complete_when_quiet_and_at_the_latest_after_the_deadline() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    assert_eq!(bench.spool.seal_due().unwrap(), 0);
    assert!(bench.spool.lease_draft().unwrap().is_none());
    bench.clock.advance(SOON);
    assert_eq!(bench.spool.seal_due().unwrap(), 0);
    bench.clock.advance(SOON);
    assert_eq!(bench.spool.seal_due().unwrap(), 1);
    // Complete, but not begun: a late image still joins, and makes it wait for quiet again.
    bench.store(1, 2, b"two");
    assert!(bench.spool.lease_draft().unwrap().is_none());
    let lease = bench.lease();
    assert_eq!((lease.version, lease.objects.len()), (1, 2));
    finish(lease, vec![]);

    bench.store(2, 0, b"zero");
    let mut waited = Duration::ZERO;
    for instance in 1.. {
        bench.clock.advance(SOON);
        waited += SOON;
        if bench.spool.seal_due().unwrap() == 1 {
            break;
        }
        bench.store(2, instance, &instance.to_le_bytes());
    }
    assert_eq!(waited, DEADLINE);
}

#[test]
fn an_image_after_sealing_makes_a_new_version_which_supersedes_what_was_not_sent() {
    let bench = Bench::new();
    bench.store(1, 1, b"lateral");
    let first = bench.lease();
    bench.store(1, 2, b"frontal");
    assert_eq!(bench.row(1).version, 2);
    // Nobody works on two versions of a study at once.
    bench.clock.advance(QUIET);
    assert_eq!(bench.spool.seal_due().unwrap(), 1);
    assert!(bench.spool.lease_draft().unwrap().is_none());
    finish(first, vec![report("pacs"), report("reading room")]);
    assert_eq!(send(&bench.spool, "reading room").as_deref(), Some("report"));
    let second = bench.lease();
    let previous = second.previous.as_ref().unwrap();
    assert_eq!((previous.version, previous.image.clone()), (1, Some(instance_uid(1, 1))));
    assert_eq!((previous.artefacts.len(), previous.sent.len()), (1, 1));
    assert_eq!(previous.draft["version"], 1);
    assert_eq!((second.version, second.objects.len()), (2, 2));
    finish(second, vec![report("pacs"), report("reading room")]);
    let rows = bench.rows();
    assert_eq!(states(&rows[1]), [DeliveryState::Superseded, DeliveryState::Sent]);
    assert_eq!(rows[1].state, JobState::Delivered);
    assert_eq!(rows[0].state, JobState::Drafted);
    assert!(send(&bench.spool, "pacs").is_some() && send(&bench.spool, "pacs").is_none());
}

#[test]
fn a_report_on_its_way_when_a_new_version_is_drafted_is_not_tried_again() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let on_its_way = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    bench.store(1, 2, b"two");
    finish(bench.lease(), vec![report("pacs")]);
    assert_eq!(states(&bench.rows()[1]), [DeliveryState::Waiting]);
    on_its_way.retry(SOON, "no answer").unwrap();
    assert_eq!(states(&bench.rows()[1]), [DeliveryState::Superseded]);
    assert_eq!(bench.rows()[1].state, JobState::Superseded);
}

#[test]
fn a_version_that_changes_nothing_is_merged_into_the_one_before() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1)]);
    while send(&bench.spool, "pacs").is_some() {}
    bench.store(1, 2, b"two");
    assert_eq!(bench.row(1).state, JobState::Received);
    let second = bench.lease();
    second.unchanged(&[image("pacs", 1, 1), image("pacs", 1, 2)]).unwrap();
    let row = bench.row(1);
    assert_eq!((row.version, row.state, row.deliveries.len()), (1, JobState::Drafted, 3));
    assert_eq!(bench.rows().len(), 1);
    assert_eq!(send(&bench.spool, "pacs"), Some(instance_uid(1, 2).to_string()));
    assert_eq!(bench.row(1).state, JobState::Delivered);
    // Its number is used up.
    bench.store(1, 3, b"three");
    let third = bench.lease();
    assert_eq!((third.version, third.objects.len()), (3, 3));
    assert_eq!(third.previous.as_ref().unwrap().version, 1);
}

#[test]
fn a_version_that_rests_before_its_next_attempt_gives_way_to_a_newer_one() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    bench.lease().retry(DEADLINE, "the model is not loaded").unwrap();
    bench.store(1, 2, b"two");
    let second = bench.lease();
    assert_eq!((second.version, second.objects.len()), (2, 2));
    finish(second, vec![]);
    assert_eq!(bench.rows()[1].state, JobState::Superseded);
    bench.clock.advance(DEADLINE);
    assert!(bench.spool.lease_draft().unwrap().is_none());
}

#[test]
fn the_nodes_own_objects_are_kept_and_make_no_job() {
    let bench = Bench::new();
    assert_eq!(store(&bench.spool, 1, 1, b"report", true), Receipt::Stored);
    assert!(bench.rows().is_empty());
    bench.store(1, 2, b"two");
    let lease = bench.lease();
    assert_eq!(lease.objects.iter().map(|o| o.own_object).collect::<Vec<_>>(), [true, false]);
    lease.skipped("not a chest", Priority::Routine, &[image("pacs", 1, 2)]).unwrap();
    assert_eq!(store(&bench.spool, 1, 3, b"another", true), Receipt::Stored);
    let row = bench.row(1);
    assert_eq!((row.version, row.state), (1, JobState::Skipped));
    assert_eq!(row.reason.as_deref(), Some("not a chest"));
    // A skipped study stays so when its images have gone.
    assert!(send(&bench.spool, "pacs").is_some());
    assert_eq!(bench.row(1).state, JobState::Skipped);
}

#[test]
fn a_full_disk_refuses_objects() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let min_free = ByteSize(u64::MAX);
    let full = Spool::open(SpoolSettings { min_free, ..settings(folder.path()) }).unwrap();
    let refused = full.begin();
    assert!(
        matches!(refused, Err(SpoolError::Full { needed, .. }) if needed == min_free),
        "{refused:?}"
    );
    assert!(full.check_writable().is_err());
    assert!(bench.spool.check_writable().is_ok());
    assert!(bench.spool.free().unwrap() > ByteSize(0));
}

#[test]
fn an_object_that_was_not_committed_leaves_nothing() {
    let bench = Bench::new();
    let mut incoming = bench.spool.begin().unwrap();
    incoming.write_all(b"half an object").unwrap();
    let path = incoming.path().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(incoming);
    assert!(!path.exists());
    assert!(bench.rows().is_empty());
}

#[test]
fn a_start_removes_what_a_crash_left_unfinished_and_no_object() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let kept = bench.files();
    assert_eq!(kept.len(), 2);
    // An object in the making, and one whose name was given but whose row was not committed.
    fs::write(bench.folder.path().join("incoming/abc.part"), b"half").unwrap();
    let stray = kept[0].with_file_name("stray.dcm");
    fs::write(&stray, [&[0; META][..], b"1 2"].concat()).unwrap();
    let bench = bench.reopen();
    assert_eq!(bench.incoming(), 0);
    // Nobody was told that it is kept, or the row was lost: who knows?
    assert!(stray.exists());
    rebuild(&bench.spool);
    assert_eq!(bench.files().len(), kept.len() + 1);
    assert!(send(&bench.spool, "pacs").is_some());
    let second = bench.lease();
    assert_eq!((second.version, second.objects.len()), (2, 2), "it makes a new version");
    assert!(bench.spool.unrecorded().unwrap().is_empty());
}

#[test]
fn nothing_in_the_spool_is_readable_to_others_or_named_by_a_peer() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let mut seen = 0;
    let mut folders = vec![bench.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            assert!(!path.to_string_lossy().contains(study_uid(1).as_str()));
            seen += 1;
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn a_crash_gives_leases_back_with_the_attempt_counted_until_there_were_too_many() {
    let mut bench = Bench::new();
    bench.store(1, 1, b"one");
    let mut lease = bench.lease();
    for attempt in 1..=2 {
        assert_eq!(lease.attempts, attempt);
        bench = bench.crash();
        drop(lease);
        assert_eq!(bench.row(1).state, JobState::Received);
        lease = bench.spool.lease_draft().unwrap().unwrap();
    }
    // The third and last.
    assert_eq!((lease.version, lease.attempts, lease.objects.len()), (1, 3, 1));
    let bench = bench.crash();
    let row = bench.row(1);
    assert_eq!((row.state, row.attempts), (JobState::Failed, 3));
    assert!(row.reason.unwrap().contains("3 attempts"));
    assert_eq!(bench.spool.retry_study(&study_uid(1)).unwrap().jobs, 1);
    finish(bench.spool.lease_draft().unwrap().unwrap(), vec![report("pacs")]);

    let sending = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let DeliveryObject::Report(before) = &sending.object else { panic!("a report") };
    let bench = bench.crash();
    let again = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let DeliveryObject::Report(after) = &again.object else { panic!("a report") };
    assert_eq!(again.attempts, 2);
    // The same object, byte for byte.
    assert_eq!(before[0].instance, after[0].instance);
    assert_eq!(fs::read(&before[0].path).unwrap(), fs::read(&after[0].path).unwrap());
}

#[test]
fn a_lease_that_is_dropped_gives_the_work_back() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    drop(bench.lease());
    assert!(bench.spool.lease_draft().unwrap().is_none(), "it rests a while");
    bench.clock.advance(SOON);
    let lease = bench.spool.lease_draft().unwrap().unwrap();
    assert_eq!(lease.attempts, 2);
    finish(lease, vec![report("pacs")]);
    drop(bench.spool.lease_delivery("pacs").unwrap().unwrap());
    assert!(bench.spool.lease_delivery("pacs").unwrap().is_none());
    bench.clock.advance(SOON);
    assert_eq!(bench.spool.lease_delivery("pacs").unwrap().unwrap().attempts, 2);
}

#[test]
fn a_delivery_is_tried_until_it_is_given_up_and_says_why() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("dead"), report("pacs")]);
    for attempt in 1..=3 {
        let lease = bench.spool.lease_delivery("dead").unwrap().unwrap();
        assert_eq!(lease.attempts, attempt);
        lease.retry(SOON, "connection refused").unwrap();
        assert!(bench.spool.lease_delivery("dead").unwrap().is_none());
        bench.clock.advance(SOON);
    }
    // One dead destination holds up nothing else, and the job is failed once the rest is done.
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert!(send(&bench.spool, "pacs").is_some());
    let row = bench.row(1);
    assert_eq!(row.state, JobState::Failed);
    assert_eq!(row.deliveries[0].state, DeliveryState::Failed);
    let reason = row.deliveries[0].reason.as_deref().unwrap();
    assert!(reason.contains("3 attempts") && reason.contains("connection refused"), "{reason}");
    assert!(row.reason.unwrap().contains("dead: "));
    let retried = bench.spool.retry_study(&study_uid(1)).unwrap();
    assert_eq!((retried.jobs, retried.deliveries), (0, 1));
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert!(send(&bench.spool, "dead").is_some());
    assert_eq!(bench.row(1).state, JobState::Delivered);
    assert_eq!(bench.row(1).reason, None);
}

#[test]
fn urgent_studies_go_first() {
    let bench = Bench::new();
    for (study, priority) in [(1, Priority::Routine), (2, Priority::Stat), (3, Priority::Urgent)] {
        bench.store(study, 1, b"one");
        let lease = bench.lease();
        let mut drafted = draft(&lease, vec![report("pacs")]);
        drafted.priority = priority;
        lease.drafted(drafted).unwrap();
    }
    let order: Vec<_> = std::iter::from_fn(|| {
        let lease = bench.spool.lease_delivery("pacs").unwrap()?;
        let study = lease.study.clone();
        lease.dead("seen").unwrap();
        Some(study)
    })
    .collect();
    assert_eq!(order, [study_uid(2), study_uid(3), study_uid(1)]);
    let stat = JobFilter { priority: Some(Priority::Stat), ..JobFilter::default() };
    assert_eq!(bench.spool.jobs(&stat).unwrap()[0].study, study_uid(2));
}

#[test]
fn a_draft_and_its_deliveries_are_kept_together_or_not_at_all() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    let lease = bench.lease();
    let unknown: Vec<NewDelivery> = vec![report("pacs"), image("pacs", 1, 9)];
    let drafted = draft(&lease, unknown);
    let error = lease.drafted(drafted).unwrap_err();
    assert!(matches!(error, SpoolError::UnknownImage { .. }), "{error:?}");
    let row = bench.row(1);
    assert_eq!((row.state, row.deliveries.len()), (JobState::Received, 0));
    bench.clock.advance(SOON);
    finish(bench.spool.lease_draft().unwrap().unwrap(), vec![report("pacs")]);
    assert_eq!(bench.reopen().files().len(), 2);
}

#[test]
fn objects_go_some_time_after_the_last_delivery_and_versions_never_start_over() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs"), report("late")]);
    send(&bench.spool, "pacs");
    bench.clock.advance(AFTER_DELIVERY * 2);
    assert_eq!(bench.spool.retain().unwrap(), 0, "one destination does not have it");
    send(&bench.spool, "late");
    assert_eq!(bench.spool.retain().unwrap(), 0);
    bench.clock.advance(AFTER_DELIVERY);
    assert_eq!(bench.spool.retain().unwrap(), 1);
    assert_eq!(bench.files().len(), 1, "the report stays");
    assert_eq!(bench.spool.retain().unwrap(), 0);
    let detail = bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert_eq!(detail.row.state, JobState::Delivered);
    assert!(detail.text.is_some() && detail.objects.is_empty());

    // It comes again: known, so no second job, but there for a later version.
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Duplicate);
    assert_eq!(bench.files().len(), 2);
    bench.store(1, 2, b"two");
    let lease = bench.lease();
    assert_eq!((lease.version, lease.objects.len()), (2, 2));
}

#[test]
fn what_failed_keeps_its_objects() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    bench.lease().dead("no pixels").unwrap();
    bench.clock.advance(AFTER_DELIVERY * 2);
    assert_eq!(bench.spool.retain().unwrap(), 0);
    assert_eq!(bench.row(1).reason.as_deref(), Some("no pixels"));
}

#[test]
fn a_dropped_study_is_gone_and_comes_back_as_a_later_version() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    finish(bench.lease(), vec![report("pacs")]);
    let sending = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    Spool::attach(bench.folder.path()).unwrap().drop_study(&study_uid(1)).unwrap();
    assert!(bench.files().is_empty());
    assert_eq!(fs::read_dir(bench.folder.path().join("studies")).unwrap().count(), 0);
    assert!(bench.spool.job(&study_uid(1)).unwrap().is_none());
    // How its delivery ends is of no account any more.
    sending.sent(&instance_uid(1, 1)).unwrap();
    assert!(bench.rows().is_empty());
    let again = bench.spool.drop_study(&study_uid(1)).unwrap_err();
    assert!(matches!(again, SpoolError::UnknownStudy(_)), "{again:?}");
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Stored);
    assert_eq!(bench.lease().version, 2);
}

#[test]
fn a_second_node_on_the_same_spool_is_told_so() {
    let bench = Bench::new();
    let second = Spool::open(settings(bench.folder.path()));
    assert!(matches!(second, Err(SpoolError::Locked { .. })), "{second:?}");
    let beside = Spool::attach(bench.folder.path()).unwrap();
    bench.store(1, 1, b"one");
    assert_eq!(beside.jobs(&JobFilter::default()).unwrap().len(), 1);
}

#[test]
fn a_spool_of_another_schema_is_left_alone() {
    let bench = Bench::new();
    let path = bench.folder.path().to_owned();
    let attach = |version: u32| {
        let connection = rusqlite::Connection::open(path.join("jobs.sqlite")).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        Spool::attach(&path)
    };
    assert!(matches!(attach(99), Err(SpoolError::Newer { found: 99, .. })));
    assert!(matches!(attach(0), Err(SpoolError::Older { found: 0, .. })));
    attach(99).unwrap_err();
    let Bench { folder, spool, .. } = bench;
    drop(spool);
    let opened = Spool::open(settings(folder.path()));
    assert!(matches!(opened, Err(SpoolError::Newer { .. })), "{opened:?}");
}

#[test]
fn a_folder_without_a_spool_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Spool::attach(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn many_senders_at_once_lose_nothing() {
    const EACH: u32 = 12;
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let spool = &bench.spool;
            scope.spawn(move || {
                for n in 0..EACH {
                    // Every study is sent by two, the same bytes twice.
                    store(spool, sender / 2, n, &[7; 1000], false);
                }
            });
        }
    });
    assert_eq!(bench.files().len(), 4 * EACH as usize);
    assert_eq!(bench.rows().len(), 4);
    assert_eq!(bench.lease().objects.len(), EACH as usize);
}

#[tokio::test]
async fn a_stage_is_woken_by_a_change_and_not_by_looking() {
    let bench = Bench::new();
    let mut changes: Changes = bench.spool.changed();
    bench.store(1, 1, b"one");
    let started = std::time::Instant::now();
    changes.next().await;
    assert!(started.elapsed() < Duration::from_millis(400));
    assert!(bench.spool.lease_draft().unwrap().is_none());
    assert!(bench.spool.lease_delivery("pacs").unwrap().is_none());
    assert_eq!(bench.spool.seal_due().unwrap(), 0);
    // Nothing happened: it returns all the same, as another process may have changed something.
    changes.next().await;
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_study_dropped_while_it_is_drafted_leaves_nothing() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    let lease = bench.lease();
    bench.spool.drop_study(&study_uid(1)).unwrap();
    finish(lease, vec![report("pacs")]);
    assert!(bench.rows().is_empty());
    assert!(bench.files().is_empty());
}

#[test]
fn a_file_that_is_needed_again_is_not_unlinked() {
    let bench = Bench::new();
    bench.store(1, 1, b"one");
    let files = bench.files();
    let name = files[0].strip_prefix(bench.folder.path()).unwrap().to_str().unwrap();
    // As when the object comes again between the commit that forgot it and the unlinking.
    let connection = rusqlite::Connection::open(bench.folder.path().join("jobs.sqlite")).unwrap();
    connection.execute("INSERT INTO doomed VALUES (?1), ('studies/xx/gone')", [name]).unwrap();
    bench.spool.retain().unwrap();
    assert_eq!(bench.files(), files);
}

#[test]
fn hostile_identifiers_cannot_leave_the_spool() {
    let bench = Bench::new();
    let mut incoming = bench.spool.begin().unwrap();
    incoming.write_all(&[1; META + 5]).unwrap();
    let mut object = received(1, 1, false);
    object.study = "9".repeat(64).parse().unwrap();
    object.instance = "8".repeat(64).parse().unwrap();
    incoming.commit(object).unwrap();
    let files = bench.files();
    assert_eq!(files.len(), 1);
    let name = files[0].strip_prefix(bench.folder.path()).unwrap();
    assert_eq!(name.components().count(), 4, "{}", name.display());
}
