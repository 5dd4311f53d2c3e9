//! N-ACTION as user: storage commitment is asked for (PS3.4 §J.3.2, PS3.7 §10.1.4).

use crate::vocabulary::{InstanceUid, SopClass, TransferSyntax, Uid};

/// The Storage Commitment Push Model SOP Class (PS3.4 §J.3).
pub const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// Its one instance, which every node knows.
pub(super) const WELL_KNOWN: &str = "1.2.840.10008.1.20.1.1";
/// Request Storage Commitment.
pub(super) const REQUEST: u16 = 1;

/// How data sets of storage commitment may be encoded here.
pub const SYNTAXES: [TransferSyntax; 2] =
    [TransferSyntax::ExplicitLittle, TransferSyntax::ImplicitLittle];

/// What a peer is asked to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRequest {
    /// Names the request in its report.
    pub transaction: Uid,
    /// Class and instance of each object.
    pub objects: Vec<(SopClass, InstanceUid)>,
}

impl CommitmentRequest {
    /// Its data set.
    pub(super) fn encode(&self, explicit: bool) -> Vec<u8> {
        let mut items = Vec::new();
        for (class, instance) in &self.objects {
            let mut item = Vec::new();
            uid(&mut item, explicit, 0x1150, class.uid());
            uid(&mut item, explicit, 0x1155, instance.as_str());
            items.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
            items.extend_from_slice(&length(&item));
            items.extend_from_slice(&item);
        }
        let mut set = Vec::new();
        uid(&mut set, explicit, 0x1195, self.transaction.as_str());
        tag(&mut set, 0x1199);
        if explicit {
            set.extend_from_slice(b"SQ\0\0");
        }
        set.extend_from_slice(&length(&items));
        set.extend_from_slice(&items);
        set
    }
}

fn tag(out: &mut Vec<u8>, element: u16) {
    out.extend_from_slice(&[0x08, 0x00]);
    out.extend_from_slice(&element.to_le_bytes());
}

fn uid(out: &mut Vec<u8>, explicit: bool, element: u16, value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(0);
    }
    tag(out, element);
    if explicit {
        // A UID has at most 64 bytes.
        out.extend_from_slice(b"UI");
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        out.extend_from_slice(&length(&value));
    }
    out.extend_from_slice(&value);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes()
}
