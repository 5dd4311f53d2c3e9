//! The labels that training knows: NIH's fourteen findings, and whether a study is abnormal.

use crate::vocabulary::Observation;

/// One of the fourteen findings of NIH ChestX-ray14 (Wang et al., CVPR 2017).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The column of NIH's tables.
    pub column: &'static str,
    /// What manifests, drafts and the grammar call it.
    pub observation: Observation,
}

const fn finding(column: &'static str, observation: Observation) -> Finding {
    Finding { column, observation }
}

/// The findings, in the order of NIH's columns.
pub const FINDINGS: [Finding; 14] = [
    finding("Atelectasis", Observation::Atelectasis),
    finding("Cardiomegaly", Observation::Cardiomegaly),
    finding("Effusion", Observation::PleuralEffusion),
    finding("Infiltration", Observation::Infiltration),
    finding("Mass", Observation::Mass),
    finding("Nodule", Observation::Nodule),
    finding("Pneumonia", Observation::Pneumonia),
    finding("Pneumothorax", Observation::Pneumothorax),
    finding("Consolidation", Observation::Consolidation),
    finding("Edema", Observation::Edema),
    finding("Emphysema", Observation::Emphysema),
    finding("Fibrosis", Observation::Fibrosis),
    finding("Pleural_Thickening", Observation::PleuralThickening),
    finding("Hernia", Observation::Hernia),
];

/// How many scores an encoder gives: the findings, then "abnormal".
pub const SCORES: usize = FINDINGS.len() + 1;

/// The name of the last score.
pub const ABNORMAL: &str = "abnormal";

/// The names of all scores, in their order.
pub fn score_names() -> Vec<&'static str> {
    FINDINGS.iter().map(|f| f.observation.name()).chain([ABNORMAL]).collect()
}

/// What is said of one study: a bit a finding, and one for "abnormal".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LabelSet(u16);

impl LabelSet {
    /// From one flag a score, in the order of [`score_names`]; flags beyond them are ignored.
    /// A study with any finding is abnormal.
    pub fn from_flags(flags: impl IntoIterator<Item = bool>) -> Self {
        let mut set = flags
            .into_iter()
            .take(SCORES)
            .enumerate()
            .fold(0, |set, (index, flag)| set | (u16::from(flag) << index));
        let findings = (1 << FINDINGS.len()) - 1;
        if set & findings != 0 {
            set |= 1 << FINDINGS.len();
        }
        Self(set)
    }

    /// Whether the score of this index is positive.
    pub fn contains(self, index: usize) -> bool {
        index < SCORES && self.0 >> index & 1 == 1
    }

    /// Whether the study is abnormal, with or without a named finding.
    pub fn is_abnormal(self) -> bool {
        self.contains(FINDINGS.len())
    }

    /// The findings present, in the order of [`FINDINGS`].
    pub fn findings(self) -> impl Iterator<Item = &'static Finding> {
        FINDINGS.iter().enumerate().filter(move |(i, _)| self.contains(*i)).map(|(_, f)| f)
    }

    /// One target a score, 0 or 1.
    pub fn targets(self) -> [f32; SCORES] {
        std::array::from_fn(|i| f32::from(u8::from(self.contains(i))))
    }
}
