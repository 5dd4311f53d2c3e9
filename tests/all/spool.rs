//! The spool: what is acknowledged lasts, what is begun is finished, what fails is tried again.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use thorascribe::spool::{
    ArtefactKind, Clock, DeliveryObject, DeliveryState, DraftLease, Drafted, JobFilter, JobState,
    JobView, NewArtefact, NewDelivery, NewDeliveryObject, Receipt, Received, Sender, Spool,
    SpoolError, SpoolSettings,
};
use thorascribe::vocabulary::{
    ByteSize, InstanceUid, PatientText, Priority, SopClass, StudyUid, TransferSyntax,
};

const QUIET: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_mins(10);
const AFTER_DELIVERY: Duration = Duration::from_hours(7 * 24);
const META: usize = 132;

fn settings(path: &Path) -> SpoolSettings {
    SpoolSettings {
        path: path.to_owned(),
        min_free: ByteSize(0),
        quiet: QUIET,
        deadline: DEADLINE,
        after_delivery: AFTER_DELIVERY,
        max_attempts: 3,
    }
}

/// A spool in a folder of its own, with a clock that stands still.
struct Bench {
    folder: TempDir,
    clock: Clock,
    spool: Spool,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
        Self { folder, clock, spool }
    }

    /// What a crash leaves: the database and the files, no memory.
    fn reopen(self) -> Self {
        let Self { folder, clock, spool } = self;
        drop(spool);
        let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
        Self { folder, clock, spool }
    }

    fn store(&self, study: u32, instance: u32, data: &[u8]) -> Receipt {
        store(&self.spool, study, instance, data, false)
    }

    fn lease(&self) -> DraftLease {
        self.clock.advance(QUIET);
        self.spool.seal_due().unwrap();
        self.spool.lease_draft().unwrap().expect("a job to draft")
    }

    fn row(&self, study: u32) -> JobView {
        self.spool.job(&study_uid(study)).unwrap().expect("a job").row
    }

    fn rows(&self) -> Vec<JobView> {
        self.spool.jobs(&JobFilter::default()).unwrap()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("studies")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

fn study_uid(study: u32) -> StudyUid {
    format!("1.2.3.{study}").parse().unwrap()
}

fn instance_uid(study: u32, instance: u32) -> InstanceUid {
    format!("1.2.3.{study}.1.{instance}").parse().unwrap()
}

fn received(study: u32, instance: u32, own_object: bool) -> Received {
    Received {
        sop_class: SopClass::DxPresentation,
        instance: instance_uid(study, instance),
        series: format!("1.2.3.{study}.1").parse().unwrap(),
        study: study_uid(study),
        transfer_syntax: TransferSyntax::ExplicitLittle,
        data_set_offset: META as u64,
        sender: Sender {
            calling: "CR_ROOM_1".parse().unwrap(),
            called: "THORASCRIBE".parse().unwrap(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        },
        own_object,
    }
}

fn store(spool: &Spool, study: u32, instance: u32, data: &[u8], own: bool) -> Receipt {
    let mut incoming = spool.begin().unwrap();
    incoming.write_all(&[0; META]).unwrap();
    incoming.write_all(data).unwrap();
    incoming.commit(received(study, instance, own)).unwrap()
}

fn report(destination: &str) -> NewDelivery {
    NewDelivery { destination: destination.to_owned(), object: NewDeliveryObject::Report }
}

fn image(destination: &str, study: u32, instance: u32) -> NewDelivery {
    let object = NewDeliveryObject::Image(instance_uid(study, instance));
    NewDelivery { destination: destination.to_owned(), object }
}

fn draft(lease: &DraftLease, deliveries: Vec<NewDelivery>) -> Drafted {
    Drafted {
        text: PatientText::new("No acute disease."),
        image: lease.objects[0].instance.clone(),
        priority: Priority::Routine,
        draft: json!({"model": "test", "version": lease.version}),
        seconds: json!({"decode": 0.1}),
        artefacts: vec![NewArtefact {
            kind: ArtefactKind::Report,
            sop_class: SopClass::EnhancedSr,
            instance: format!("2.25.{}{}", lease.job, lease.version).parse().unwrap(),
            series: "2.25.7".parse().unwrap(),
            bytes: format!("report of {} version {}", lease.study, lease.version).into_bytes(),
            data_set_offset: 0,
        }],
        deliveries,
    }
}

fn finish(lease: DraftLease, deliveries: Vec<NewDelivery>) {
    let drafted = draft(&lease, deliveries);
    lease.drafted(drafted).unwrap();
}

/// Sends what is due for a destination and gives what that was.
fn send(spool: &Spool, destination: &str) -> Option<String> {
    let lease = spool.lease_delivery(destination).unwrap()?;
    let (what, instance) = match &lease.object {
        DeliveryObject::Report(files) => {
            assert!(files.iter().all(|file| file.path.is_file()));
            ("report".to_owned(), files[0].instance.clone())
        }
        DeliveryObject::Image(file) => {
            assert!(file.path.is_file());
            (file.instance.to_string(), file.instance.clone())
        }
    };
    lease.sent(&instance).unwrap();
    Some(what)
}

fn states(row: &JobView) -> Vec<DeliveryState> {
    row.deliveries.iter().map(|delivery| delivery.state).collect()
}

#[test]
fn a_study_goes_from_received_to_drafted_to_delivered() {
    let bench = Bench::new();
    assert_eq!(bench.store(1, 1, b"one"), Receipt::Stored);
    assert_eq!(bench.row(1).state, JobState::Received);
    let lease = bench.lease();
    assert_eq!((lease.version, lease.attempts, lease.objects.len()), (1, 1, 1));
    assert_eq!(std::fs::read(&lease.objects[0].path).unwrap()[META..], *b"one");
    finish(lease, vec![report("pacs"), image("pacs", 1, 1)]);
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert_eq!(send(&bench.spool, "pacs"), Some(instance_uid(1, 1).to_string()));
    assert_eq!(bench.row(1).state, JobState::Drafted);
    assert_eq!(send(&bench.spool, "pacs").as_deref(), Some("report"));
    assert_eq!(bench.row(1).state, JobState::Delivered);
    assert_eq!(send(&bench.spool, "pacs"), None);
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
