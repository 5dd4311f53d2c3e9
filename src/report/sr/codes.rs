//! The coded concepts that a report holds: the only ones that [`super::check`] lets pass
//! (PS3.16; LOINC; SNOMED CT).

use std::borrow::Cow;

use crate::findings::{Laterality, Severity};
use crate::vocabulary::{Observation, Priority};

/// A code with its scheme and meaning (PS3.3 §8), as bytes in the object's character set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) value: Cow<'static, [u8]>,
    pub(crate) scheme: Cow<'static, [u8]>,
    pub(crate) version: Option<Cow<'static, [u8]>>,
    pub(crate) meaning: Cow<'static, [u8]>,
}

macro_rules! codes {
    ($($name:ident $value:literal $scheme:literal $meaning:literal;)*) => {
        $(pub(crate) const $name: Code = Code {
            value: Cow::Borrowed($value.as_bytes()),
            scheme: Cow::Borrowed($scheme.as_bytes()),
            version: None,
            meaning: Cow::Borrowed($meaning.as_bytes()),
        };)*

        /// All of them.
        pub(crate) const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    X_RAY_REPORT "43468-8" "LN" "X-Ray Report";
    PROCEDURE_REPORTED "121058" "DCM" "Procedure reported";
    ACQUISITION_DEVICE_TYPE "122142" "DCM" "Acquisition Device Type";
    DIGITAL_RADIOGRAPHY "DX" "DCM" "Digital Radiography";
    COMPUTED_RADIOGRAPHY "CR" "DCM" "Computed Radiography";
    RADIOGRAPHIC_IMAGING "RG" "DCM" "Radiographic imaging";
    TARGET_REGION "123014" "DCM" "Target Region";
    CHEST "816094009" "SCT" "Chest";
    LANGUAGE "121049" "DCM" "Language of Content Item and Descendants";
    ENGLISH "en-US" "RFC5646" "English (United States)";
    OBSERVER_TYPE "121005" "DCM" "Observer Type";
    PERSON "121006" "DCM" "Person";
    PERSON_NAME "121008" "DCM" "Person Observer Name";
    DEVICE "121007" "DCM" "Device";
    DEVICE_UID "121012" "DCM" "Device Observer UID";
    DEVICE_NAME "121013" "DCM" "Device Observer Name";
    DEVICE_MANUFACTURER "121014" "DCM" "Device Observer Manufacturer";
    DEVICE_MODEL_NAME "121015" "DCM" "Device Observer Model Name";
    DEVICE_SERIAL_NUMBER "121016" "DCM" "Device Observer Serial Number";
    SUMMARY "55112-7" "LN" "Summary";
    FINDINGS "59776-5" "LN" "Findings";
    IMPRESSIONS "19005-8" "LN" "Impressions";
    KEY_IMAGES "55113-5" "LN" "Key Images";
    FINDING "121071" "DCM" "Finding";
    IMPRESSION "121073" "DCM" "Impression";
    SOURCE_OF_MEASUREMENT "121112" "DCM" "Source of Measurement";
    BEST_ILLUSTRATION "121080" "DCM" "Best illustration of finding";
    PROCESSING_EQUIPMENT "109102" "DCM" "Processing Equipment";
    PRIORITY "260870009" "SCT" "Priority";
    STAT "49499008" "SCT" "Stat";
    URGENT "103391001" "SCT" "Urgent";
    ROUTINE "50811001" "SCT" "Routine";
    PRESENCE "121052" "DCM" "Presence of property";
    PRESENT "121053" "DCM" "Present";
    EQUIVOCAL "42425007" "SCT" "Equivocal";
    PROBABILITY "122157" "DCM" "Probability";
    LATERALITY "272741003" "SCT" "Laterality";
    LEFT "7771000" "SCT" "Left";
    RIGHT "24028007" "SCT" "Right";
    BILATERAL "51440002" "SCT" "Bilateral";
    SEVERITY "246112005" "SCT" "Severity";
    MINIMAL "255605001" "SCT" "Minimal";
    SMALL "255507004" "SCT" "Small";
    MILD "255604002" "SCT" "Mild";
    MODERATE "6736007" "SCT" "Moderate";
    LARGE "255509001" "SCT" "Large";
    SEVERE "24484000" "SCT" "Severe";
    NO_ABNORMALITY "111286" "DCM" "No abnormality";
    ENLARGED_CARDIOMEDIASTINUM "ECM" "99THORASCRIBE" "Enlarged cardiomediastinum";
    CARDIOMEGALY "8186001" "SCT" "Cardiomegaly";
    LUNG_LESION "52988006" "SCT" "Lesion";
    LUNG_OPACITY "112033" "DCM" "Abnormal opacity";
    PULMONARY_EDEMA "19242006" "SCT" "Pulmonary edema";
    CONSOLIDATION "95436008" "SCT" "Lung consolidation";
    PNEUMONIA "233604007" "SCT" "Pneumonia";
    ATELECTASIS "46621007" "SCT" "Atelectasis";
    PNEUMOTHORAX "36118008" "SCT" "Pneumothorax";
    PLEURAL_EFFUSION "60046008" "SCT" "Pleural effusion";
    PLEURAL_OTHER "PLEURA" "99THORASCRIBE" "Other pleural abnormality";
    FRACTURE "125605004" "SCT" "Fracture of bone";
    SUPPORT_DEVICES "DEVICES" "99THORASCRIBE" "Support devices";
    INFILTRATE "112121" "DCM" "Infiltrate";
    MASS "309529002" "SCT" "Lung mass";
    NODULE "427359005" "SCT" "Solitary nodule of lung";
    EMPHYSEMA "87433001" "SCT" "Pulmonary emphysema";
    FIBROSIS "51615001" "SCT" "Pulmonary fibrosis";
    PLEURAL_THICKENING "PTHICK" "99THORASCRIBE" "Pleural thickening";
    HERNIA "39839004" "SCT" "Diaphragmatic hernia";
}

impl Code {
    /// A code of another object than the report.
    pub(in crate::report) const fn fixed(
        value: &'static str,
        scheme: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self {
            value: Cow::Borrowed(value.as_bytes()),
            scheme: Cow::Borrowed(scheme.as_bytes()),
            version: None,
            meaning: Cow::Borrowed(meaning.as_bytes()),
        }
    }

    /// The meaning that the table gives to a value of a scheme.
    pub(crate) fn meaning_of(value: &[u8], scheme: &[u8]) -> Option<&'static [u8]> {
        let known = ALL.iter().find(|code| *code.value == *value && *code.scheme == *scheme)?;
        match &known.meaning {
            Cow::Borrowed(meaning) => Some(meaning),
            Cow::Owned(_) => None,
        }
    }

    /// How a radiograph of a modality was acquired (CID 29).
    pub(crate) fn of_modality(modality: &str) -> Option<Self> {
        match modality {
            "DX" => Some(DIGITAL_RADIOGRAPHY),
            "CR" => Some(COMPUTED_RADIOGRAPHY),
            "RG" => Some(RADIOGRAPHIC_IMAGING),
            _ => None,
        }
    }
}

