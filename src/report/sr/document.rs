//! The whole SR object: modules around the content tree (PS3.3 §A.35), as a Part 10 file.

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::codes::{self, Code};
use super::copied;
use super::data_set::DataSet;
use super::tree::{self, ImageReference, Narrative};
use super::verified::{Signature, Status};
use super::view::View;
use super::{SrClass, SrFile};
use crate::object::StoredObject;
use crate::report::draft::Sections;
use crate::report::heading::Heading;
use crate::report::identity::{Evidence, Fingerprint};
use crate::report::maker::{Maker, moment};
use crate::report::text::Repertoire;
use crate::report::{Created, Draft, NodeIdentity, Predecessor, ReportError};
use crate::vocabulary::{InstanceUid, PatientText, SeriesUid};

pub(super) const CONTRIBUTION: &str = "Vision-language model drafted report text";

/// What every module of one report is made from.
struct Parts<'a> {
    class: SrClass,
    source: &'a StoredObject,
    evidence: &'a [Evidence],
    draft: &'a Draft,
    created: Created,
    maker: Maker<'a>,
    signature: Option<Signature>,
    repertoire: Repertoire,
}

/// Builds the report of a draft.
///
/// `source` is the image drafted from, `evidence` are all images of the job.
///
/// # Errors
/// The draft is blank, `source` is not among `evidence`, or a text that is to be signed has letters
/// that the source's character set lacks.
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
    let mut report = DataSet::new();
    copied::patient_and_study(source, &mut report);
    let repertoire = repertoire(source, draft, &mut report)?;
    let maker = Maker::new(draft, node);
    let signature = draft.verification.as_ref();
    let signature = signature.map(|signed| Signature::new(signed, source, repertoire));
    let created = moment(draft, source);
    let parts = Parts { class, source, evidence, draft, created, maker, signature, repertoire };
    let fingerprint = Fingerprint::new(class.sop_class(), evidence, draft);
    let (instance, series) = (fingerprint.instance(), fingerprint.series());
    parts.general(&mut report, &instance, &series);
    parts.maker.equipment(parts.created, CONTRIBUTION, &mut report);
    parts.author(&mut report);
    parts.references(&mut report);
    let narrative = parts.narrative()?;
    parts.content(&mut report, &narrative);
    let (bytes, data_set_offset) =
        parts.maker.file(class.sop_class(), instance.as_str(), &report)?;
    Ok(SrFile { sop_class: class.sop_class(), instance, series, bytes, data_set_offset })
}

/// The characters that a report may have: those of its source. One that is to be signed may have
/// all where it copies nothing beyond ASCII and has letters that the source's set lacks.
fn repertoire(
    source: &StoredObject,
    draft: &Draft,
    report: &mut DataSet,
) -> Result<Repertoire, ReportError> {
    let own = Repertoire::of(source.bytes(tags::SPECIFIC_CHARACTER_SET));
    let text = draft.text.reveal();
    let Some(signed) = &draft.verification else { return Ok(own) };
    let lacking = own.lacks(text);
    let names = format!("{}{}", signed.name, signed.organization);
    if lacking.is_empty() && own.lacks(&names).is_empty() {
        return Ok(own);
    }
    let codes = source.codes(tags::PROCEDURE_CODE_SEQUENCE);
    let mut copied = copied::requests(source).into_iter().chain(codes.iter().map(DataSet::from));
    if report.is_ascii() && copied.all(|item| item.is_ascii()) {
        report.put_instead(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
        return Ok(Repertoire::Utf8);
    }
    if !lacking.is_empty() {
        let set = source.ascii(tags::SPECIFIC_CHARACTER_SET);
        return Err(ReportError::NotInSet { letters: PatientText::new(lacking), set });
    }
    Ok(own)
}

impl Parts<'_> {
    /// SOP Common, General Study's UID, SR Document Series and SR Document General.
    fn general(&self, report: &mut DataSet, instance: &InstanceUid, series: &SeriesUid) {
        let sop_class = self.class.sop_class();
        let heading = Heading { sop_class, modality: "SR", instance, series };
        heading.put(self.draft, self.source, self.created, report);
        report.put(tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
        for (tag, vr, _, value) in Status::of(self.draft.verification.as_ref()).attributes() {
            report.put(tag, vr, value);
        }
        if let Some(signature) = &self.signature {
            let observers = vec![signature.observer()];
            report.put_sequence(tags::VERIFYING_OBSERVER_SEQUENCE, observers);
        }
        report.put_sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, vec![]);
        let performed = self.source.codes(tags::PROCEDURE_CODE_SEQUENCE);
        let performed = performed.iter().map(DataSet::from).collect();
        report.put_sequence(tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, performed);
    }

    /// The author, a device.
    fn author(&self, report: &mut DataSet) {
        let maker = &self.maker;
        let mut author = DataSet::new();
        author.put(tags::OBSERVER_TYPE, VR::CS, "DEV");
        author.put(tags::MANUFACTURER, VR::LO, &maker.manufacturer);
        author.put(tags::MANUFACTURER_MODEL_NAME, VR::LO, &maker.model);
        author.put(tags::DEVICE_UID, VR::UI, &maker.device);
        author.put(tags::STATION_NAME, VR::SH, &maker.station);
        let institution = self.source.bytes(tags::INSTITUTION_NAME).unwrap_or_default();
        author.put(tags::INSTITUTION_NAME, VR::LO, institution);
        author.put_sequence(tags::INSTITUTION_CODE_SEQUENCE, vec![]);
        let mut authors = vec![author];
        let editor = self.signature.as_ref().filter(|signature| signature.edited);
        authors.extend(editor.map(Signature::author));
        report.put_sequence(tags::AUTHOR_OBSERVER_SEQUENCE, authors);
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
        let encode = |text: Option<String>| {
            text.map(|text| self.repertoire.encode(&text)).filter(|text| !text.is_empty())
        };
        let sections = Sections::of(self.draft.text.reveal());
        let (findings, impression) = (encode(sections.findings), encode(sections.impression));
        if findings.is_none() && impression.is_none() {
            return Err(ReportError::EmptyText);
        }
        Ok(Narrative {
            procedures: self.source.codes(tags::PROCEDURE_CODE_SEQUENCE),
            acquisition: Code::of_modality(&self.source.ascii(tags::MODALITY)),
            observer: self.maker.observer(),
            signer: self.signature.as_ref().map(|signature| signature.name.clone()),
            summary: self.repertoire.encode(&self.summary()),
            findings,
            coded: self.draft.findings.clone(),
            priority: self.draft.priority,
            impression,
            image: ImageReference {
                class: self.source.sop_class_uid().to_string(),
                instance: self.source.instance_uid().to_string(),
            },
        })
    }

    /// What the text is, in words.
    fn summary(&self) -> String {
        let model = format!("Model {}, weights sha256:{}.", self.maker.model, self.maker.serial);
        match &self.draft.verification {
            None => {
                format!("AI-GENERATED DRAFT. NOT A DIAGNOSIS. Not reviewed by a physician. {model}")
            }
            Some(signed) => {
                let how = if signed.edited { "edited and verified" } else { "verified unchanged" };
                let name = signed.spoken_name();
                format!("Drafted by an AI model, then {how} by {name}. {model}")
            }
        }
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
}

/// An item of the SOP Instance Reference Macro's study level (PS3.3 §C.17.2.1): references
/// (series, class, instance) by series, in the order of their UIDs.
pub(in crate::report) fn study(study: &str, mut references: Vec<(&str, &str, &str)>) -> DataSet {
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
