//! The image of a study that the draft is made from.

use super::eligible::Eligible;
use super::view::View;

/// An eligible image of the study, and what the choice turns on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// How the beam went.
    pub view: View,
    /// Whether it is still to be processed for the eye.
    pub for_processing: bool,
    /// Columns × rows.
    pub pixels: u64,
    /// Date and time as in the object, `YYYYMMDDHHMMSS…`; empty when unknown.
    pub taken: String,
}

impl From<&Eligible> for Candidate {
    fn from(eligible: &Eligible) -> Self {
        Self {
            view: eligible.view,
            for_processing: eligible.for_processing,
            pixels: u64::from(eligible.columns) * u64::from(eligible.rows),
            taken: eligible.taken.clone(),
        }
    }
}

/// The best of them, among the views that are drafted from: PA before AP before unknown before
/// lateral, presentation before processing, then the largest, then the latest, then the first.
pub fn best(candidates: &[Candidate], views: &[View]) -> Option<usize> {
    let allowed = candidates.iter().enumerate().filter(|(_, c)| views.contains(&c.view));
    let merit = |c: &Candidate| (rank(c.view), c.for_processing, std::cmp::Reverse(c.pixels));
    let better =
        allowed.min_by(|(_, a), (_, b)| merit(a).cmp(&merit(b)).then(b.taken.cmp(&a.taken)));
    better.map(|(place, _)| place)
}

const fn rank(view: View) -> u8 {
    match view {
        View::Pa => 0,
        View::Ap => 1,
        View::Unknown => 2,
        View::Lateral => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRONTAL: [View; 3] = [View::Pa, View::Ap, View::Unknown];

    fn image(view: View, for_processing: bool, pixels: u64, taken: &str) -> Candidate {
        Candidate { view, for_processing, pixels, taken: taken.to_owned() }
    }

    #[test]
    fn each_rule_decides_when_those_before_it_do_not() {
        let pa = image(View::Pa, false, 100, "2026");
        let worse = [
            image(View::Ap, false, 900, "2027"),
            image(View::Pa, true, 900, "2027"),
            image(View::Pa, false, 99, "2027"),
            image(View::Pa, false, 100, "2025"),
            pa.clone(),
        ];
        for other in worse {
            assert_eq!(best(&[pa.clone(), other.clone()], &FRONTAL), Some(0), "{other:?}");
            let swapped = if other == pa { Some(0) } else { Some(1) };
            assert_eq!(best(&[other.clone(), pa.clone()], &FRONTAL), swapped, "{other:?}");
        }
    }

    #[test]
    fn a_lateral_counts_only_when_it_is_asked_for() {
        let lateral = image(View::Lateral, false, 100, "");
        assert_eq!(best(std::slice::from_ref(&lateral), &FRONTAL), None);
        assert_eq!(best(&[lateral], &[View::Lateral]), Some(0));
        assert_eq!(best(&[image(View::Ap, false, 1, "")], &[View::Pa]), None);
    }
}
