//! What triage is asked about a job.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::findings::Assessed;
use crate::model::ModelDraft;
use crate::object::StoredObject;
use crate::spool::{DraftLease, PreviousDraft, SpooledObject};
use crate::triage::{Abnormal, Facts, SenderFacts, StudyFacts};

/// The facts of a drafted study.
pub(super) fn of_draft(
    study: StudyFacts,
    lease: &DraftLease,
    found: &[Assessed],
    answer: &ModelDraft,
    abnormal: Option<Abnormal>,
) -> Facts {
    let sender = SenderFacts::from(&lease.sender);
    Facts::new(study, found, abnormal, sender).with_scores(&answer.scores)
}

/// The facts of a study that is not drafted, by its first object that can be read.
pub(super) fn of_skipped(objects: &[SpooledObject], sender: SenderFacts, reason: &str) -> Facts {
    let study = StudyFacts { drafted: false, reason: reason.to_owned(), ..study(objects) };
    Facts::new(study, &[], None, sender)
}

/// The facts of a study whose draft stands, as they were when it was made.
pub(super) fn of_previous(
    objects: &[SpooledObject],
    sender: SenderFacts,
    previous: &PreviousDraft,
) -> Facts {
    let found: Vec<Assessed> = kept(previous, "findings");
    let scores: Vec<(String, f32)> = kept(previous, "scores");
    let number = |name| {
        previous.draft.get(name).and_then(serde_json::Value::as_f64).map(|number| number as f32)
    };
    let threshold = number("abnormal_threshold");
    let abnormal = number("abnormal").map(|score| Abnormal { score, threshold });
    Facts::new(study(objects), &found, abnormal, sender).with_scores(&scores)
}

/// A list that was kept with a draft.
fn kept<T: DeserializeOwned>(previous: &PreviousDraft, name: &str) -> Vec<T> {
    let list = previous.draft.get(name).cloned().unwrap_or_default();
    serde_json::from_value(list).unwrap_or_default()
}

fn study(objects: &[SpooledObject]) -> StudyFacts {
    let paths = objects.iter().filter(|object| !object.own_object).map(|object| &object.path);
    let opened = paths.cloned().find_map(|path: PathBuf| StoredObject::open(&path).ok());
    let many = images(objects);
    opened.map_or_else(
        || StudyFacts { images: many, patient_age: -1.0, drafted: true, ..StudyFacts::default() },
        |object| StudyFacts::of(&object, many),
    )
}

pub(super) fn images(objects: &[SpooledObject]) -> usize {
    objects.iter().filter(|object| object.is_image()).count()
}
