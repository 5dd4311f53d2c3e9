//! The whole SR object: modules around the content tree (PS3.3 §A.35), as a Part 10 file.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::FileMetaTableBuilder;

use super::codes::{self, Code};
use super::copied;
use super::data_set::DataSet;
use super::tree::{self, ImageReference, Narrative, Observer};
use super::view::View;
use super::{SrClass, SrFile};
use crate::dimse::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::object::StoredObject;
use crate::report::draft::Sections;
use crate::report::identity::{self, Evidence, Fingerprint, INSTANCE_CREATOR};
use crate::report::text::{Repertoire, attribute};
use crate::report::{Created, Draft, NodeIdentity, Predecessor, ReportError};
use crate::vocabulary::TransferSyntax;

pub(super) const SERIES_DESCRIPTION: &str = "AI DRAFT - UNVERIFIED";
pub(super) const COMPLETION: &str = "AI draft, not reviewed";
pub(super) const PRODUCT: &str = "Thorascribe";
pub(super) const CONTRIBUTION: &str = "Vision-language model drafted report text";
/// Beyond the numbers that modalities use.
const SERIES_NUMBER: &str = "9700";

/// What every module of one report is made from.
struct Parts<'a> {
    class: SrClass,
    source: &'a StoredObject,
    evidence: &'a [Evidence],
    draft: &'a Draft,
    node: &'a NodeIdentity,
    created: Created,
    device: String,
    model: String,
    serial: String,
    manufacturer: String,
    station: String,
}

