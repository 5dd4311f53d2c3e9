//! Which of a job's objects is drafted from, and why not the others.

use std::collections::BTreeSet;

use crate::object::StoredObject;
use crate::radiograph::choose::{self, Candidate};
use crate::radiograph::eligible::{View, check_age, eligibility};
use crate::spool::SpooledObject;
use crate::vocabulary::SopKind;

/// A job's objects, read and judged.
pub(super) enum Examined {
    /// The position of the image to draft from, and the object read.
    Image { position: usize, object: Box<StoredObject>, view: View },
    /// None can be drafted from, and why.
    Nothing(String),
}

/// Reads the images of a job and chooses among the eligible ones of patients who are not younger
/// than `youngest` years; those at the positions in `unreadable` were tried.
pub(super) fn examine(
    objects: &[SpooledObject],
    assume_chest: bool,
    youngest: Option<u32>,
    views: &[View],
    unreadable: &BTreeSet<usize>,
) -> Examined {
    let mut reasons = BTreeSet::new();
    let mut eligible = Vec::new();
    for (position, spooled) in objects.iter().enumerate() {
        if unreadable.contains(&position) {
            continue;
        }
        match judge(spooled, assume_chest, youngest) {
            Ok((object, candidate)) => eligible.push((position, object, candidate)),
            Err(reason) => drop(reasons.insert(reason)),
        }
    }
    let candidates: Vec<Candidate> = eligible.iter().map(|(_, _, c)| c.clone()).collect();
    let Some(best) = choose::best(&candidates, views) else {
        reasons.extend(candidates.iter().map(|candidate| {
            format!("a {} view alone is not drafted from (model.views)", name(candidate.view))
        }));
        return Examined::Nothing(reasons.into_iter().collect::<Vec<_>>().join("; "));
    };
    match eligible.into_iter().nth(best) {
        Some((position, object, candidate)) => {
            Examined::Image { position, object: Box::new(object), view: candidate.view }
        }
        None => Examined::Nothing("no image".to_owned()),
    }
}

fn judge(
    spooled: &SpooledObject,
    assume_chest: bool,
    youngest: Option<u32>,
) -> Result<(StoredObject, Candidate), String> {
    if spooled.own_object {
        return Err("made by this node".to_owned());
    }
    if !matches!(spooled.sop_class.kind(), SopKind::Radiograph | SopKind::SecondaryCapture) {
        return Err(format!("{} is stored, not drafted from", spooled.sop_class.name()));
    }
    let object = StoredObject::open(&spooled.path).map_err(|error| error.to_string())?;
    let eligible = eligibility(&object, assume_chest).map_err(|reason| reason.to_string())?;
    check_age(&object, youngest).map_err(|reason| reason.to_string())?;
    let candidate = Candidate::from(&eligible);
    Ok((object, candidate))
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
