//! A Secondary Capture (PS3.3 §A.8.1) of where the model looked.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::heading::Heading;
use super::identity::{Evidence, Fingerprint};
use super::maker::{Maker, moment};
use super::picture::{self, Picture};
use super::sr::codes::Code;
use super::sr::copied;
use super::sr::data_set::DataSet;
use super::sr::view::View;
use super::{Draft, NodeIdentity, ObjectFile, ReportError};
use crate::model::Saliency;
use crate::object::StoredObject;
use crate::radiograph::GreyImage;
use crate::vocabulary::SopClass;

/// The series of captures and of key-object selections.
pub(crate) const SERIES_DESCRIPTION: &str = "AI DRAFT - NOT FOR DIAGNOSIS";
const CONTRIBUTION: &str = "Showed where a vision-language model looked";
/// After that of the report.
const SERIES_NUMBER: &str = "9701";
/// CID 7202.
const SOURCE_IMAGE: Code =
    Code::fixed("121322", "DCM", "Source image for image processing operation");

/// What of the image still holds of its picture.
const KEPT: [(Tag, VR); 4] = [
    (tags::BURNED_IN_ANNOTATION, VR::CS),
    (tags::LOSSY_IMAGE_COMPRESSION, VR::CS),
    (tags::LOSSY_IMAGE_COMPRESSION_RATIO, VR::DS),
    (tags::LOSSY_IMAGE_COMPRESSION_METHOD, VR::CS),
];

/// Builds the picture of where the model looked at `source`, whose pixels are `image`.
///
/// `evidence` are all images of the job, as for the report of the same draft.
///
/// # Errors
/// The picture cannot be drawn, or the object not encoded.
pub fn build(
    source: &StoredObject,
    image: &GreyImage,
    looked: &Saliency,
    evidence: &[Evidence],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<ObjectFile, ReportError> {
    let maker = Maker::new(draft, node);
    let picture = picture::draw(image, looked, &format!("Model {}", maker.software()))?;
    let sop_class = SopClass::SecondaryCapture;
    let fingerprint = Fingerprint::new(sop_class, evidence, draft).with_content(&picture.pixels);
    let (instance, series) = (fingerprint.instance(), fingerprint.series());
    let created = moment(draft, source);
    let description = picture::caption(looked);
    let mut capture = DataSet::new();
    copied::patient_and_study(source, &mut capture);
    maker.equipment(created, CONTRIBUTION, &mut capture);
    // Not the radiograph's modality, so that no one takes it for one.
    let heading = Heading { sop_class, modality: "OT", instance: &instance, series: &series };
    heading.put(draft, source, created, &mut capture);
    let values: [(Tag, VR, &str); 5] = [
        (tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY"),
        (tags::CONVERSION_TYPE, VR::CS, "WSD"),
        (tags::SERIES_DESCRIPTION, VR::LO, SERIES_DESCRIPTION),
        (tags::DERIVATION_DESCRIPTION, VR::ST, &description),
        (tags::SERIES_NUMBER, VR::IS, SERIES_NUMBER),
    ];
    for (tag, vr, value) in values {
        capture.put(tag, vr, value);
    }
    let orientation = source.trimmed(tags::PATIENT_ORIENTATION).unwrap_or_default();
    capture.put(tags::PATIENT_ORIENTATION, VR::CS, orientation);
    // What is drafted from is taken for a chest, which has no side; without a body part Laterality
    // would have to be there (PS3.3 §C.7.3.1).
    let body_part = source.trimmed(tags::BODY_PART_EXAMINED).unwrap_or(b"CHEST");
    capture.put(tags::BODY_PART_EXAMINED, VR::CS, body_part);
    for (tag, vr) in KEPT {
        if let Some(value) = source.trimmed(tag) {
            capture.put(tag, vr, value);
        }
    }
    capture.put_sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![reference(source)]);
    pixels(picture, &mut capture);
    let (bytes, data_set_offset) = maker.file(sop_class, instance.as_str(), &capture)?;
    Ok(ObjectFile { sop_class, instance, series, bytes, data_set_offset })
}

fn reference(source: &StoredObject) -> DataSet {
    let mut item = DataSet::new();
    item.put(tags::REFERENCED_SOP_CLASS_UID, VR::UI, source.sop_class_uid().as_str());
    item.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, source.instance_uid().as_str());
    item.put(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "NO");
    item.put_code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &SOURCE_IMAGE);
    item
}

/// Image Pixel (PS3.3 §C.7.6.3).
fn pixels(picture: Picture, capture: &mut DataSet) {
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    let words = [
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::PLANAR_CONFIGURATION, 0),
        (tags::ROWS, side(picture.rows)),
        (tags::COLUMNS, side(picture.columns)),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ];
    for (tag, value) in words {
        capture.put(tag, VR::US, value.to_le_bytes());
    }
    capture.put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB");
    capture.put(tags::PIXEL_DATA, VR::OB, picture.pixels);
}
