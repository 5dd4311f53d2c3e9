//! The spool against a plain model of it: any order of events, with a crash between any two.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use thorascribe::spool::{DeliveryLease, DeliveryObject, DraftLease, Receipt};
use thorascribe::vocabulary::Priority;

use super::action::{Action, DeliveryEnd, DraftEnd, action};
use super::bench::{Bench, QUIET, draft, image, instance_uid, report, settings, store, study_uid};

pub(super) const DESTINATIONS: [&str; 2] = ["pacs", "reading room"];
const LATER: Duration = Duration::from_secs(30);
/// How long a dropped lease rests.
const PAUSE: Duration = Duration::from_secs(1);

/// An instance and its content.
type Object = (u32, u8);

#[derive(Debug, Clone)]
struct Delivery {
    destination: usize,
    object: Option<Object>,
    state: &'static str,
    attempts: u32,
    due: Duration,
    leased: bool,
}

#[derive(Debug, Clone)]
struct Job {
    /// Counts all jobs, in the order in which they were made.
    number: usize,
    version: u32,
    state: &'static str,
    /// `drafted` or `skipped`.
    outcome: Option<&'static str>,
    priority: Priority,
    attempts: u32,
    due: Duration,
    leased: bool,
    /// Whether the node died while it was drafted; then it is drafted alone.
    suspect: bool,
    kills: u32,
    last: Duration,
    complete: Option<Duration>,
    sealed: Option<Vec<Object>>,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Default)]
struct Study {
    versions: u32,
    /// In the order in which they came; the bool: whether it is the newest content.
    objects: Vec<(Object, bool)>,
    jobs: Vec<Job>,
}

impl Study {
    fn superseding(&self, version: u32) -> bool {
        self.jobs.iter().any(|job| job.version > version && job.outcome == Some("drafted"))
    }

    fn settle(&mut self, index: usize) {
        let outdated = self.superseding(self.jobs[index].version);
        let job = &mut self.jobs[index];
        let Some(base) = job.outcome else { return };
        let any = |states: &[&str]| job.deliveries.iter().any(|d| states.contains(&d.state));
        job.state = if any(&["waiting"]) {
            base
        } else if any(&["failed"]) {
            "failed"
        } else if base == "drafted" && any(&["sent"]) {
            "delivered"
        } else if base == "drafted" && outdated {
            "superseded"
        } else {
            base
        };
    }

    /// Adds deliveries to the job at `index`, but none of what a destination has or gets.
    fn add(&mut self, index: usize, wanted: &[(usize, Option<Object>)], now: Duration) {
        for (destination, object) in wanted {
            let same = |d: &&Delivery| d.destination == *destination && d.object == *object;
            let elsewhere = object.is_some()
                && self
                    .jobs
                    .iter()
                    .flat_map(|job| &job.deliveries)
                    .filter(same)
                    .any(|d| d.leased || d.state == "sent");
            let here = self.jobs[index].deliveries.iter().filter(same).count() > 0;
            if !elsewhere && !here {
                self.jobs[index].deliveries.push(Delivery {
                    destination: *destination,
                    object: *object,
                    state: "waiting",
                    attempts: 0,
                    due: now,
                    leased: false,
                });
            }
        }
    }

    fn supersede_older(&mut self, index: usize) {
        let new: Vec<(usize, Option<u32>)> = self.jobs[index]
            .deliveries
            .iter()
            .map(|d| (d.destination, d.object.map(|(instance, _)| instance)))
            .collect();
        for old in 0..index {
            let job = &mut self.jobs[old];
            if job.outcome.is_none() {
                if job.state == "failed" && !job.leased {
                    job.state = "superseded";
                }
                continue;
            }
            for delivery in &mut job.deliveries {
                let key = (delivery.destination, delivery.object.map(|(instance, _)| instance));
                let replaced = delivery.object.is_none() || new.contains(&key);
                if ["waiting", "failed"].contains(&delivery.state) && !delivery.leased && replaced {
                    delivery.state = "superseded";
                }
            }
            self.settle(old);
        }
    }
}

