//! The UIDs that the node makes: each a UUIDv5 over what the object stands for, as `2.25.` and a
//! number (PS3.5 §B.2). A resend after a crash names the same object; a changed draft another.

use dicom_dictionary_std::tags;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Draft, NodeIdentity};
use crate::object::StoredObject;
use crate::vocabulary::{InstanceUid, SeriesUid, SopClass, Uid};

/// Instance Creator UID (0008,0014) of every object that this program makes.
pub const INSTANCE_CREATOR: &str = "2.25.219221587620259320888192430078863707297";

const NAMESPACE: Uuid = Uuid::from_u128(0x8d64_f27b_abcf_53e2_9cfc_fa93_143e_9e54);

/// An image that a report stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// SOP Class UID.
    pub sop_class: Uid,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// SHA-256 of the image's data set, hexadecimal.
    pub digest: String,
}

/// Whether a program like this one made the object; such objects are never inferred on.
pub fn is_own(object: &StoredObject) -> bool {
    object.value(tags::INSTANCE_CREATOR_UID).is_some_and(|creator| creator == INSTANCE_CREATOR)
}

/// What one report stands for, as the bytes that its UIDs are made from.
pub(crate) struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Of a draft in one SR class.
    pub(crate) fn new(class: SopClass, evidence: &[Evidence], draft: &Draft) -> Self {
        let mut images: Vec<_> =
            evidence.iter().map(|e| (e.instance.as_str(), e.digest.as_str())).collect();
        images.sort_unstable();
        images.dedup();
        let mut name = Self(Vec::new());
        name.add(class.uid());
        name.add(&images.len().to_string());
        for (instance, digest) in images {
            name.add(instance);
            name.add(digest);
        }
        name.add(&draft.model.digest);
        name.add(&draft.prompt);
        name.add(&draft.sampling);
        name.add(&draft.version.to_string());
        let findings: Vec<String> = draft.findings.iter().map(|f| format!("{f:?}")).collect();
        name.add(&findings.join(" "));
        name.add(&draft.priority.to_string());
        if let Some(signed) = &draft.verification {
            name.add(&signed.name);
            name.add(&signed.organization);
            name.add(&signed.at.date_time());
            for older in &draft.predecessors {
                name.add(older.instance.as_str());
            }
        }
        let text = Sha256::digest(draft.text.reveal().as_bytes());
        name.0.extend_from_slice(&text);
        name
    }

    /// Of an object that holds more than the draft: bytes that its content follows from.
    pub(crate) fn with_content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(&Sha256::digest(content));
        self
    }

    /// The length goes first, so that no two lists of parts give the same bytes.
    fn add(&mut self, part: &str) {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part.as_bytes());
    }

    /// SOP Instance UID.
    pub(crate) fn instance(&self) -> InstanceUid {
        uid("instance", &self.0).into()
    }

    /// Series Instance UID: each report is a series of its own.
    pub(crate) fn series(&self) -> SeriesUid {
        uid("series", &self.0).into()
    }
}

/// Device UID (0018,1002) of a model on a node; another model is another device.
pub(crate) fn device(node: &NodeIdentity, draft: &Draft) -> Uid {
    let mut name = Fingerprint(Vec::new());
    name.add(&node.manufacturer);
    name.add(&node.station_name);
    name.add(node.ae_title.as_str());
    name.add(&draft.model.name);
    name.add(&draft.model.digest);
    uid("device", &name.0)
}

fn uid(kind: &str, name: &[u8]) -> Uid {
    let space = Uuid::new_v5(&NAMESPACE, kind.as_bytes());
    Uid::from_uuid(Uuid::new_v5(&space, name))
}
