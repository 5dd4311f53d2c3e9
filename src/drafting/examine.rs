//! Which of a job's objects is drafted from, and why not the others.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags;

use crate::object::{ObjectError, StoredObject};
use crate::radiograph::choose::{self, Candidate};
use crate::radiograph::eligible::check_age;
use crate::radiograph::{Decoder, NotEligible, RadiographError, View, eligibility_by};
use crate::spool::SpooledObject;
use crate::vocabulary::SopKind;

/// A job's objects, read and judged.
pub(super) enum Examined {
    /// The position of the image to draft from.
    Image { position: usize, view: View },
    /// None can be drafted from, and why.
    Nothing(String),
}

/// What a job's objects are judged by.
pub(super) struct Criteria {
    /// Whether an image without a body part is taken for a chest.
    pub(super) assume_chest: bool,
    /// The age in years from which on the model is made for patients.
    pub(super) youngest: Option<u32>,
    /// The views that are drafted from.
    pub(super) views: Vec<View>,
    /// Decodes images in colour, of which only the pixels say whether they are grey.
    pub(super) decoder: Decoder,
}

/// Reads the images of a job, one at a time, and chooses among the eligible ones; those at the
/// positions in `unreadable` were tried.
///
/// # Errors
/// The decoder was killed, or could not be started; a file could not be read.
pub(super) fn examine(
    objects: &[SpooledObject],
    criteria: &Criteria,
    unreadable: &BTreeSet<usize>,
) -> Result<Examined, RadiographError> {
    let views = &criteria.views;
    let mut reasons = BTreeSet::new();
    let (mut eligible, mut patients) = (Vec::new(), BTreeSet::new());
    for (position, spooled) in objects.iter().enumerate() {
        if unreadable.contains(&position) {
            continue;
        }
        match judge(spooled, criteria, &mut patients) {
            Ok(candidate) => eligible.push((position, candidate)),
            Err(Unfit::Because(reason)) => drop(reasons.insert(reason)),
            Err(Unfit::Undecided(error)) => return Err(error),
        }
    }
    if patients.len() > 1 {
        return Ok(Examined::Nothing(OF_TWO.to_owned()));
    }
    let candidates: Vec<Candidate> = eligible.iter().map(|(_, c)| c.clone()).collect();
    let Some(best) = choose::best(&candidates, views) else {
        reasons.extend(candidates.iter().map(|candidate| {
            format!("a {} view alone is not drafted from (model.views)", name(candidate.view))
        }));
        let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
        return Ok(Examined::Nothing(reasons));
    };
    Ok(match eligible.into_iter().nth(best) {
        Some((position, candidate)) => Examined::Image { position, view: candidate.view },
        None => Examined::Nothing("no image".to_owned()),
    })
}

/// A report has one patient (PS3.3 §A.1.2: a study belongs to one), and nobody can say which.
const OF_TWO: &str = "the study's images are of more than one patient: their Patient IDs differ; \
    correct them at the source and send them again, or drop the study";

/// Why an object is not drafted from.
enum Unfit {
    Because(String),
    /// Nothing can be said of it: the decoder failed, or the disk.
    Undecided(RadiographError),
}

impl From<NotEligible> for Unfit {
    fn from(reason: NotEligible) -> Self {
        match reason {
            NotEligible::Pixels(error) if error.is_passing() => Self::Undecided(error),
            reason => Self::Because(reason.to_string()),
        }
    }
}

/// Judges an object, and takes down whose it is.
fn judge(
    spooled: &SpooledObject,
    criteria: &Criteria,
    patients: &mut BTreeSet<String>,
) -> Result<Candidate, Unfit> {
    if spooled.own_object {
        return Err(Unfit::Because("made by this node".to_owned()));
    }
    if !matches!(spooled.sop_class.kind(), SopKind::Radiograph | SopKind::SecondaryCapture) {
        let class = spooled.sop_class.name();
        return Err(Unfit::Because(format!("{class} is stored, not drafted from")));
    }
    let object = StoredObject::open(&spooled.path).map_err(|error| match error {
        ObjectError::Io { .. } => Unfit::Undecided(error.into()),
        error => Unfit::Because(error.to_string()),
    })?;
    let patient = object.text(tags::PATIENT_ID).map(|id| id.trim().to_owned());
    patients.extend(patient.filter(|id| !id.is_empty()));
    let decoded = || criteria.decoder.render(&spooled.path).map(drop);
    let eligible = eligibility_by(&object, criteria.assume_chest, decoded)?;
    check_age(&object, criteria.youngest)?;
    Ok(Candidate::from(&eligible))
}

/// A view in words.
pub(super) const fn name(view: View) -> &'static str {
    match view {
        View::Pa => "PA",
        View::Ap => "AP",
        View::Lateral => "lateral",
        View::Unknown => "unknown",
    }
}
