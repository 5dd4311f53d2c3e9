//! A spool of a test's own, and objects that are no DICOM: to the spool they are bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use thorascribe::spool::{
    ArtefactKind, Caption, Clock, DeliveryObject, DeliveryState, DraftLease, Drafted,
    FoundArtefact, JobFilter, JobView, Lost, NewArtefact, NewDelivery, NewDeliveryObject, Receipt,
    Received, Sender, Spool, SpoolSettings, Unrecorded,
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

pub(crate) fn copy(from: &Path, to: &Path) {
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

/// What the node does with files whose rows are lost: each object's data is `study instance`, or
/// the study alone.
pub(crate) fn rebuild(spool: &Spool) {
    let (mut objects, mut found) = (Vec::new(), Vec::new());
    for file in spool.unrecorded().unwrap() {
        let bytes = std::fs::read(&file.path).unwrap();
        match file.kind {
            Lost::Object => {
                let text = String::from_utf8_lossy(&bytes[META..]).into_owned();
                let (study, instance) = text.split_once(' ').unwrap_or((&text, "1"));
                let numbers = (study.parse().unwrap(), instance.parse().unwrap());
                objects.push((file, received(numbers.0, numbers.1, false)));
            }
            Lost::Artefact(version, _) => found.push(artefact(file, version, &bytes)),
            Lost::Unknown => spool.put_aside(&file).unwrap(),
        }
    }
    spool.record(&objects).unwrap();
    spool.rebuilt(&found).unwrap();
}

/// A report by its text: which study, and how many images it stands on.
fn artefact(file: Unrecorded, version: u32, bytes: &[u8]) -> FoundArtefact {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let study: StudyUid = words[2].parse().unwrap();
    let images: u32 = words[5].parse().unwrap();
    let number = study.as_str().rsplit('.').next().unwrap().parse().unwrap();
    let signed = words[0] == "signed";
    FoundArtefact {
        file,
        sop_class: SopClass::EnhancedSr,
        instance: if signed { "2.25.9".parse().unwrap() } else { report_uid(&study, version) },
        series: "2.25.7".parse().unwrap(),
        data_set_offset: 0,
        evidence: (1..=images).map(|instance| instance_uid(number, instance)).collect(),
        signed: signed.then(|| ("Dr. Jane Doe".to_owned(), PatientText::new("Signed."))),
        study,
    }
}

pub(crate) fn report(destination: &str) -> NewDelivery {
    NewDelivery { destination: destination.to_owned(), object: NewDeliveryObject::Report }
}

pub(crate) fn image(destination: &str, study: u32, instance: u32) -> NewDelivery {
    let object = NewDeliveryObject::Image(instance_uid(study, instance));
    NewDelivery { destination: destination.to_owned(), object }
}

/// As the node's: the same version of the same study, the same UID.
pub(crate) fn report_uid(study: &StudyUid, version: u32) -> InstanceUid {
    let number = study.as_str().rsplit('.').next().unwrap();
    format!("2.25.{number}.{version}").parse().unwrap()
}

pub(crate) fn draft(lease: &DraftLease, deliveries: Vec<NewDelivery>) -> Drafted {
    Drafted {
        text: PatientText::new("No acute disease."),
        image: lease.objects[0].instance.clone(),
        caption: None,
        priority: Priority::Routine,
        draft: json!({"model": "test", "version": lease.version}),
        seconds: json!({"decode": 0.1}),
        artefacts: vec![NewArtefact {
            kind: ArtefactKind::Report,
            sop_class: SopClass::EnhancedSr,
            instance: report_uid(&lease.study, lease.version),
            series: "2.25.7".parse().unwrap(),
            bytes: report_text("report", &lease.study, lease.version, lease.objects.len()),
            data_set_offset: 0,
        }],
        deliveries,
    }
}

/// What a report's file holds here.
pub(crate) fn report_text(word: &str, study: &StudyUid, version: u32, images: usize) -> Vec<u8> {
    format!("{word} of {study} version {version} {images} images").into_bytes()
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