#[derive(Debug)]
struct Model {
    now: Duration,
    numbers: usize,
    max_attempts: u32,
    studies: BTreeMap<u32, Study>,
}

/// What stands in a row: study, version, state, attempts, and each delivery.
type Row = (String, u32, String, u32, Vec<(String, String, String, u32)>);

impl Model {
    fn store(&mut self, study: u32, object: Object, own: bool) -> Receipt {
        let now = self.now;
        let study = self.studies.entry(study).or_default();
        if study.objects.iter().any(|(known, _)| *known == object) {
            return Receipt::Duplicate;
        }
        let mut other = false;
        for ((instance, _), latest) in &mut study.objects {
            if *instance == object.0 {
                (other, *latest) = (true, false);
            }
        }
        study.objects.push((object, true));
        let open = study.jobs.iter_mut().find(|j| j.state == "received" && j.sealed.is_none());
        match open {
            _ if own => {}
            Some(job) => (job.last, job.complete) = (now, None),
            None => {
                study.versions += 1;
                self.numbers += 1;
                study.jobs.push(Job {
                    number: self.numbers,
                    version: study.versions,
                    state: "received",
                    outcome: None,
                    priority: Priority::Routine,
                    attempts: 0,
                    due: Duration::ZERO,
                    leased: false,
                    suspect: false,
                    kills: 0,
                    last: now,
                    complete: None,
                    sealed: None,
                    deliveries: Vec::new(),
                });
            }
        }
        if other { Receipt::NewContent } else { Receipt::Stored }
    }

    fn wait(&mut self) {
        self.now += QUIET;
        for job in self.studies.values_mut().flat_map(|study| &mut study.jobs) {
            let due = job.state == "received" && job.sealed.is_none() && job.complete.is_none();
            if due && job.last + QUIET <= self.now {
                job.complete = Some(self.now);
            }
        }
    }

    /// The job that is drafted next: study and index.
    fn lease_draft(&mut self) -> Option<(u32, usize)> {
        let mut candidates = Vec::new();
        let jobs = || self.studies.values().flat_map(|study| &study.jobs);
        let busy = jobs().any(|job| job.leased);
        let alone = jobs().any(|job| job.leased && job.suspect);
        let due =
            |job: &Job| job.complete.is_some() && job.state == "received" && job.due <= self.now;
        let suspects = jobs().any(|job| job.suspect && due(job));
        for (uid, study) in &self.studies {
            if study.jobs.iter().any(|job| job.leased) {
                continue;
            }
            for (index, job) in study.jobs.iter().enumerate() {
                let turn = if job.suspect { !busy } else { !alone && !suspects };
                if let Some(at) = job.complete.filter(|_| due(job) && turn) {
                    candidates.push((at, job.number, *uid, index));
                }
            }
        }
        let (.., uid, index) = candidates.into_iter().min()?;
        let study = self.studies.get_mut(&uid).unwrap();
        let newest = study.objects.iter().filter(|(_, latest)| *latest).map(|(object, _)| *object);
        let newest: Vec<Object> = newest.collect();
        for old in &mut study.jobs[..index] {
            if old.state == "received" {
                old.state = "superseded";
            }
        }
        let job = &mut study.jobs[index];
        job.leased = true;
        job.attempts += 1;
        job.sealed.get_or_insert(newest);
        Some((uid, index))
    }

