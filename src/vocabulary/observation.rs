//! What is looked for in a chest radiograph: the 14 observations of CheXpert (Irvin et al., AAAI
//! 2019) and those of NIH ChestX-ray14 (Wang et al., CVPR 2017) that CheXpert lacks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the 21 observations, CheXpert's in its order, then NIH's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// The radiograph shows nothing abnormal, support devices aside.
    NoFinding,
    /// A widened mediastinum or cardiomediastinal silhouette.
    EnlargedCardiomediastinum,
    /// An enlarged heart.
    Cardiomegaly,
    /// A mass, a nodule or another circumscribed lesion of the lung.
    LungLesion,
    /// An opacity of the lung of whatever cause.
    LungOpacity,
    /// Pulmonary edema or heart failure.
    Edema,
    /// Consolidation.
    Consolidation,
    /// Pneumonia or another infection of the lung.
    Pneumonia,
    /// Atelectasis or collapse.
    Atelectasis,
    /// Air in the pleural space.
    Pneumothorax,
    /// Fluid in the pleural space.
    PleuralEffusion,
    /// Another disease of the pleura: thickening, plaques, scars.
    PleuralOther,
    /// A fracture, new or old.
    Fracture,
    /// Tubes, lines, pacemakers, hardware.
    SupportDevices,
    /// An infiltrate, in NIH's words.
    Infiltration,
    /// A rounded lesion of 3 cm and more.
    Mass,
    /// A rounded lesion of less than 3 cm.
    Nodule,
    /// Emphysema.
    Emphysema,
    /// Fibrosis of the lung.
    Fibrosis,
    /// Thickening of the pleura.
    PleuralThickening,
    /// A hiatal or diaphragmatic hernia.
    Hernia,
}

use Observation::{
    Atelectasis, Cardiomegaly, Consolidation, Edema, Emphysema, EnlargedCardiomediastinum,
    Fibrosis, Fracture, Hernia, Infiltration, LungLesion, LungOpacity, Mass, NoFinding, Nodule,
    PleuralEffusion, PleuralOther, PleuralThickening, Pneumonia, Pneumothorax, SupportDevices,
};

impl Observation {
    /// All, in the order of the type.
    pub const ALL: [Self; 21] = [
        NoFinding,
        EnlargedCardiomediastinum,
        Cardiomegaly,
        LungLesion,
        LungOpacity,
        Edema,
        Consolidation,
        Pneumonia,
        Atelectasis,
        Pneumothorax,
        PleuralEffusion,
        PleuralOther,
        Fracture,
        SupportDevices,
        Infiltration,
        Mass,
        Nodule,
        Emphysema,
        Fibrosis,
        PleuralThickening,
        Hernia,
    ];

    /// The 14 of CheXpert, in its order.
    pub const CHEXPERT: [Self; 14] = [
        NoFinding,
        EnlargedCardiomediastinum,
        Cardiomegaly,
        LungLesion,
        LungOpacity,
        Edema,
        Consolidation,
        Pneumonia,
        Atelectasis,
        Pneumothorax,
        PleuralEffusion,
        PleuralOther,
        Fracture,
        SupportDevices,
    ];

    /// The 14 of NIH ChestX-ray14, in the order of its tables.
    pub const NIH: [Self; 14] = [
        Atelectasis,
        Cardiomegaly,
        PleuralEffusion,
        Infiltration,
        Mass,
        Nodule,
        Pneumonia,
        Pneumothorax,
        Consolidation,
        Edema,
        Emphysema,
        Fibrosis,
        PleuralThickening,
        Hernia,
    ];

    /// The name in output, configuration and tables, such as `pleural_effusion`.
    pub const fn name(self) -> &'static str {
        match self {
            NoFinding => "no_finding",
            EnlargedCardiomediastinum => "enlarged_cardiomediastinum",
            Cardiomegaly => "cardiomegaly",
            LungLesion => "lung_lesion",
            LungOpacity => "lung_opacity",
            Edema => "edema",
            Consolidation => "consolidation",
            Pneumonia => "pneumonia",
            Atelectasis => "atelectasis",
            Pneumothorax => "pneumothorax",
            PleuralEffusion => "pleural_effusion",
            PleuralOther => "pleural_other",
            Fracture => "fracture",
            SupportDevices => "support_devices",
            Infiltration => "infiltration",
            Mass => "mass",
            Nodule => "nodule",
            Emphysema => "emphysema",
            Fibrosis => "fibrosis",
            PleuralThickening => "pleural_thickening",
            Hernia => "hernia",
        }
    }

    /// The name for people, such as "Pleural effusion".
    pub const fn display_name(self) -> &'static str {
        match self {
            NoFinding => "No finding",
            EnlargedCardiomediastinum => "Enlarged cardiomediastinum",
            Cardiomegaly => "Cardiomegaly",
            LungLesion => "Lung lesion",
            LungOpacity => "Lung opacity",
            Edema => "Pulmonary edema",
            Consolidation => "Consolidation",
            Pneumonia => "Pneumonia",
            Atelectasis => "Atelectasis",
            Pneumothorax => "Pneumothorax",
            PleuralEffusion => "Pleural effusion",
            PleuralOther => "Other pleural disease",
            Fracture => "Fracture",
            SupportDevices => "Support devices",
            Infiltration => "Infiltration",
            Mass => "Mass",
            Nodule => "Nodule",
            Emphysema => "Emphysema",
            Fibrosis => "Fibrosis",
            PleuralThickening => "Pleural thickening",
            Hernia => "Hernia",
        }
    }

    /// Whether a side can be said of it.
    pub const fn has_side(self) -> bool {
        !matches!(self, NoFinding | EnlargedCardiomediastinum | Cardiomegaly)
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no observation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no observation: take one of {names}, or a column of NIH or CheXpert",
    names = Observation::ALL.map(Observation::name).join(", ")
)]
pub struct UnknownObservation(pub String);

impl FromStr for Observation {
    type Err = UnknownObservation;

    /// Takes this program's names, and the columns of NIH (`Pleural_Thickening`, `Effusion`) and
    /// CheXpert (`Enlarged Cardiomediastinum`), in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.trim().to_lowercase().replace([' ', '-'], "_");
        let plain = match plain.as_str() {
            "effusion" => PleuralEffusion.name(),
            // So in NIH's list of boxes.
            "infiltrate" => Infiltration.name(),
            other => other,
        };
        let found = Self::ALL.into_iter().find(|observation| observation.name() == plain);
        found.ok_or_else(|| UnknownObservation(text.to_owned()))
    }
}
