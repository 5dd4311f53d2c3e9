//! The coded concepts that a report holds: the only ones that [`super::check`] lets pass
//! (PS3.16; LOINC; SNOMED CT).

use std::borrow::Cow;

use crate::report::CodedFinding;

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
    PNEUMOTHORAX "36118008" "SCT" "Pneumothorax";
    PLEURAL_EFFUSION "60046008" "SCT" "Pleural effusion";
    PULMONARY_EDEMA "19242006" "SCT" "Pulmonary edema";
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

impl From<CodedFinding> for Code {
    fn from(finding: CodedFinding) -> Self {
        match finding {
            CodedFinding::Pneumothorax => PNEUMOTHORAX,
            CodedFinding::PleuralEffusion => PLEURAL_EFFUSION,
            CodedFinding::PulmonaryEdema => PULMONARY_EDEMA,
        }
    }
}
