//! N-EVENT-REPORT as its receiver: what a peer says of a storage commitment (PS3.4 §J.3.3).

use dicom_dictionary_std::tags;

use super::data::{DataError, Fragments};
use crate::object::{DataSet, Limits, Malformed, Turns};
use crate::vocabulary::{InstanceUid, TransferSyntax, Uid};

/// The largest data set of a report: some seven thousand objects.
pub(super) const MAX_REPORT: u64 = 1 << 20;
/// The most elements and items in it. Each object takes three or four.
const MAX_HEADERS: usize = 50_000;

/// What a peer committed to keep, and what it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentReport {
    /// The request that it answers.
    pub transaction: Uid,
    /// Kept for good.
    pub committed: Vec<InstanceUid>,
    /// Not kept, each with the reason's code (PS3.3 §C.14.1.1).
    pub failed: Vec<(InstanceUid, u16)>,
}

/// Why a report cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It did not come whole.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its structure is broken.
    #[error("the report is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It names no transaction.
    #[error("the report has no Transaction UID (0008,1195)")]
    Transaction,
}

impl CommitmentReport {
    /// Reads a report's data set; blocks the thread while it arrives.
    pub(super) fn read(data: Fragments, syntax: TransferSyntax) -> Result<Self, ReportError> {
        Self::parse(whole(data)?, syntax)
    }

    /// The same, with a turn for what takes memory of the sender's choice.
    pub(super) fn read_in_turn(
        data: Fragments,
        syntax: TransferSyntax,
        turns: &Turns,
    ) -> Result<Self, ReportError> {
        let bytes = whole(data)?;
        let _turn = turns.take();
        Self::parse(bytes, syntax)
    }

    fn parse(bytes: Vec<u8>, syntax: TransferSyntax) -> Result<Self, ReportError> {
        let limits = Limits { headers: MAX_HEADERS, ..Limits::default() };
        let set = DataSet::parse(bytes, syntax, &limits)?;
        let top = set.top();
        let transaction = top.value(tags::TRANSACTION_UID).and_then(|uid| uid.parse().ok());
        let instance = |item: &crate::object::Item<'_>| {
            item.value(tags::REFERENCED_SOP_INSTANCE_UID)?.parse::<InstanceUid>().ok()
        };
        let kept = top.items(tags::REFERENCED_SOP_SEQUENCE);
        let lost = top.items(tags::FAILED_SOP_SEQUENCE);
        let failed = lost.iter().filter_map(|item| {
            let reason = item.integer(tags::FAILURE_REASON).and_then(|code| code.try_into().ok());
            // Processing failure, where no reason is given.
            Some((instance(item)?, reason.unwrap_or(0x0110)))
        });
        Ok(Self {
            transaction: transaction.ok_or(ReportError::Transaction)?,
            committed: kept.iter().filter_map(instance).collect(),
            failed: failed.collect(),
        })
    }
}

fn whole(mut data: Fragments) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    while let Some(part) = data.next_bytes()? {
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// A failure reason in words (PS3.3 §C.14.1.1).
pub fn failure_reason(code: u16) -> &'static str {
    match code {
        0x0110 => "processing failure",
        0x0112 => "no such object instance",
        0x0119 => "class-instance conflict",
        0x0122 => "SOP class not supported",
        0x0131 => "duplicate transaction UID",
        0x0213 => "resource limitation",
        _ => "unknown reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dimse::n_action::CommitmentRequest;
    use crate::vocabulary::SopClass;

    #[test]
    fn a_request_reads_like_a_report_of_success_in_both_syntaxes() {
        let instances: Vec<InstanceUid> =
            ["1.2.3", "1.2.34"].iter().map(|uid| uid.parse().unwrap()).collect();
        let request = CommitmentRequest {
            transaction: "2.25.7".parse().unwrap(),
            objects: instances.iter().map(|uid| (SopClass::CrImage, uid.clone())).collect(),
        };
        for (explicit, syntax) in
            [(true, TransferSyntax::ExplicitLittle), (false, TransferSyntax::ImplicitLittle)]
        {
            let report = CommitmentReport::parse(request.encode(explicit), syntax).unwrap();
            assert_eq!(report.transaction, request.transaction);
            assert_eq!(report.committed, instances);
            assert!(report.failed.is_empty());
            let whole = request.encode(explicit);
            for end in 0..whole.len() {
                let cut = CommitmentReport::parse(whole[..end].to_vec(), syntax);
                assert!(cut.map_or(true, |report| report.committed.is_empty()), "{end}");
            }
        }
    }
    #[test]
    fn a_report_of_seven_thousand_objects_is_read_and_one_of_far_more_is_not() {
        let report = |count: u32| {
            let longest = |n: u32| format!("2.25.1{n:058}").parse().unwrap();
            let objects = (0..count).map(|n| (SopClass::CrImage, longest(n)));
            let transaction = "2.25.7".parse().unwrap();
            CommitmentRequest { transaction, objects: objects.collect() }.encode(true)
        };
        let syntax = TransferSyntax::ExplicitLittle;
        let many = report(7000);
        assert!(many.len() as u64 <= MAX_REPORT, "{}", many.len());
        assert_eq!(CommitmentReport::parse(many, syntax).unwrap().committed.len(), 7000);
        let crowded = CommitmentReport::parse(report(17_000), syntax);
        assert!(matches!(crowded, Err(ReportError::Malformed(_))), "{crowded:?}");
    }
}
