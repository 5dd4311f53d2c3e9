//! NIH's own table of all 112,120 radiographs of ChestX-ray14: far more label sets than there are
//! radiographs to train on, as common as they are in the whole release; and of the radiographs that
//! are trained on who is shown, how, and what the same patient's others were found to show.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::data::{Row, Split};
use super::error::TrainError;
use super::label::{FINDINGS, LabelSet, SCORES};
use crate::vocabulary::hexadecimal;

/// The table's name, as NIH gives it out.
const NAME: &str = "Data_Entry_2017_v2020.csv";
/// What stands in the place of findings where there are none.
const NO_FINDING: &str = "No Finding";

/// One radiograph of the release.
#[derive(Debug, Clone, Default)]
struct Study {
    /// Its file's name without the ending.
    image: String,
    /// The patient's number.
    patient: String,
    labels: LabelSet,
    about: About,
}

/// Who is shown on a radiograph and how, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct About {
    /// The patient's age in years.
    pub age: Option<f32>,
    /// Whether the patient is male.
    pub male: Option<bool>,
    /// Whether the view is posteroanterior (PA), not anteroposterior (AP).
    pub posteroanterior: Option<bool>,
}

/// The radiographs of the release, without their pictures.
#[derive(Debug, Clone)]
pub struct Release {
    studies: Vec<Study>,
    /// Where each image's row is.
    by_image: HashMap<String, usize>,
    /// Where the rows of each patient are.
    by_patient: HashMap<String, Vec<usize>>,
}

/// How many follow-ups away a radiograph counts 1/e of one at the same place.
const DECAY: f32 = 3.0;

