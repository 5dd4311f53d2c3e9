//! What a destination says of a storage commitment, on whichever association it says it.

use tracing::{info, warn};

use crate::dimse::Status;
use crate::dimse::n_event_report::{CommitmentReport, failure_reason};
use crate::observe::metrics::Metrics;
use crate::spool::{Spool, SpoolError};

/// Takes a report into the spool; what its sender is answered. Blocks.
pub fn note(
    spool: &Spool,
    metrics: &Metrics,
    report: &CommitmentReport,
) -> Result<Status, SpoolError> {
    let lost: Vec<_> = report
        .failed
        .iter()
        .map(|(instance, code)| {
            let why = failure_reason(*code);
            (instance.clone(), format!("not committed by the destination: {why} (0x{code:04X})"))
        })
        .collect();
    let transaction = &report.transaction;
    let Some(reported) = spool.commitment_reported(transaction, &report.committed, &lost)? else {
        warn!(%transaction, "a report on a storage commitment that nobody asked for");
        return Ok(Status::PROCESSING_FAILURE);
    };
    let (committed, lost, destination) = (reported.committed, reported.lost, reported.destination);
    for _ in 0..committed {
        metrics.delivery(&destination, "committed");
    }
    for _ in 0..lost {
        metrics.delivery(&destination, "lost");
    }
    if lost > 0 {
        warn!(destination, committed, lost, "the destination lost what it had acknowledged");
    } else {
        info!(destination, committed, "storage committed");
    }
    Ok(Status::SUCCESS)
}
