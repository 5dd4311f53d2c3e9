//! Is it a chest radiograph that a draft may be made from, and how was it taken?

use dicom_dictionary_std::tags;

use super::age::age_at_most;
use super::header::PixelHeader;
use super::view::{DESCRIPTIONS, View, view};
use super::{RadiographError, codec};
use crate::object::StoredObject;
use crate::vocabulary::{SopClass, SopKind};

/// An image that a draft may be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eligible {
    /// How it was taken.
    pub view: View,
    /// Whether it is still to be processed for the eye (DX For Processing).
    pub for_processing: bool,
    /// In pixels.
    pub columns: u32,
    /// In pixels.
    pub rows: u32,
    /// Acquisition, content or study date and time, `YYYYMMDDHHMMSS…`; empty when unknown.
    pub taken: String,
}

/// Why no draft is made from an object.
#[derive(Debug, thiserror::Error)]
pub enum NotEligible {
    /// Not a class of radiographs.
    #[error("{0} is kept and forwarded, not drafted from")]
    Class(String),
    /// A secondary capture of something else.
    #[error(
        "the modality is {0}: of secondary captures only those of CR, DX or RG are drafted from"
    )]
    Modality(String),
    /// Several frames.
    #[error("the image has {0} frames, a radiograph has one")]
    Frames(String),
    /// Neither MONOCHROME1 nor MONOCHROME2, nor grey written as colour.
    #[error("the photometric interpretation {0} is not that of a radiograph")]
    Photometric(String),
    /// Another part of the body.
    #[error("the body part is {0}, not a chest")]
    BodyPart(String),
    /// Nothing says which part of the body it is.
    #[error(
        "body part unknown: neither region, body part, view, protocol nor description says chest (study.assume_chest would draft from it)"
    )]
    UnknownBodyPart,
    /// Younger than the model is made for.
    #[error("the patient is {years} years old; the model is made for patients from {youngest} on")]
    TooYoung {
        /// Full years.
        years: u32,
        /// The youngest that it is made for.
        youngest: u32,
    },
    /// The pixels cannot be read.
    #[error(transparent)]
    Pixels(#[from] RadiographError),
}

/// Refuses a patient who is known to be younger than a model is made for.
pub fn check_age(object: &StoredObject, youngest: Option<u32>) -> Result<(), NotEligible> {
    match (age_at_most(object), youngest) {
        (Some(years), Some(youngest)) if years < f64::from(youngest) => {
            Err(NotEligible::TooYoung { years: years as u32, youngest })
        }
        _ => Ok(()),
    }
}

/// Decides whether a draft may be made from an object. `assume_chest` stands in where nothing
/// says which part of the body it shows.
pub fn eligibility(object: &StoredObject, assume_chest: bool) -> Result<Eligible, NotEligible> {
    let decoded = || codec::decode(object, &PixelHeader::of(object)?).map(drop);
    eligibility_by(object, assume_chest, decoded)
}

/// [`eligibility`]; `decoded` says whether an image in colour can be decoded and is grey.
pub fn eligibility_by(
    object: &StoredObject,
    assume_chest: bool,
    decoded: impl FnOnce() -> Result<(), RadiographError>,
) -> Result<Eligible, NotEligible> {
    check_class(object)?;
    check_body_part(object, assume_chest)?;
    if object.pixel_data().is_none() {
        return Err(RadiographError::NoPixelData.into());
    }
    let frames = object.value(tags::NUMBER_OF_FRAMES);
    if let Some(frames) = frames.filter(|frames| frames.parse() != Ok(1)) {
        return Err(NotEligible::Frames(shown(&frames)));
    }
    let header = PixelHeader::of(object)?;
    check_photometric(object, header.samples)?;
    if header.samples == 1 {
        codec::check(object, &header)?;
    } else {
        // Whether colour is grey only its pixels say.
        decoded()?;
    }
    Ok(Eligible {
        view: view(object),
        for_processing: is_for_processing(object),
        columns: header.columns,
        rows: header.rows,
        taken: taken(object),
    })
}

fn check_class(object: &StoredObject) -> Result<(), NotEligible> {
    let class = object.sop_class();
    match class.map(SopClass::kind) {
        Some(SopKind::Radiograph) => Ok(()),
        Some(SopKind::SecondaryCapture) => match object.value(tags::MODALITY) {
            Some(modality) if matches!(modality.as_str(), "CR" | "DX" | "RG") => Ok(()),
            modality => Err(NotEligible::Modality(shown(&modality.unwrap_or("not stated".into())))),
        },
        _ => {
            let name =
                class.map_or_else(|| object.sop_class_uid().to_string(), |c| c.name().to_owned());
            Err(NotEligible::Class(name))
        }
    }
}

