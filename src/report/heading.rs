//! What every object that the node makes says of itself: SOP Common, its series and its number.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::identity::INSTANCE_CREATOR;
use super::sr::data_set::DataSet;
use super::{Created, Draft};
use crate::object::StoredObject;
use crate::vocabulary::{InstanceUid, SeriesUid, SopClass};

/// The attributes that differ between the kinds of objects.
pub(crate) struct Heading<'a> {
    pub(crate) sop_class: SopClass,
    pub(crate) modality: &'static str,
    pub(crate) instance: &'a InstanceUid,
    pub(crate) series: &'a SeriesUid,
}

impl Heading<'_> {
    /// Puts them for an object made of a draft at a moment, in the study of `source`.
    pub(crate) fn put(
        &self,
        draft: &Draft,
        source: &StoredObject,
        created: Created,
        object: &mut DataSet,
    ) {
        let (date, time) = (created.date(), created.time());
        let version = draft.version.to_string();
        let values: [(Tag, VR, &str); 13] = [
            (tags::INSTANCE_CREATION_DATE, VR::DA, &date),
            (tags::INSTANCE_CREATION_TIME, VR::TM, &time),
            (tags::INSTANCE_CREATOR_UID, VR::UI, INSTANCE_CREATOR),
            (tags::SOP_CLASS_UID, VR::UI, self.sop_class.uid()),
            (tags::SOP_INSTANCE_UID, VR::UI, self.instance.as_str()),
            (tags::SERIES_DATE, VR::DA, &date),
            (tags::SERIES_TIME, VR::TM, &time),
            (tags::CONTENT_DATE, VR::DA, &date),
            (tags::CONTENT_TIME, VR::TM, &time),
            (tags::MODALITY, VR::CS, self.modality),
            (tags::STUDY_INSTANCE_UID, VR::UI, source.study_uid().as_str()),
            (tags::SERIES_INSTANCE_UID, VR::UI, self.series.as_str()),
            (tags::INSTANCE_NUMBER, VR::IS, &version),
        ];
        for (tag, vr, value) in values {
            object.put(tag, vr, value);
        }
    }
}
