//! What sets a signed report apart from a draft (PS3.3 §C.17.1, §C.17.2 and Table C.17-3b).

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::view::View;
use crate::object::StoredObject;
use crate::report::text::Repertoire;
use crate::report::{Created, Verification};

/// The words by which a report says how far it may be trusted.
#[derive(Debug)]
pub(super) struct Status {
    series_description: &'static str,
    completion: &'static str,
    verification: &'static str,
    preliminary: &'static str,
    /// Beyond the numbers that modalities use.
    series_number: &'static str,
}

/// Of a draft.
pub(super) const DRAFT: Status = Status {
    series_description: "AI DRAFT - UNVERIFIED",
    completion: "AI draft, not reviewed",
    verification: "UNVERIFIED",
    preliminary: "PRELIMINARY",
    series_number: "9700",
};

/// Of a report that a physician signed.
pub(super) const SIGNED: Status = Status {
    series_description: "REPORT - VERIFIED",
    completion: "Reviewed and signed",
    verification: "VERIFIED",
    preliminary: "FINAL",
    series_number: "9701",
};

impl Status {
    /// Of a report with this signature, or without one.
    pub(super) fn of(verification: Option<&Verification>) -> &'static Self {
        if verification.is_some() { &SIGNED } else { &DRAFT }
    }

    /// The status that a report claims.
    pub(super) fn claimed(report: &StoredObject) -> &'static Self {
        let signed = report.ascii(tags::VERIFICATION_FLAG) == SIGNED.verification;
        if signed { &SIGNED } else { &DRAFT }
    }

    /// Whether a physician signed.
    pub(super) fn is_signed(&self) -> bool {
        self.verification == SIGNED.verification
    }

    /// Each attribute with its VR, its name and its value.
    pub(super) fn attributes(&self) -> [(Tag, VR, &'static str, &'static str); 6] {
        [
            (tags::SERIES_DESCRIPTION, VR::LO, "SeriesDescription", self.series_description),
            (tags::SERIES_NUMBER, VR::IS, "SeriesNumber", self.series_number),
            (tags::COMPLETION_FLAG, VR::CS, "CompletionFlag", "COMPLETE"),
            (
                tags::COMPLETION_FLAG_DESCRIPTION,
                VR::LO,
                "CompletionFlagDescription",
                self.completion,
            ),
            (tags::VERIFICATION_FLAG, VR::CS, "VerificationFlag", self.verification),
            (tags::PRELIMINARY_FLAG, VR::CS, "PreliminaryFlag", self.preliminary),
        ]
    }
}

/// A signature in the words and the character set of the source image.
pub(super) struct Signature {
    pub(super) name: Vec<u8>,
    organization: Vec<u8>,
    at: Created,
    /// Whether the person is an author too.
    pub(super) edited: bool,
}

impl Signature {
    pub(super) fn new(
        verification: &Verification,
        source: &StoredObject,
        repertoire: Repertoire,
    ) -> Self {
        let own = repertoire.encode(&verification.organization);
        let institution = source.trimmed(tags::INSTITUTION_NAME).unwrap_or_default().to_vec();
        // Verifying Organization is of type 1: it says something even where nobody is named.
        let organization = [own, institution, b"not stated".to_vec()]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        Self {
            name: repertoire.encode(&verification.name),
            organization,
            at: verification.at.in_zone(&source.ascii(tags::TIMEZONE_OFFSET_FROM_UTC)),
            edited: verification.edited,
        }
    }

    /// The item of Verifying Observer Sequence.
    pub(super) fn observer(&self) -> DataSet {
        let mut item = DataSet::new();
        item.put(tags::VERIFYING_ORGANIZATION, VR::LO, &self.organization);
        item.put(tags::VERIFICATION_DATE_TIME, VR::DT, self.at.date_time());
        item.put(tags::VERIFYING_OBSERVER_NAME, VR::PN, &self.name);
        item.put_sequence(tags::VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE, vec![]);
        item
    }

    /// The item of Author Observer Sequence, for a text that the person changed.
    pub(super) fn author(&self) -> DataSet {
        let mut item = DataSet::new();
        item.put(tags::OBSERVER_TYPE, VR::CS, "PSN");
        item.put(tags::PERSON_NAME, VR::PN, &self.name);
        item.put_sequence(tags::PERSON_IDENTIFICATION_CODE_SEQUENCE, vec![]);
        item.put(tags::INSTITUTION_NAME, VR::LO, &self.organization);
        item.put_sequence(tags::INSTITUTION_CODE_SEQUENCE, vec![]);
        item
    }
}
