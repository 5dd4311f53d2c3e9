//! A spool of a test's own, and objects that are no DICOM: to the spool they are bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use thorascribe::spool::{
    ArtefactKind, Caption, Clock, DeliveryObject, DeliveryState, DraftLease, Drafted, JobFilter,
    JobView, NewArtefact, NewDelivery, NewDeliveryObject, Receipt, Received, Sender, Spool,
    SpoolSettings,
};
use thorascribe::vocabulary::{
    ByteSize, InstanceUid, PatientText, Priority, SopClass, StudyUid, TransferSyntax,
};

pub(crate) const QUIET: Duration = Duration::from_secs(10);
pub(crate) const DEADLINE: Duration = Duration::from_mins(10);
pub(crate) const AFTER_DELIVERY: Duration = Duration::from_hours(7 * 24);
pub(crate) const META: usize = 132;

pub(crate) fn settings(path: &Path) -> SpoolSettings {
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
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) spool: Spool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(settings)
    }

    /// The same with other settings.
    pub(crate) fn with(settings: impl FnOnce(&Path) -> SpoolSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        let spool = Spool::open_with(settings(folder.path()), clock.clone()).unwrap();
        Self { folder, clock, spool }
    }

    /// What a crash leaves: the database and the files, no memory.
    pub(crate) fn reopen(self) -> Self {
        let Self { folder, clock, spool } = self;
        let settings = spool.settings().clone();
        drop(spool);
        let spool = Spool::open_with(settings, clock.clone()).unwrap();
        Self { folder, clock, spool }
    }

    /// A kill: what is on the disk now goes on elsewhere, while the old process's leases live.
    pub(crate) fn crash(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let clock = self.clock.clone();
        let settings =
            SpoolSettings { path: folder.path().to_owned(), ..self.spool.settings().clone() };
        let spool = Spool::open_with(settings, clock.clone()).unwrap();
        Self { folder, clock, spool }
    }

    pub(crate) fn store(&self, study: u32, instance: u32, data: &[u8]) -> Receipt {
        store(&self.spool, study, instance, data, false)
    }

    pub(crate) fn lease(&self) -> DraftLease {
        self.clock.advance(QUIET);
        self.spool.seal_due().unwrap();
        self.spool.lease_draft().unwrap().expect("a job to draft")
    }

    pub(crate) fn row(&self, study: u32) -> JobView {
        self.spool.job(&study_uid(study)).unwrap().expect("a job").row
    }

    pub(crate) fn rows(&self) -> Vec<JobView> {
        self.spool.jobs(&JobFilter::default()).unwrap()
    }

    /// How many objects are in the making.
    pub(crate) fn incoming(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("incoming")).unwrap().count()
    }

    /// Every object and artefact.
    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("studies")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn study_uid(study: u32) -> StudyUid {
    format!("1.2.3.{study}").parse().unwrap()
}

pub(crate) fn instance_uid(study: u32, instance: u32) -> InstanceUid {
    format!("1.2.3.{study}.1.{instance}").parse().unwrap()
}

pub(crate) fn received(study: u32, instance: u32, own_object: bool) -> Received {
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
        caption: Caption::default(),
    }
}

pub(crate) fn store(spool: &Spool, study: u32, instance: u32, data: &[u8], own: bool) -> Receipt {
    let mut incoming = spool.begin().unwrap();
    incoming.write_all(&[0; META]).unwrap();
    incoming.write_all(data).unwrap();
    incoming.commit(received(study, instance, own)).unwrap()
}

pub(crate) fn report(destination: &str) -> NewDelivery {
    NewDelivery { destination: destination.to_owned(), object: NewDeliveryObject::Report }
}

pub(crate) fn image(destination: &str, study: u32, instance: u32) -> NewDelivery {
    let object = NewDeliveryObject::Image(instance_uid(study, instance));
    NewDelivery { destination: destination.to_owned(), object }
}

pub(crate) fn draft(lease: &DraftLease, deliveries: Vec<NewDelivery>) -> Drafted {
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

pub(crate) fn finish(lease: DraftLease, deliveries: Vec<NewDelivery>) {
    let drafted = draft(&lease, deliveries);
    lease.drafted(drafted).unwrap();
}

/// Sends what is due for a destination and gives what that was.
pub(crate) fn send(spool: &Spool, destination: &str) -> Option<String> {
    let lease = spool.lease_delivery(destination).unwrap()?;
    let (what, instance) = match &lease.object {
        DeliveryObject::Report(files) => {
            assert!(files.iter().all(|file| file.path.is_file()));
            ("report".to_owned(), files[0].instance.clone())
        }
        DeliveryObject::Image(file) | DeliveryObject::Made(file) => {
            assert!(file.path.is_file());
            (file.instance.to_string(), file.instance.clone())
        }
    };
    lease.sent(&instance).unwrap();
    Some(what)
}

pub(crate) fn states(row: &JobView) -> Vec<DeliveryState> {
    row.deliveries.iter().map(|delivery| delivery.state).collect()
}
