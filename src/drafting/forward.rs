//! What goes out without a draft of this node: the images of a job that was given up, and a signed
//! report that was found after its record was lost.

use std::sync::Arc;

use tracing::info;

use super::deliveries::deliveries;
use super::judge;
use super::worker::{Drafting, guarded};
use crate::spool::{NewDelivery, NewDeliveryObject, SpoolError, Unforwarded, blocking};
use crate::triage::SenderFacts;

/// Sends on its way what one such job has; whether there was one.
///
/// # Errors
/// Only the spool's own.
pub(super) async fn forward(drafting: &Arc<Drafting>) -> Result<bool, SpoolError> {
    let spool = drafting.spool.clone();
    let Some(job) = blocking(move || spool.unforwarded()).await? else { return Ok(false) };
    let deliveries =
        if job.signed { of_signed(drafting, &job) } else { of_given_up(drafting, &job).await };
    info!(study = %job.study, deliveries = deliveries.len(), "goes on without a draft");
    let spool = drafting.spool.clone();
    blocking(move || spool.forward(&job, &deliveries)).await?;
    Ok(true)
}

/// The images, as the routes of today say; where those cannot be asked, to who gets images anyway.
async fn of_given_up(drafting: &Drafting, job: &Unforwarded) -> Vec<NewDelivery> {
    let (objects, reason) = (job.objects.clone(), job.reason.clone());
    let sender = SenderFacts::from(&job.sender);
    let facts = guarded(move || judge::of_skipped(&objects, sender, &reason)).await;
    let sends = facts.map_or_else(|_| Vec::new(), |facts| drafting.judge(&job.study, &facts).sends);
    deliveries(&drafting.recipients(), &sends, &job.objects, false)
}

/// The report alone, to who gets reports: its images went with the draft.
fn of_signed(drafting: &Drafting, job: &Unforwarded) -> Vec<NewDelivery> {
    let mut all = deliveries(&drafting.recipients(), &[], &job.objects, true);
    all.retain(|delivery| delivery.object == NewDeliveryObject::Report);
    all
}
