//! NIH's own table of all 112,120 radiographs of ChestX-ray14: far more label sets than there are
//! radiographs to train on, and as common as they are in the whole release.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::data::{Row, Split};
use super::error::TrainError;
use super::label::{FINDINGS, LabelSet, SCORES};

/// The table's name, as NIH gives it out.
const NAME: &str = "Data_Entry_2017_v2020.csv";
/// What stands in the place of findings where there are none.
const NO_FINDING: &str = "No Finding";

/// The label sets of the release, one a radiograph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    sets: Vec<LabelSet>,
}

impl Release {
    /// Reads the table if the data folder holds it: `Data_Entry_2017_v2020.csv`, packed by gzip
    /// (`.gz`) or not, there or in `metadata/`. Patients with a row in `rows` that is not trained on
    /// are left out.
    pub fn read(data: &Path, rows: &[Row]) -> Result<Option<Self>, TrainError> {
        let places = [data.to_owned(), data.join("metadata")];
        let names = [NAME.to_owned(), format!("{NAME}.gz")];
        let mut paths = places.iter().flat_map(|place| names.iter().map(|name| place.join(name)));
        let Some(path) = paths.find(|path| path.is_file()) else { return Ok(None) };
        let failed = |source| TrainError::File { action: "read it", path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let text: Box<dyn Read> = match path.extension() {
            Some(packed) if packed == "gz" => Box::new(MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        let tested = rows.iter().filter(|row| row.split != Split::Train);
        let aside: HashSet<&str> = tested.map(|row| number(&row.patient)).collect();
        let sets = label_sets(text, &aside);
        let sets = sets.map_err(|reason| TrainError::Release { path, reason })?;
        Ok(Some(Self::of(sets)))
    }

    /// Of these label sets.
    pub fn of(sets: Vec<LabelSet>) -> Self {
        Self { sets }
    }

    /// The label sets.
    pub fn sets(&self) -> &[LabelSet] {
        &self.sets
    }

    /// The share of radiographs for which a score is positive, in the order of
    /// [`score_names`](super::label::score_names).
    pub fn prevalence(&self) -> [f32; SCORES] {
        let positive = |score| self.sets.iter().filter(|set| set.contains(score)).count();
        std::array::from_fn(|score| positive(score) as f32 / self.sets.len().max(1) as f32)
    }

    /// By finding, what each other finding says of it: how much commoner (in probability) the other
    /// is where it is present than where it is absent, `P(other | finding) - P(other | no finding)`;
    /// 1 on the diagonal.
    ///
    /// To first order this is how a finding's log odds move with the evidence for the others when
    /// label sets are as common as here: the slope is the covariance of the two over the finding's
    /// variance.
    pub fn together(&self) -> [[f32; FINDINGS.len()]; FINDINGS.len()] {
        let share = |other: usize, finding: usize, present: bool| {
            let of = self.sets.iter().filter(|set| set.contains(finding) == present);
            let count = |(all, both): (usize, usize), set: &LabelSet| {
                (all + 1, both + usize::from(set.contains(other)))
            };
            let (all, both) = of.fold((0, 0), count);
            (all > 0).then(|| both as f32 / all as f32)
        };
        let slope = |finding, other| {
            if other == finding {
                return 1.0;
            }
            // A finding that all have or none says nothing.
            let shares = share(other, finding, true).zip(share(other, finding, false));
            shares.map_or(0.0, |(with, without)| with - without)
        };
        std::array::from_fn(|finding| std::array::from_fn(|other| slope(finding, other)))
    }
}

/// A patient's number without leading zeros: NIH writes `1` in its table, `00000001` in the names of
/// images.
fn number(patient: &str) -> &str {
    patient.trim().trim_start_matches('0')
}

fn label_sets(text: impl Read, aside: &HashSet<&str>) -> Result<Vec<LabelSet>, String> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| {
        header.iter().position(|h| h == name).ok_or_else(|| format!("no column {name:?}"))
    };
    let (patient, labels) = (column("Patient ID")?, column("Finding Labels")?);
    let mut sets = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let field = |column| record.get(column).unwrap_or_default();
        if aside.contains(number(field(patient))) {
            continue;
        }
        let set = label_set(field(labels));
        sets.push(set.map_err(|reason| format!("row {}: {reason}", index + 1))?);
    }
    if sets.is_empty() { Err("no rows".to_owned()) } else { Ok(sets) }
}

/// Names of findings joined by `|`, or that there is none.
fn label_set(names: &str) -> Result<LabelSet, String> {
    let named: Vec<&str> = names.split('|').filter(|name| *name != NO_FINDING).collect();
    let known = |name: &&str| FINDINGS.iter().any(|finding| finding.column == *name);
    match named.iter().find(|name| !known(name)) {
        Some(name) => Err(format!("unknown finding {name:?}")),
        None => Ok(LabelSet::from_flags(FINDINGS.iter().map(|f| named.contains(&f.column)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(rows: &[&str]) -> Result<Vec<LabelSet>, String> {
        let lines = rows.iter().enumerate().map(|(i, labels)| format!("{labels},{i}\n"));
        let text = "Finding Labels,Patient ID\n".to_owned() + &lines.collect::<String>();
        label_sets(text.as_bytes(), &HashSet::from([number("00000001")]))
    }

    #[test]
    fn a_table_is_read_without_the_patients_set_aside() {
        let sets = release(&["No Finding", "Hernia", "Effusion|Atelectasis", "Mass"]).unwrap();
        let names = |set: &LabelSet| set.findings().map(|f| f.column).collect::<Vec<_>>();
        let all: Vec<_> = sets.iter().map(names).collect();
        assert_eq!(all, [vec![], vec!["Atelectasis", "Effusion"], vec!["Mass"]]);
    }

    #[test]
    fn an_unknown_finding_is_named_with_its_row() {
        let reason = release(&["No Finding", "Mass", "Mess"]).unwrap_err();
        assert_eq!(reason, "row 3: unknown finding \"Mess\"");
    }

    #[test]
    fn findings_that_come_together_speak_for_each_other() {
        // The second patient's row is left out.
        let rows =
            ["Effusion|Atelectasis", "Hernia", "Effusion", "No Finding", "No Finding", "Mass"];
        let release = Release::of(release(&rows).unwrap());
        let slopes = release.together();
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} instead of {b}");
        // Of two with effusion one has atelectasis, of the three without none.
        near(slopes[2][0], 0.5);
        // The one with atelectasis has effusion, of the four without one has.
        near(slopes[0][2], 0.75);
        assert!(slopes[4][2] < 0.0, "mass never comes with effusion here");
        // Nobody has a hernia here.
        near(slopes[13][2], 0.0);
        near(release.prevalence()[FINDINGS.len()], 0.6);
    }
}
