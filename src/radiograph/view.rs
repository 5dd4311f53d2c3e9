//! How the beam went through the patient, by what the object says.

use std::collections::BTreeSet;
use std::str::FromStr;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::object::StoredObject;

/// How the beam went through the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum View {
    /// From behind.
    #[serde(rename = "PA")]
    Pa,
    /// From the front.
    #[serde(rename = "AP")]
    Ap,
    /// From the side.
    #[serde(rename = "LATERAL")]
    Lateral,
    /// The object does not say.
    #[serde(rename = "")]
    Unknown,
}

impl View {
    /// The views of a checked configuration's `model.views`.
    pub fn listed(names: &[String]) -> Vec<Self> {
        names.iter().map(|name| name.parse().unwrap_or(Self::Unknown)).collect()
    }
}

impl FromStr for View {
    type Err = String;

    /// Reads a view as the configuration writes it: `PA`, `AP`, `LATERAL`, or nothing for unknown.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_uppercase().as_str() {
            "PA" => Ok(Self::Pa),
            "AP" => Ok(Self::Ap),
            "LATERAL" | "LL" | "RL" => Ok(Self::Lateral),
            "" => Ok(Self::Unknown),
            _ => Err(format!("{text:?} is no view: PA, AP, LATERAL, or empty for unknown")),
        }
    }
}

/// What names the examination, from the nearest to the image to the furthest.
pub(super) const DESCRIPTIONS: [Tag; 6] = [
    tags::PROTOCOL_NAME,
    tags::ACQUISITION_DEVICE_PROCESSING_DESCRIPTION,
    tags::SERIES_DESCRIPTION,
    tags::PERFORMED_PROCEDURE_STEP_DESCRIPTION,
    tags::STUDY_DESCRIPTION,
    tags::REQUESTED_PROCEDURE_DESCRIPTION,
];

/// What words say of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Nothing.
    Nothing,
    /// One of those that a draft may be made from, or a lateral.
    One(View),
    /// Several, as the description of a study does.
    Several,
    /// A view of its own, neither upright nor from the side: oblique, lying on the side.
    Other,
}

/// View Position, then the view's code, then words in descriptions, then how the patient lies in
/// the image. The first that names a view decides, also where it is none of [`View`]'s.
pub(super) fn view(object: &StoredObject) -> View {
    let stated = object.value(tags::VIEW_POSITION);
    let coded = object.items(tags::VIEW_CODE_SEQUENCE).into_iter().flat_map(|item| {
        let code = view_of_code(&item.value(tags::CODE_VALUE).unwrap_or_default());
        let words = named(&item.text(tags::CODE_MEANING).unwrap_or_default());
        [code.map_or(Named::Nothing, Named::One), words]
    });
    let described = DESCRIPTIONS.iter().filter_map(|&tag| Some(named(&object.text(tag)?)));
    for said in stated.map(|position| named(&position)).into_iter().chain(coded).chain(described) {
        match said {
            Named::One(view) => return view,
            Named::Other => return View::Unknown,
            Named::Nothing | Named::Several => {}
        }
    }
    // Rows that run towards the front or the back are seen from the side.
    match object.value(tags::PATIENT_ORIENTATION) {
        Some(row) if row.starts_with(['A', 'P']) => View::Lateral,
        _ => View::Unknown,
    }
}

/// PS3.16 CID 4010, in SNOMED CT and SNOMED RT.
fn view_of_code(code: &str) -> Option<View> {
    match code {
        "272479007" | "R-10214" | "R-40888" => Some(View::Pa),
        "399348003" | "R-10206" => Some(View::Ap),
        "399067008" | "399173006" | "399198007" | "R-102CD" | "R-10232" | "R-10236" => {
            Some(View::Lateral)
        }
        _ => None,
    }
}

/// The view that a text names, in the languages of the field.
fn named(text: &str) -> Named {
    const SPELLED: [(&str, &str); 8] = [
        ("POSTERO-ANTERIOR", "PA"),
        ("ANTERO-POSTERIOR", "AP"),
        ("P.A", "PA"),
        ("A.P", "AP"),
        ("側面", " LATERAL "),
        ("側位", " LATERAL "),
        ("侧位", " LATERAL "),
        ("측면", " LATERAL "),
    ];
    let upper = text.to_uppercase();
    let upper = SPELLED.iter().fold(upper, |text, (long, short)| text.replace(long, short));
    let (mut views, mut other) = (BTreeSet::new(), false);
    for word in upper.split(|c: char| !c.is_alphanumeric()) {
        match word {
            "PA" => drop(views.insert(View::Pa)),
            "AP" => drop(views.insert(View::Ap)),
            word if OTHER.contains(&word) || begins(word, OTHER_STEMS) => other = true,
            word if begins(word, &["POSTEROANTERIOR"]) => drop(views.insert(View::Pa)),
            word if begins(word, &["ANTEROPOSTERIOR"]) => drop(views.insert(View::Ap)),
            word if begins(word, &["LATERALIT", "LATERALID", "LATÉRALIT"]) => {}
            word if LATERAL.contains(&word) || begins(word, LATERAL_STEMS) => {
                views.insert(View::Lateral);
            }
            _ => {}
        }
    }
    match Vec::from_iter(views).as_slice() {
        // "Left lateral decubitus" is one view.
        [] | [View::Lateral] if other => Named::Other,
        [] => Named::Nothing,
        [view] if !other => Named::One(*view),
        _ => Named::Several,
    }
}

const LATERAL: &[&str] =
    &["LAT", "LL", "RL", "LLAT", "RLAT", "PERFIL", "PROFIL", "PROFILO", "BOCZNE", "BOČNÍ"];
/// "Lateral", "latérale", "seitlich", "боковая".
const LATERAL_STEMS: &[&str] =
    &["LATERAL", "LATÉRAL", "LATERAAL", "LATEROLATERAL", "SEITL", "SEITENA", "БОКОВ"];
const OTHER: &[&str] = &["LLD", "RLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO"];
const OTHER_STEMS: &[&str] = &["DECUB", "OBLIQ", "OBLIC", "SCHRÄG"];

fn begins(word: &str, stems: &[&str]) -> bool {
    stems.iter().any(|stem| word.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_view_only_when_they_name_one() {
        for (text, said) in [
            ("PA", Named::One(View::Pa)),
            ("Chest a.p. / AP portable", Named::One(View::Ap)),
            ("XR CHEST PA AND LATERAL", Named::Several),
            ("Thorax LAT", Named::One(View::Lateral)),
            ("Thorax p.a.", Named::One(View::Pa)),
            ("Thorax seitl.", Named::One(View::Lateral)),
            ("Thorax seitlich", Named::One(View::Lateral)),
            ("TORAX PERFIL", Named::One(View::Lateral)),
            ("Thorax de profil", Named::One(View::Lateral)),
            ("胸部側面", Named::One(View::Lateral)),
            ("胸部正面", Named::Nothing),
            ("postero-anterior", Named::One(View::Pa)),
            ("left lateral decubitus", Named::Other),
            ("RAO", Named::Other),
            ("DECUBITUS, PA, LAT", Named::Several),
            ("PA/LAT/DECUBITUS", Named::Several),
            ("Standard profile 2", Named::Nothing),
            ("Lateralität: R", Named::Nothing),
            ("PATELLA", Named::Nothing),
            ("Laterality L", Named::Nothing),
        ] {
            assert_eq!(named(text), said, "{text}");
        }
    }
}