    fn end_draft(&mut self, uid: u32, index: usize, end: DraftEnd, images: &[Object]) {
        let (now, most) = (self.now, self.max_attempts);
        let study = self.studies.get_mut(&uid).unwrap();
        let previous = study.jobs[..index].iter().rposition(|job| job.outcome == Some("drafted"));
        study.jobs[index].leased = false;
        let images: Vec<_> = images.iter().map(|object| (0, Some(*object))).collect();
        match end {
            DraftEnd::Drafted(priority, with_images) => {
                let job = &mut study.jobs[index];
                (job.state, job.outcome, job.priority) = ("drafted", Some("drafted"), priority);
                study.add(index, &[(0, None), (1, None)], now);
                if with_images {
                    study.add(index, &images, now);
                }
                study.supersede_older(index);
                study.settle(index);
            }
            DraftEnd::Unchanged if previous.is_some() => {
                let target = previous.unwrap();
                study.jobs[index].state = "merged";
                study.add(target, &images, now);
                study.settle(target);
            }
            DraftEnd::Skipped | DraftEnd::Unchanged => {
                let job = &mut study.jobs[index];
                (job.state, job.outcome) = ("skipped", Some("skipped"));
                study.add(index, &images, now);
                study.settle(index);
            }
            DraftEnd::Retry if study.jobs[index].attempts < most => {
                study.jobs[index].due = now + LATER;
            }
            DraftEnd::Retry | DraftEnd::Dead => study.jobs[index].state = "failed",
            DraftEnd::Dropped => study.jobs[index].due = now + PAUSE,
        }
    }

    /// The delivery that is made next: study, job, index.
    fn lease_delivery(&mut self, destination: usize) -> Option<(u32, usize, usize)> {
        let now = self.now;
        let mut candidates = Vec::new();
        for (uid, study) in &self.studies {
            for (index, job) in study.jobs.iter().enumerate() {
                for (n, delivery) in job.deliveries.iter().enumerate() {
                    if delivery.destination == destination
                        && delivery.state == "waiting"
                        && !delivery.leased
                        && delivery.due <= now
                    {
                        let urgency = std::cmp::Reverse(job.priority);
                        let order = (urgency, job.number, delivery.object.is_none(), n);
                        candidates.push((order, (*uid, index, n)));
                    }
                }
            }
        }
        let (_, (uid, index, n)) = candidates.into_iter().min()?;
        let delivery = &mut self.studies.get_mut(&uid).unwrap().jobs[index].deliveries[n];
        delivery.leased = true;
        delivery.attempts += 1;
        Some((uid, index, n))
    }

    fn end_delivery(&mut self, (uid, index, n): (u32, usize, usize), end: DeliveryEnd) {
        let (now, most) = (self.now, self.max_attempts);
        let study = self.studies.get_mut(&uid).unwrap();
        let outdated = study.superseding(study.jobs[index].version);
        let delivery = &mut study.jobs[index].deliveries[n];
        delivery.leased = false;
        let unsent = |state| {
            if outdated && delivery.object.is_none() { "superseded" } else { state }
        };
        match end {
            DeliveryEnd::Sent => delivery.state = "sent",
            DeliveryEnd::Retry if delivery.attempts < most => {
                delivery.state = unsent("waiting");
                delivery.due = now + LATER;
            }
            DeliveryEnd::Retry | DeliveryEnd::Dead => delivery.state = unsent("failed"),
            DeliveryEnd::Dropped => delivery.due = now + PAUSE,
        }
        study.settle(index);
    }

    fn crash(&mut self) {
        for study in self.studies.values_mut() {
            for index in 0..study.jobs.len() {
                let job = &mut study.jobs[index];
                if job.leased && job.attempts >= self.max_attempts {
                    job.state = "failed";
                } else if job.leased {
                    job.kills += u32::from(job.suspect);
                    job.suspect = true;
                    if job.kills >= 2 {
                        job.state = "failed";
                    }
                }
                job.leased = false;
                let mut settled = false;
                for delivery in job.deliveries.iter_mut().filter(|d| d.leased) {
                    delivery.leased = false;
                    if delivery.attempts >= self.max_attempts {
                        delivery.state = "failed";
                    }
                    settled = true;
                }
                if settled {
                    study.settle(index);
                }
            }
        }
    }

    fn retry(&mut self, uid: u32) {
        let now = self.now;
        let Some(study) = self.studies.get_mut(&uid) else { return };
        let newest = study.jobs.last().map(|job| job.version);
        for job in &mut study.jobs {
            let undone = job.state == "received"
                || job.state == "failed" && job.outcome.is_none()
                || job.outcome == Some("skipped") && Some(job.version) == newest;
            if undone && !job.leased && job.sealed.is_some() {
                (job.state, job.outcome, job.attempts, job.due) = ("received", None, 0, now);
                (job.suspect, job.kills) = (false, 0);
            }
        }
        for index in 0..study.jobs.len() {
            for delivery in &mut study.jobs[index].deliveries {
                let waits = delivery.state == "waiting" && delivery.due > now;
                if !delivery.leased && (delivery.state == "failed" || waits) {
                    (delivery.state, delivery.attempts, delivery.due) = ("waiting", 0, now);
                }
            }
            study.settle(index);
        }
    }