/// Builds the report of a draft.
///
/// `source` is the image drafted from, `evidence` are all images of the job.
///
/// # Errors
/// The draft is blank, or `source` is not among `evidence`.
pub fn build(
    class: SrClass,
    source: &StoredObject,
    evidence: &[Evidence],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<SrFile, ReportError> {
    if !evidence.iter().any(|image| image.instance == *source.instance_uid()) {
        return Err(ReportError::NotInEvidence(source.instance_uid().clone()));
    }
    let digest = draft.model.digest.rsplit(':').next().unwrap_or_default();
    let parts = Parts {
        class,
        source,
        evidence,
        draft,
        node,
        created: draft.created.in_zone(&source.ascii(tags::TIMEZONE_OFFSET_FROM_UTC)),
        device: identity::device(node, draft).to_string(),
        model: attribute(&draft.model.name, 64),
        serial: attribute(digest, 64),
        manufacturer: attribute(&node.manufacturer, 64),
        station: attribute(&node.station_name, 16),
    };
    let fingerprint = Fingerprint::new(class.sop_class(), evidence, draft);
    let (instance, series) = (fingerprint.instance(), fingerprint.series());
    let mut report = DataSet::new();
    copied::patient_and_study(source, &mut report);
    parts.general(&mut report, instance.as_str(), series.as_str());
    parts.equipment(&mut report);
    parts.references(&mut report);
    let narrative = parts.narrative()?;
    parts.content(&mut report, &narrative);
    let (bytes, data_set_offset) = parts.file(instance.as_str(), &report.encode()?)?;
    Ok(SrFile { sop_class: class.sop_class(), instance, series, bytes, data_set_offset })
}

impl Parts<'_> {
    /// SOP Common, General Study's UID, SR Document Series and SR Document General.
    fn general(&self, report: &mut DataSet, instance: &str, series: &str) {
        let (date, time) = (self.created.date(), self.created.time());
        let version = self.draft.version.to_string();
        let values: [(Tag, VR, &str); 20] = [
            (tags::INSTANCE_CREATION_DATE, VR::DA, &date),
            (tags::INSTANCE_CREATION_TIME, VR::TM, &time),
            (tags::INSTANCE_CREATOR_UID, VR::UI, INSTANCE_CREATOR),
            (tags::SOP_CLASS_UID, VR::UI, self.class.sop_class().uid()),
            (tags::SOP_INSTANCE_UID, VR::UI, instance),
            (tags::SERIES_DATE, VR::DA, &date),
            (tags::SERIES_TIME, VR::TM, &time),
            (tags::CONTENT_DATE, VR::DA, &date),
            (tags::CONTENT_TIME, VR::TM, &time),
            (tags::MODALITY, VR::CS, "SR"),
            (tags::SERIES_DESCRIPTION, VR::LO, SERIES_DESCRIPTION),
            (tags::STUDY_INSTANCE_UID, VR::UI, self.source.study_uid().as_str()),
            (tags::SERIES_INSTANCE_UID, VR::UI, series),
            (tags::SERIES_NUMBER, VR::IS, SERIES_NUMBER),
            (tags::INSTANCE_NUMBER, VR::IS, &version),
            (tags::COMPLETION_FLAG, VR::CS, "COMPLETE"),
            (tags::COMPLETION_FLAG_DESCRIPTION, VR::LO, COMPLETION),
            (tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
            (tags::PRELIMINARY_FLAG, VR::CS, "PRELIMINARY"),
            (tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE"),
        ];
        for (tag, vr, value) in values {
            report.put(tag, vr, value);
        }
        report.put_sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![]);
        let performed = self.source.codes(tags::PROCEDURE_CODE_SEQUENCE);
        let performed = performed.iter().map(DataSet::from).collect();
        report.put_sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, performed);
    }

    /// General Equipment, the author as a device, and the model as contributing equipment.
    fn equipment(&self, report: &mut DataSet) {
        let software = self.software();
        let program = attribute(&self.draft.program_version, 64);
        report.put(tags::MANUFACTURER, VR::LO, &self.manufacturer);
        report.put(tags::STATION_NAME, VR::SH, &self.station);
        report.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, PRODUCT);
        report.put(tags::DEVICE_SERIAL_NUMBER, VR::LO, self.node.ae_title.as_str());
        report.put(tags::DEVICE_UID, VR::UI, &self.device);
        report.put(tags::SOFTWARE_VERSIONS, VR::LO, format!("{program}\\{software}"));

        let mut author = DataSet::new();
        author.put(tags::OBSERVER_TYPE, VR::CS, "DEV");
        author.put(tags::MANUFACTURER, VR::LO, &self.manufacturer);
        author.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, &self.model);
        author.put(tags::DEVICE_UID, VR::UI, &self.device);
        author.put(tags::STATION_NAME, VR::SH, &self.station);
        let institution = self.source.bytes(tags::INSTITUTION_NAME).unwrap_or_default();
        author.put(tags::INSTITUTION_NAME, VR::LO, institution);
        author.put_sequence(tags::INSTITUTION_CODE_SEQUENCE, vec![]);
        report.put_sequence(tags::AUTHOR_OBSERVER_SEQUENCE, vec![author]);

        let mut model = DataSet::new();
        model.put(tags::MANUFACTURER, VR::LO, &self.manufacturer);
        model.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, &self.model);
        model.put(tags::DEVICE_SERIAL_NUMBER, VR::LO, &self.serial);
        model.put(tags::SOFTWARE_VERSIONS, VR::LO, &software);
        model.put(tags::CONTRIBUTION_DATE_TIME, VR::DT, self.created.date_time());
        model.put(tags::CONTRIBUTION_DESCRIPTION, VR::ST, CONTRIBUTION);
        model.put_code(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &codes::PROCESSING_EQUIPMENT);
        report.put_sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, vec![model]);
    }

    /// The model's name with the start of its digest.
    fn software(&self) -> String {
        let short: String = self.serial.chars().take(12).collect();
        attribute(&format!("{} {short}", attribute(&self.model, 51)), 64)
    }

    /// Requests, evidence and predecessors.
    fn references(&self, report: &mut DataSet) {
        let requests = copied::requests(self.source);
        if !requests.is_empty() {
            report.put_sequence(tags::REFERENCED_REQUEST_SEQUENCE, requests);
        }
        let images = self.evidence.iter().map(|image| {
            (image.series.as_str(), image.sop_class.as_str(), image.instance.as_str())
        });
        let evidence = study(self.source.study_uid().as_str(), images.collect());
        report.put_sequence(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, vec![evidence]);
        if let Some(older) = self.predecessor() {
            let reference =
                (older.series.as_str(), older.sop_class.as_str(), older.instance.as_str());
            let older = study(older.study.as_str(), vec![reference]);
            report.put_sequence(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, vec![older]);
        }
    }

    /// The older report of this class, which is the one that the same destinations were sent.
    fn predecessor(&self) -> Option<&Predecessor> {
        let older = &self.draft.predecessors;
        let same = |older: &&Predecessor| older.sop_class.as_str() == self.class.sop_class().uid();
        older.iter().find(same).or_else(|| older.first())
    }

    fn narrative(&self) -> Result<Narrative, ReportError> {
        let repertoire = Repertoire::of(self.source.bytes(tags::SPECIFIC_CHARACTER_SET));
        let encode = |text: Option<String>| {
            text.map(|text| repertoire.encode(&text)).filter(|text| !text.is_empty())
        };
        let sections = Sections::of(self.draft.text.reveal());
        let (findings, impression) = (encode(sections.findings), encode(sections.impression));
        if findings.is_none() && impression.is_none() {
            return Err(ReportError::EmptyText);
        }
        let summary = format!(
            "AI-GENERATED DRAFT. NOT A DIAGNOSIS. Not reviewed by a physician. Model {}, weights \
             sha256:{}.",
            self.model, self.serial
        );
        Ok(Narrative {
            procedures: self.source.codes(tags::PROCEDURE_CODE_SEQUENCE),
            acquisition: Code::of_modality(&self.source.ascii(tags::MODALITY)),
            observer: Observer {
                uid: self.device.clone(),
                name: self.station.clone(),
                manufacturer: self.manufacturer.clone(),
                model: self.model.clone(),
                serial: self.serial.clone(),
            },
            summary: summary.into_bytes(),
            findings,
            coded: self.draft.findings.iter().map(|finding| Code::from(*finding)).collect(),
            impression,
            image: ImageReference {
                class: self.source.sop_class_uid().to_string(),
                instance: self.source.instance_uid().to_string(),
            },
        })
    }

    /// SR Document Content.
    fn content(&self, report: &mut DataSet, narrative: &Narrative) {
        let mut template = DataSet::new();
        template.put(tags::MAPPING_RESOURCE, VR::CS, "DCMR");
        template.put(tags::MAPPING_RESOURCE_UID, VR::UI, "1.2.840.10008.8.1.1");
        template.put(tags::TEMPLATE_IDENTIFIER, VR::CS, "2000");
        report.put(tags::VALUE_TYPE, VR::CS, "CONTAINER");
        report.put_code(tags::CONCEPT_NAME_CODE_SEQUENCE, &codes::X_RAY_REPORT);
        report.put_sequence(tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]);
        report.put_sequence(tags::CONTENT_SEQUENCE, tree::items(self.class, narrative));
    }

    /// Preamble, file meta information and data set (PS3.10 §7.1); where the data set starts.
    fn file(&self, instance: &str, data_set: &[u8]) -> Result<(Vec<u8>, u64), ReportError> {
        let encoding = |error: &dyn std::error::Error| ReportError::Encoding(error.to_string());
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(self.class.sop_class().uid())
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
        bytes.extend_from_slice(data_set);
        Ok((bytes, offset))
    }
}

/// An item of the SOP Instance Reference Macro's study level (PS3.3 §C.17.2.1): references
/// (series, class, instance) by series, in the order of their UIDs.
fn study(study: &str, mut references: Vec<(&str, &str, &str)>) -> DataSet {
    references.sort_unstable_by_key(|(series, class, instance)| (*series, *instance, *class));
    references.dedup();
    let series = references.chunk_by(|a, b| a.0 == b.0).map(|images| {
        let instances = images.iter().map(|(_, class, instance)| {
            let mut item = DataSet::new();
            item.put(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class);
            item.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance);
            item
        });
        let mut item = DataSet::new();
        item.put_sequence(tags::REFERENCED_SOP_SEQUENCE, instances.collect());
        let uid = images.first().map(|image| image.0).unwrap_or_default();
        item.put(tags::SERIES_INSTANCE_UID, VR::UI, uid);
        item
    });
    let mut item = DataSet::new();
    item.put_sequence(tags::REFERENCED_SERIES_SEQUENCE, series.collect());
    item.put(tags::STUDY_INSTANCE_UID, VR::UI, study);
    item
}