/// Counted in with a patient's other radiographs: half of one at the same place, without findings.
const PSEUDO_COUNT: f32 = 0.5;

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
        let studies = studies(text, &aside);
        let studies = studies.map_err(|reason| TrainError::Release { path, reason })?;
        Ok(Some(Self::new(studies)))
    }

    fn new(studies: Vec<Study>) -> Self {
        let (mut by_image, mut by_patient) = (HashMap::new(), HashMap::<_, Vec<usize>>::new());
        for (index, study) in studies.iter().enumerate() {
            by_image.insert(study.image.clone(), index);
            by_patient.entry(study.patient.clone()).or_default().push(index);
        }
        Self { studies, by_image, by_patient }
    }

    /// Of label sets of which nothing else is known.
    pub fn of(sets: Vec<LabelSet>) -> Self {
        let study = |labels| Study { labels, ..Study::default() };
        Self::new(sets.into_iter().map(study).collect())
    }

    /// The label sets, one a radiograph.
    pub fn sets(&self) -> impl ExactSizeIterator<Item = LabelSet> {
        self.studies.iter().map(|study| study.labels)
    }

    /// SHA-256 of the rows, hexadecimal.
    pub fn digest(&self) -> String {
        let mut all = Sha256::new();
        self.studies.iter().for_each(|study| all.update(format!("{study:?}\n")));
        hexadecimal(&all.finalize())
    }

    /// Whether the table has the radiograph whose file has this name without its ending.
    pub fn holds(&self, image: &str) -> bool {
        self.by_image.contains_key(image)
    }

    fn study(&self, image: &str) -> Option<&Study> {
        self.studies.get(*self.by_image.get(image)?)
    }

    /// Who is shown on the radiograph whose file has this name without its ending, and how.
    pub fn about(&self, image: &str) -> About {
        self.study(image).map(|study| study.about).unwrap_or_default()
    }

    /// By score, the weighted share of the same patient's other radiographs, earlier and later, that
    /// show it; nearer ones weigh more, and "abnormal" has the largest share of a finding. All 0 for a
    /// radiograph that is not in the table, or is the patient's only one.
    ///
    /// NIH's labels were mined from reports, and a report leaves out much that those around it name, so
    /// a finding that is not named is not always absent.
    pub fn history(&self, image: &str) -> [f32; SCORES] {
        let mut shares = [0.0; SCORES];
        let Some(own) = self.study(image) else { return shares };
        let mut all = PSEUDO_COUNT;
        let rows = self.by_patient.get(&own.patient).into_iter().flatten();
        for other in rows.filter_map(|row| self.studies.get(*row)) {
            if other.image == own.image {
                continue;
            }
            let weight =
                (-(follow_up(&other.image).abs_diff(follow_up(image)) as f32) / DECAY).exp();
            all += weight;
            let shown = other.labels.targets().map(|target| weight * target);
            shares.iter_mut().zip(shown).for_each(|(share, shown)| *share += shown);
        }
        let mut shares = shares.map(|share| share / all);
        if let Some((abnormal, findings)) = shares.split_last_mut() {
            *abnormal = findings.iter().copied().fold(0.0, f32::max);
        }
        shares
    }

    /// The share of radiographs for which a score is positive, in the order of
    /// [`score_names`](super::label::score_names).
    pub fn prevalence(&self) -> [f32; SCORES] {
        let positive = |score| self.sets().filter(|set| set.contains(score)).count();
        std::array::from_fn(|score| positive(score) as f32 / self.studies.len().max(1) as f32)
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
            let of = self.sets().filter(|set| set.contains(finding) == present);
            let count = |(all, both): (usize, usize), set: LabelSet| {
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

/// The number of the follow-up, which NIH writes behind the patient's.
fn follow_up(image: &str) -> u32 {
    image.rsplit_once('_').and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}

fn studies(text: impl Read, aside: &HashSet<&str>) -> Result<Vec<Study>, String> {
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let known = |name: &str| header.iter().position(|h| h == name);
    let column = |name: &str| known(name).ok_or_else(|| format!("no column {name:?}"));
    let (patient, labels) = (column("Patient ID")?, column("Finding Labels")?);
    let image = column("Image Index")?;
    let [age, sex, view] = ["Patient Age", "Patient Gender", "View Position"].map(known);
    let mut studies = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let field = |column| record.get(column).unwrap_or_default();
        if aside.contains(number(field(patient))) {
            continue;
        }
        let told = |column: Option<usize>| column.map(field).unwrap_or_default();
        let set = label_set(field(labels));
        studies.push(Study {
            image: stem(field(image)).to_owned(),
            patient: number(field(patient)).to_owned(),
            labels: set.map_err(|reason| format!("row {}: {reason}", index + 1))?,
            about: About {
                age: told(age).parse().ok().filter(|years| (0.0..=OLDEST).contains(years)),
                male: one_of(told(sex), "M", "F"),
                posteroanterior: one_of(told(view), "PA", "AP"),
            },
        });
    }
    if studies.is_empty() { Err("no rows".to_owned()) } else { Ok(studies) }
}

/// Some ages in the table are slips of the pen.
const OLDEST: f32 = 100.0;

fn one_of(value: &str, yes: &str, no: &str) -> Option<bool> {
    (value == yes).then_some(true).or((value == no).then_some(false))
}

/// The name of a file without its ending.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
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

    /// One radiograph a patient, each with these labels; the second row's patient is set aside.
    fn release(rows: &[&str]) -> Result<Release, String> {
        let lines =
            rows.iter().enumerate().map(|(i, labels)| format!("{i:08}_000.png,{labels},{i}\n"));
        let text =
            "Image Index,Finding Labels,Patient ID\n".to_owned() + &lines.collect::<String>();
        studies(text.as_bytes(), &HashSet::from([number("00000001")])).map(Release::new)
    }

    #[test]
    fn a_table_is_read_without_the_patients_set_aside() {
        let release = release(&["No Finding", "Hernia", "Effusion|Atelectasis", "Mass"]).unwrap();
        let names = |set: LabelSet| set.findings().map(|f| f.column).collect::<Vec<_>>();
        let all: Vec<_> = release.sets().map(names).collect();
        assert_eq!(all, [vec![], vec!["Atelectasis", "Effusion"], vec!["Mass"]]);
        assert_eq!(release.about("00000002_000"), About::default());
    }

    #[test]
    fn who_is_shown_and_how_is_read() {
        let text = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,\
                    View Position\n\
                    00000007_000.png,Mass,0,7,57,M,PA\n00000007_001.png,No Finding,1,7,414,F,AP\n";
        let release = Release::new(studies(text.as_bytes(), &HashSet::new()).unwrap());
        let man = About { age: Some(57.0), male: Some(true), posteroanterior: Some(true) };
        assert_eq!(release.about("00000007_000"), man);
        let woman = About { age: None, male: Some(false), posteroanterior: Some(false) };
        assert_eq!(release.about("00000007_001"), woman);
        assert_eq!(release.about("00000008_000"), About::default());
    }

    #[test]
    fn a_patients_nearer_radiographs_say_more() {
        let text = "Image Index,Finding Labels,Patient ID\n\
                    00000007_000.png,Mass,7\n00000007_001.png,No Finding,7\n\
                    00000007_009.png,Hernia,7\n00000008_000.png,Edema,8\n";
        let release = Release::new(studies(text.as_bytes(), &HashSet::new()).unwrap());
        let history = release.history("00000007_001");
        let [mass, hernia] = [history[4], history[13]];
        let (near, far) = ((-1.0_f32 / 3.0).exp(), (-8.0_f32 / 3.0).exp());
        assert!((mass - near / (near + far + 0.5)).abs() < 1e-6, "{mass}");
        assert!((hernia - far / (near + far + 0.5)).abs() < 1e-6, "{hernia}");
        assert!((history[14] - mass).abs() < 1e-6, "abnormal as the likeliest finding");
        // A patient's only radiograph, and one that is not in the table.
        for image in ["00000008_000", "00000009_000"] {
            assert!(release.history(image).iter().all(|share| share.abs() < f32::EPSILON));
        }
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
        let release = release(&rows).unwrap();
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