    fn drop(&mut self, uid: u32) {
        if let Some(study) = self.studies.get_mut(&uid).filter(|study| !study.jobs.is_empty()) {
            study.jobs.clear();
            study.objects.clear();
        }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (uid, study) in &self.studies {
            for job in study.jobs.iter().filter(|job| job.state != "merged") {
                let deliveries = job.deliveries.iter().map(|delivery| {
                    let object = delivery.object.map_or("report".to_owned(), |(instance, _)| {
                        instance_uid(*uid, instance).to_string()
                    });
                    let destination = DESTINATIONS[delivery.destination].to_owned();
                    (destination, object, delivery.state.to_owned(), delivery.attempts)
                });
                let study = study_uid(*uid).to_string();
                let state = job.state.to_owned();
                rows.push((study, job.version, state, job.attempts, deliveries.collect()));
            }
        }
        rows.sort();
        rows
    }
}

fn rows(bench: &Bench) -> Vec<Row> {
    let rows = bench.rows().into_iter().map(|row| {
        let deliveries = row.deliveries.into_iter();
        let deliveries =
            deliveries.map(|d| (d.destination, d.object, d.state.to_string(), d.attempts));
        let (study, state) = (row.study.to_string(), row.state.to_string());
        (study, row.version, state, row.attempts, deliveries.collect())
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort();
    rows
}

/// The spool, its model, and the leases that are out.
struct Pair {
    bench: Bench,
    model: Model,
    drafts: Vec<(DraftLease, u32, usize)>,
    deliveries: Vec<(DeliveryLease, (u32, usize, usize))>,
}

impl Pair {
    fn new() -> Self {
        let bench = Bench::new();
        let max_attempts = settings(bench.folder.path()).max_attempts;
        let (now, numbers, studies) = (Duration::ZERO, 0, BTreeMap::new());
        let model = Model { now, numbers, max_attempts, studies };
        Self { bench, model, drafts: Vec::new(), deliveries: Vec::new() }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Store { study, instance, content, own } => {
                let receipt = store(&self.bench.spool, study, instance, &[content; 9], own);
                assert_eq!(receipt, self.model.store(study, (instance, content), own));
            }
            Action::Wait => {
                self.bench.clock.advance(QUIET);
                self.bench.spool.seal_due().unwrap();
                self.model.wait();
            }
            Action::Draft => self.lease_draft(),
            Action::EndDraft(n, end) if !self.drafts.is_empty() => self.end_draft(n, end),
            Action::Deliver(destination) => self.lease_delivery(destination),
            Action::EndDelivery(n, end) if !self.deliveries.is_empty() => {
                let (lease, at) = self.deliveries.swap_remove(n % self.deliveries.len());
                match end {
                    DeliveryEnd::Sent => lease.sent(&instance_uid(0, 0)).unwrap(),
                    DeliveryEnd::Retry => lease.retry(LATER, "no answer").unwrap(),
                    DeliveryEnd::Dead => lease.dead("refused").unwrap(),
                    DeliveryEnd::Dropped => drop(lease),
                }
                self.model.end_delivery(at, end);
            }
            Action::EndDraft(..) | Action::EndDelivery(..) => {}
            Action::Crash => {
                // The leases of the dead process end after it, and change nothing of the new one.
                self.bench = self.bench.crash();
                self.drafts.clear();
                self.deliveries.clear();
                self.model.crash();
            }
            Action::Retry(study) => {
                // Without a job the study is unknown.
                drop(self.bench.spool.retry_study(&study_uid(study)));
                self.model.retry(study);
            }
            Action::Drop(study) => {
                // The same.
                drop(self.bench.spool.drop_study(&study_uid(study)));
                self.model.drop(study);
                self.drafts.retain(|(_, uid, _)| *uid != study);
                self.deliveries.retain(|(_, (uid, ..))| *uid != study);
            }
        }
    }

    fn lease_draft(&mut self) {
        let lease = self.bench.spool.lease_draft().unwrap();
        let expected = self.model.lease_draft();
        let Some(lease) = lease else {
            assert_eq!(expected, None);
            return;
        };
        let (uid, index) = expected.expect("nothing to draft");
        let job = &self.model.studies[&uid].jobs[index];
        assert_eq!((&lease.study, lease.version), (&study_uid(uid), job.version));
        assert_eq!(lease.attempts, job.attempts);
        let found: Vec<_> = lease.objects.iter().map(|o| o.instance.clone()).collect();
        let sealed = job.sealed.iter().flatten();
        let wanted: Vec<_> = sealed.map(|(instance, _)| instance_uid(uid, *instance)).collect();
        assert_eq!(found, wanted);
        self.drafts.push((lease, uid, index));
    }

    fn end_draft(&mut self, n: usize, end: DraftEnd) {
        let (lease, uid, index) = self.drafts.swap_remove(n % self.drafts.len());
        let images = self.model.studies[&uid].jobs[index].sealed.clone().unwrap();
        let routes: Vec<_> =
            images.iter().map(|(instance, _)| image(DESTINATIONS[0], uid, *instance)).collect();
        match end {
            DraftEnd::Drafted(priority, with_images) => {
                let mut deliveries: Vec<_> = DESTINATIONS.map(report).into();
                if with_images {
                    deliveries.extend(routes);
                }
                let mut drafted = draft(&lease, deliveries);
                drafted.priority = priority;
                lease.drafted(drafted).unwrap();
            }
            DraftEnd::Skipped => lease.skipped("not a chest", Priority::Routine, &routes).unwrap(),
            DraftEnd::Unchanged => lease.unchanged(&routes).unwrap(),
            DraftEnd::Retry => lease.retry(LATER, "not now").unwrap(),
            DraftEnd::Dead => lease.dead("never").unwrap(),
            DraftEnd::Dropped => drop(lease),
        }
        self.model.end_draft(uid, index, end, &images);
    }

    fn lease_delivery(&mut self, destination: usize) {
        let lease = self.bench.spool.lease_delivery(DESTINATIONS[destination]).unwrap();
        let expected = self.model.lease_delivery(destination);
        let Some(lease) = lease else {
            assert_eq!(expected, None);
            return;
        };
        let (uid, index, n) = expected.expect("nothing to deliver");
        let delivery = &self.model.studies[&uid].jobs[index].deliveries[n];
        assert_eq!((&lease.study, lease.attempts), (&study_uid(uid), delivery.attempts));
        match (&lease.object, delivery.object) {
            (DeliveryObject::Report(files), None) => assert!(files[0].path.is_file()),
            (DeliveryObject::Image(file), Some((instance, content))) => {
                assert_eq!(file.instance, instance_uid(uid, instance));
                let bytes = std::fs::read(&file.path).unwrap();
                assert_eq!(bytes[file.data_set_offset as usize..], [content; 9]);
            }
            (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
        }
        self.deliveries.push((lease, (uid, index, n)));
    }

    /// Rows are as the model has them, and every object that was acknowledged has its file.
    fn compare(&self) {
        assert_eq!(rows(&self.bench), self.model.rows());
        let objects: usize = self.model.studies.values().map(|study| study.objects.len()).sum();
        let files = self.bench.files();
        let found = files.iter().filter(|file| file.extension().unwrap() == "dcm").count();
        assert_eq!(found, objects);
    }
}

#[test]
fn the_spool_does_what_its_model_does() {
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let actions = prop::collection::vec(action(), 1..60);
    TestRunner::new(config)
        .run(&actions, |actions| {
            let mut pair = Pair::new();
            for action in &actions {
                pair.act(action);
                pair.compare();
            }
            Ok(())
        })
        .unwrap();
}
