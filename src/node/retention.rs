//! Objects go when their time is over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::observe::audit::{self, Audit, Event};
use crate::spool::{Spool, SpoolError};

/// How often the retention rules are applied at least.
const EVERY: Duration = Duration::from_mins(1);

/// Applies them until `closing`.
pub(super) async fn run(
    spool: Spool,
    audit: Audit,
    closing: CancellationToken,
) -> Result<(), SpoolError> {
    let after = spool.settings().after_delivery;
    let pause = after.clamp(Duration::from_secs(1), EVERY);
    loop {
        tokio::select! {
            () = closing.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let (spool, audit) = (spool.clone(), audit.clone());
        let applied = tokio::task::spawn_blocking(move || apply(&spool, &audit, after)).await;
        if let Ok(Err(error)) = applied {
            warn!(%error, "retention failed");
        }
    }
}

fn apply(spool: &Spool, audit: &Audit, after: Duration) -> Result<(), SpoolError> {
    let due = spool.finished_studies(after)?;
    let retained = spool.retain();
    // Some may be gone even where not all could go.
    for uid in due {
        if !spool.has_objects(&uid)? {
            let study = audit::Study { patient_id: spool.patient_id(&uid)?, uid };
            audit.record(&Event::Deleted { who: None, study });
        }
    }
    retained.map(drop)
}
