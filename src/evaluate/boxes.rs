//! Whether a model looks where a finding is: the pointing game of Zhang et al. (ECCV 2016).
//!
//! The column `boxes` of a table holds JSON, `[["Atelectasis", [left, top, width, height]], …]`, in
//! pixels of the image. A finding of an image is a case; it is hit when the middle of the patch
//! that gives its score the most lies in one of its boxes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::EvaluateError;
use super::bootstrap::{Groups, Interval};
use super::look::{self, Read};
use super::table::Study;
use crate::model::{Model, Region};
use crate::radiograph::GreyImage;
use crate::vocabulary::Observation;

/// A finding with boxes, and where the model looked for it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The finding.
    pub observation: Observation,
    /// Whose it is, where the table says so.
    pub patient: Option<String>,
    boxes: Vec<Region>,
    peak: Region,
    called: bool,
}

/// How often the boxes are hit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pointing {
    /// Findings with boxes.
    pub cases: usize,
    /// Those where the peak lies in a box.
    pub hits: usize,
    /// The share of them.
    pub rate: f64,
    /// Its 95% interval, resampled by patient.
    pub interval: Option<Interval>,
    /// The share where the patch of the peak and a box have a place in common.
    pub touches: f64,
    /// What a point anywhere on the image hits: the mean share of the image that boxes cover.
    pub chance: f64,
    /// What is hit without looking: by the mean middle of this finding's boxes in the other cases.
    pub usual_place: Option<f64>,
    /// Cases whose score is above the threshold, so that a draft would name them.
    pub called: usize,
    /// Those of them that are hit.
    pub called_hits: usize,
}

/// The findings of a study that have boxes and that the model scores.
///
/// # Errors
/// An image that cannot be read, boxes that are none, or a failure of the model.
pub fn cases(model: &Model, study: &Study, read: Read<'_>) -> Result<Vec<Case>, EvaluateError> {
    let Some(text) = study.column("boxes") else { return Ok(vec![]) };
    let image = look::open(study, read)?;
    let wrong = |reason: String| EvaluateError::Table { path: study.image.clone(), reason };
    let boxes = parse(text, &image).map_err(wrong)?;
    let failed = |source| EvaluateError::Model { path: study.image.clone(), source };
    let features = model.encode(&image).map_err(failed)?;
    let thresholds = model.thresholds();
    let mut cases = Vec::new();
    for (observation, boxes) in boxes {
        let name = observation.name();
        let Some(map) = features.saliency().iter().find(|map| map.label == name) else { continue };
        let threshold = thresholds.get(name);
        cases.push(Case {
            observation,
            patient: study.column("patient").map(str::to_owned),
            boxes,
            peak: map.peak(),
            called: map.score >= threshold.copied().unwrap_or(0.5),
        });
    }
    Ok(cases)
}

/// The boxes by finding, as parts of the image.
fn parse(text: &str, image: &GreyImage) -> Result<BTreeMap<Observation, Vec<Region>>, String> {
    let boxes: Vec<(String, [f64; 4])> = serde_json::from_str(text)
        .map_err(|error| format!("{text:?} in column boxes is no list of boxes: {error}"))?;
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    let mut found: BTreeMap<Observation, Vec<Region>> = BTreeMap::new();
    for (name, [left, top, across, down]) in boxes {
        let observation =
            name.parse::<Observation>().map_err(|error| format!("column boxes: {error}"))?;
        if across <= 0.0 || down <= 0.0 {
            return Err(format!(
                "column boxes: a box of {name:?} is {across} wide and {down} high; write [left, top, \
                 width, height], both above 0"
            ));
        }
        found.entry(observation).or_default().push(Region {
            left: left / width,
            top: top / height,
            right: (left + across) / width,
            bottom: (top + down) / height,
        });
    }
    Ok(found)
}

impl Case {
    fn hit_by(&self, (x, y): (f64, f64)) -> bool {
        self.boxes.iter().any(|part| {
            (part.left..=part.right).contains(&x) && (part.top..=part.bottom).contains(&y)
        })
    }

    /// Whether the peak lies in a box.
    pub fn is_hit(&self) -> bool {
        self.hit_by(self.peak.middle())
    }

    fn touches(&self) -> bool {
        self.boxes.iter().any(|part| {
            let (peak, apart) = (&self.peak, f64::EPSILON);
            part.left + apart < peak.right
                && peak.left + apart < part.right
                && part.top + apart < peak.bottom
                && peak.top + apart < part.bottom
        })
    }

    /// The share of the image that its boxes cover; where they overlap, more than is so.
    fn area(&self) -> f64 {
        let of = |part: &Region| (part.right - part.left) * (part.bottom - part.top);
        self.boxes.iter().map(of).sum::<f64>().min(1.0)
    }
}

/// How often the boxes of these cases are hit; `None` without a case.
pub fn pointing(cases: &[&Case], seed: u64) -> Option<Pointing> {
    if cases.is_empty() {
        return None;
    }
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let count = |is: fn(&Case) -> bool| cases.iter().filter(|case| is(case)).count();
    let hits = count(Case::is_hit);
    let groups = Groups::named(cases.iter().map(|case| case.patient.as_deref()));
    let interval = groups.interval(seed, |drawn| {
        let total: u32 = drawn.iter().sum();
        let hit = cases.iter().zip(drawn).filter(|(case, _)| case.is_hit());
        let hit: u32 = hit.map(|(_, times)| times).sum();
        (total > 0).then(|| f64::from(hit) / f64::from(total))
    });
    let usual = usual(cases);
    Some(Pointing {
        cases: cases.len(),
        hits,
        rate: share(hits, cases.len()),
        interval,
        touches: share(count(Case::touches), cases.len()),
        chance: cases.iter().map(|case| case.area()).sum::<f64>() / cases.len() as f64,
        usual_place: (!usual.is_empty())
            .then(|| share(usual.iter().filter(|hit| **hit).count(), usual.len())),
        called: count(|case| case.called),
        called_hits: count(|case| case.called && case.is_hit()),
    })
}

/// For each case that has others of its finding: whether their mean middle hits it.
fn usual(cases: &[&Case]) -> Vec<bool> {
    let mut hits = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let others = cases
            .iter()
            .enumerate()
            .filter(|(other, found)| *other != at && found.observation == case.observation);
        let middles: Vec<(f64, f64)> =
            others.flat_map(|(_, other)| other.boxes.iter().map(Region::middle)).collect();
        if middles.is_empty() {
            continue;
        }
        let mean =
            |of: fn(&(f64, f64)) -> f64| middles.iter().map(of).sum::<f64>() / middles.len() as f64;
        hits.push(case.hit_by((mean(|m| m.0), mean(|m| m.1))));
    }
    hits
}
