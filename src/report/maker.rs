//! The node and the model as what made an object.

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::FileMetaTableBuilder;

use super::sr::codes;
use super::sr::data_set::DataSet;
use super::sr::tree::Observer;
use super::sr::view::View;
use super::text::attribute;
use super::{Created, Draft, NodeIdentity, ReportError, identity};
use crate::dimse::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::object::StoredObject;
use crate::vocabulary::{SopClass, TransferSyntax};

pub(crate) const PRODUCT: &str = "Thorascribe";

/// Names and versions, each as its attribute takes it.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    node: &'a NodeIdentity,
    program: String,
    pub(crate) device: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) manufacturer: String,
    pub(crate) station: String,
}

impl<'a> Maker<'a> {
    /// Of what is made from a draft on a node.
    pub(crate) fn new(draft: &Draft, node: &'a NodeIdentity) -> Self {
        let digest = draft.model.digest.rsplit(':').next().unwrap_or_default();
        Self {
            node,
            program: attribute(&draft.program_version, 64),
            device: identity::device(node, draft).to_string(),
            model: attribute(&draft.model.name, 64),
            serial: attribute(digest, 64),
            manufacturer: attribute(&node.manufacturer, 64),
            station: attribute(&node.station_name, 16),
        }
    }

    /// The model's name with the start of its digest.
    pub(crate) fn software(&self) -> String {
        let short: String = self.serial.chars().take(12).collect();
        attribute(&format!("{} {short}", attribute(&self.model, 51)), 64)
    }

    /// General Equipment, and the model as contributing equipment with what it did.
    pub(crate) fn equipment(&self, created: Created, contribution: &str, object: &mut DataSet) {
        let software = self.software();
        object.put(tags::MANUFACTURER, VR::LO, &self.manufacturer);
        object.put(tags::STATION_NAME, VR::SH, &self.station);
        object.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, PRODUCT);
        object.put(tags::DEVICE_SERIAL_NUMBER, VR::LO, self.node.ae_title.as_str());
        object.put(tags::DEVICE_UID, VR::UI, &self.device);
        object.put(tags::SOFTWARE_VERSIONS, VR::LO, format!("{}\\{software}", self.program));

        let mut model = DataSet::new();
        model.put(tags::MANUFACTURER, VR::LO, &self.manufacturer);
        model.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, &self.model);
        model.put(tags::DEVICE_SERIAL_NUMBER, VR::LO, &self.serial);
        model.put(tags::SOFTWARE_VERSIONS, VR::LO, &software);
        model.put(tags::CONTRIBUTION_DATE_TIME, VR::DT, created.date_time());
        model.put(tags::CONTRIBUTION_DESCRIPTION, VR::ST, contribution);
        model.put_code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &codes::PROCESSING_EQUIPMENT);
        object.put_sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![model]);
    }

    /// The device that observed.
    pub(crate) fn observer(&self) -> Observer {
        Observer {
            uid: self.device.clone(),
            name: self.station.clone(),
            manufacturer: self.manufacturer.clone(),
            model: self.model.clone(),
            serial: self.serial.clone(),
        }
    }

    /// Preamble, file meta information and data set (PS3.10 §7.1); where the data set starts.
    pub(crate) fn file(
        &self,
        class: SopClass,
        instance: &str,
        data_set: &DataSet,
    ) -> Result<(Vec<u8>, u64), ReportError> {
        let encoding = |error: &dyn std::error::Error| ReportError::Encoding(error.to_string());
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(class.uid())
            .media_storage_sop_instance_uid(instance)
            .transfer_syntax(TransferSyntax::ExplicitLittle.uid())
            .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
            .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
            .source_application_entity_title(self.node.ae_title.as_str())
            .build()
            .map_err(|error| encoding(&error))?;
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM");
        meta.write(&mut bytes).map_err(|error| encoding(&error))?;
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(&data_set.encode()?);
        Ok((bytes, offset))
    }
}

/// The moment of a draft on the clock of the image that it was made from.
pub(crate) fn moment(draft: &Draft, source: &StoredObject) -> Created {
    draft.created.in_zone(&source.ascii(tags::TIMEZONE_OFFSET_FROM_UTC))
}