impl From<Observation> for Code {
    /// The project's own scheme stands where no code of SNOMED CT or DICOM could be checked.
    fn from(observation: Observation) -> Self {
        match observation {
            Observation::NoFinding => NO_ABNORMALITY,
            Observation::EnlargedCardiomediastinum => ENLARGED_CARDIOMEDIASTINUM,
            Observation::Cardiomegaly => CARDIOMEGALY,
            Observation::LungLesion => LUNG_LESION,
            Observation::LungOpacity => LUNG_OPACITY,
            Observation::Edema => PULMONARY_EDEMA,
            Observation::Consolidation => CONSOLIDATION,
            Observation::Pneumonia => PNEUMONIA,
            Observation::Atelectasis => ATELECTASIS,
            Observation::Pneumothorax => PNEUMOTHORAX,
            Observation::PleuralEffusion => PLEURAL_EFFUSION,
            Observation::PleuralOther => PLEURAL_OTHER,
            Observation::Fracture => FRACTURE,
            Observation::SupportDevices => SUPPORT_DEVICES,
            Observation::Infiltration => INFILTRATE,
            Observation::Mass => MASS,
            Observation::Nodule => NODULE,
            Observation::Emphysema => EMPHYSEMA,
            Observation::Fibrosis => FIBROSIS,
            Observation::PleuralThickening => PLEURAL_THICKENING,
            Observation::Hernia => HERNIA,
        }
    }
}

impl From<Priority> for Code {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Stat => STAT,
            Priority::Urgent => URGENT,
            Priority::Routine => ROUTINE,
        }
    }
}

impl From<Laterality> for Code {
    fn from(side: Laterality) -> Self {
        match side {
            Laterality::Left => LEFT,
            Laterality::Right => RIGHT,
            Laterality::Bilateral => BILATERAL,
        }
    }
}

impl From<Severity> for Code {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Minimal => MINIMAL,
            Severity::Small => SMALL,
            Severity::Mild => MILD,
            Severity::Moderate => MODERATE,
            Severity::Large => LARGE,
            Severity::Severe => SEVERE,
        }
    }
}