fn check_photometric(object: &StoredObject, samples: u32) -> Result<(), NotEligible> {
    let stated = object.value(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or("not stated".into());
    let fits = match samples {
        1 => matches!(stated.as_str(), "MONOCHROME1" | "MONOCHROME2"),
        _ => stated == "RGB" || stated.starts_with("YBR_"),
    };
    if fits { Ok(()) } else { Err(NotEligible::Photometric(shown(&stated))) }
}

fn is_for_processing(object: &StoredObject) -> bool {
    object.sop_class() == Some(SopClass::DxProcessing)
        || object.value(tags::PRESENTATION_INTENT_TYPE).is_some_and(|i| i == "FOR PROCESSING")
}

/// The coded region, then the body part, then whatever names the examination. The first that says
/// something decides; free text can only say chest.
fn check_body_part(object: &StoredObject, assume_chest: bool) -> Result<(), NotEligible> {
    if let Some(region) = object.items(tags::ANATOMIC_REGION_SEQUENCE).first() {
        let code = region.value(tags::CODE_VALUE).unwrap_or_default();
        let meaning = region.text(tags::CODE_MEANING).unwrap_or_default();
        if CHEST_CODES.contains(&code.as_str()) || says_chest(&meaning) {
            return Ok(());
        }
        if !code.is_empty() || !meaning.is_empty() {
            let named = if meaning.is_empty() { code } else { meaning };
            return Err(NotEligible::BodyPart(shown(&named.to_lowercase())));
        }
    }
    let part = object.value(tags::BODY_PART_EXAMINED).unwrap_or_default();
    if says_chest(&part) {
        return Ok(());
    }
    if !part.is_empty() && !SAYS_NOTHING.contains(&part.to_ascii_uppercase().as_str()) {
        return Err(NotEligible::BodyPart(shown(&part.to_lowercase())));
    }
    let views = object.items(tags::VIEW_CODE_SEQUENCE);
    let meanings = views.iter().filter_map(|view| view.text(tags::CODE_MEANING));
    let described = DESCRIPTIONS.iter().filter_map(|&tag| object.text(tag));
    if meanings.chain(described).any(|text| says_chest(&text)) || assume_chest {
        return Ok(());
    }
    Err(NotEligible::UnknownBodyPart)
}

/// Chest, thorax, lung and pair of lungs in SNOMED CT and in SNOMED RT (PS3.16 CID 4, CID 4031).
const CHEST_CODES: [&str; 10] = [
    "51185008",
    "816094009",
    "43799004",
    "39607008",
    "3341006",
    "44029006",
    "74101002",
    "T-D3000",
    "T-D3200",
    "T-28000",
];

/// Body parts that say nothing.
const SAYS_NOTHING: [&str; 7] = ["UNKNOWN", "UNDEFINED", "OTHER", "ANY", "DEFAULT", "NONE", "N/A"];

/// Chest in the languages of the field, also inside a word ("2VCXR", "Röntgenthorax"); a spine is
/// none, wherever it is.
fn says_chest(text: &str) -> bool {
    const CHEST: [&str; 11] = [
        "CHEST",
        "THORAX",
        "TORAX",
        "TÓRAX",
        "RÖNTGENLUNG",
        "PULMO",
        "THX",
        "CXR",
        "胸",
        "ГРУД",
        "ΘΏΡΑΚΑ",
    ];
    const NOT_CHEST: [&str; 3] = ["CHESTER", "CHESTNUT", "ORCHEST"];
    const SPINE: [&str; 3] = ["SPINE", "WIRBEL", "COLUMNA"];
    let upper = text.to_uppercase();
    let upper = NOT_CHEST.iter().fold(upper, |text, name| text.replace(name, " "));
    // Not in "Einstellung".
    let lung = || upper.split(|c: char| !c.is_alphabetic()).any(|word| word.starts_with("LUNG"));
    (CHEST.iter().any(|word| upper.contains(word)) || lung())
        && !SPINE.iter().any(|word| upper.contains(word))
}

fn taken(object: &StoredObject) -> String {
    if let Some(moment) = object.value(tags::ACQUISITION_DATE_TIME) {
        return moment;
    }
    let pairs = [
        (tags::ACQUISITION_DATE, tags::ACQUISITION_TIME),
        (tags::CONTENT_DATE, tags::CONTENT_TIME),
        (tags::STUDY_DATE, tags::STUDY_TIME),
    ];
    let moment = |(date, time)| Some(object.value(date)? + &object.value(time).unwrap_or_default());
    pairs.into_iter().find_map(moment).unwrap_or_default()
}

/// Text of a peer as it may stand in a reason: no control characters, at most 64 of the rest.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chest_is_known_by_its_names() {
        for text in [
            "CHEST",
            "Rx tórax",
            "THORAX ap",
            "胸部正面",
            "lungs",
            "Röntgenthorax",
            "1V_CHEST",
            "2VCXR",
            "PORTABLECHEST",
            "Röntgenlunge",
        ] {
            assert!(says_chest(text), "{text}");
        }
        for text in [
            "HAND",
            "",
            "Thoracic spine",
            "ABDOMEN",
            "CHEST SPINE",
            "Knie Spezialeinstellung",
            "MANCHESTER KNEE",
            "Chester clinic",
        ] {
            assert!(!says_chest(text), "{text}");
        }
    }
}
