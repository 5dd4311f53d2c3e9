//! The loop that sends what waits for one destination.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::disposition::{self, Disposition};
use super::{Destination, sr_class};
use crate::dimse::Timers;
use crate::dimse::requestor::{RequestError, Requestor};
use crate::observe::audit::{self, Audit, Event};
use crate::observe::metrics::{Metrics, Stage};
use crate::spool::{
    Changes, DeliveryLease, DeliveryObject, Patience, Spool, SpoolError, blocking, retry,
};
use crate::vocabulary::{InstanceUid, PatientText, SopClass, StudyUid};

/// What the senders of all destinations share.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where deliveries wait.
    pub spool: Spool,
    /// The deadlines of the association.
    pub timers: Timers,
    /// After how many attempts a delivery is dead.
    pub max_attempts: u32,
    /// How long a destination has to report on a storage commitment before it is asked again.
    pub commitment_wait: Duration,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is told what was sent.
    pub audit: Audit,
}

/// Sends to one destination until `closing`; the delivery under way is finished.
///
/// # Errors
/// A spool that is damaged: a destination's failures are outcomes, and a spool that fails is waited
/// for.
pub(super) async fn run(
    delivery: Arc<Delivery>,
    destination: Destination,
    closing: CancellationToken,
) -> Result<(), SpoolError> {
    let mut changes = delivery.spool.changed();
    let mut patience = Patience::of("delivery");
    while !closing.is_cancelled() {
        let ended = step(&delivery, &destination, &closing, &mut changes).await;
        patience.rest_after(ended, &closing).await?;
    }
    Ok(())
}

/// Makes a delivery, or waits until there is one.
async fn step(
    delivery: &Delivery,
    destination: &Destination,
    closing: &CancellationToken,
    changes: &mut Changes,
) -> Result<(), SpoolError> {
    let (spool, name) = (delivery.spool.clone(), destination.name.clone());
    let lease = blocking(move || spool.lease_delivery(&name)).await?;
    if let Some(lease) = lease {
        return attempt(delivery, destination, lease).await;
    }
    tokio::select! {
        () = closing.cancelled() => {}
        () = changes.next() => {}
    }
    Ok(())
}

async fn attempt(
    delivery: &Delivery,
    destination: &Destination,
    lease: DeliveryLease,
) -> Result<(), SpoolError> {
    let started = Instant::now();
    let Attempt { outcome, sent, words } = match send(delivery, destination, &lease.object).await {
        Ok(attempt) => attempt,
        Err(error) => Attempt::without_answer(disposition::of_error(&error)),
    };
    delivery.metrics.stage(Stage::Deliver, started.elapsed());
    let attempts = lease.attempts;
    let outcome = match outcome {
        Disposition::Retry(reason) if attempts >= delivery.max_attempts => {
            Disposition::Dead(format!("{reason} (after {attempts} attempts)"))
        }
        other => other,
    };
    let study = lease.study.clone();
    delivery.metrics.delivery(&destination.name, label(&outcome));
    if !matches!(outcome, Disposition::Sent(_)) {
        delivery.metrics.error("delivery", label(&outcome));
    }
    match &outcome {
        Disposition::Sent(None) => info!(destination = destination.name, %study, "delivered"),
        Disposition::Sent(Some(remark)) => {
            warn!(destination = destination.name, %study, remark, "delivered with a warning");
        }
        Disposition::Retry(reason) | Disposition::Unreachable(reason) => {
            warn!(destination = destination.name, %study, attempts, reason, "delivery failed, will retry");
        }
        Disposition::Dead(reason) => {
            warn!(destination = destination.name, %study, attempts, reason, "delivery dead");
        }
    }
    let gone = match (&outcome, &sent) {
        (Disposition::Sent(_), Some(sent)) => Some(sent.clone()),
        _ => None,
    };
    let commit = destination.commitment;
    // First the spool: whatever else fails, what the destination has does not go again.
    let worded = move |reason: &str| disposition::in_its_words(reason, words.as_deref());
    let noted = blocking(move || match (outcome, sent) {
        (Disposition::Sent(remark), Some((instance, class))) => {
            let remark = remark.map(|remark| worded(&remark));
            lease.sent_with(&instance, remark.as_deref(), commit.then_some(class))
        }
        (Disposition::Sent(_), None) => lease.dead("nothing to send"),
        (Disposition::Retry(reason), _) => {
            lease.retry(retry::delay(attempts, &mut rand::rng()), &worded(&reason))
        }
        (Disposition::Unreachable(reason), _) => {
            lease.unreachable(retry::delay(attempts, &mut rand::rng()), &reason)
        }
        (Disposition::Dead(reason), _) => lease.dead(&worded(&reason)),
    })
    .await;
    if let Some(gone) = gone {
        tell(delivery, destination, study, gone).await;
    }
    noted
}

/// Notes a sent object in the audit trail: it is with the destination, whatever the spool says.
async fn tell(
    delivery: &Delivery,
    destination: &Destination,
    uid: StudyUid,
    (instance, class): (InstanceUid, SopClass),
) {
    let (spool, audit) = (delivery.spool.clone(), delivery.audit.clone());
    let ae_title = destination.remote.called.to_string();
    let destination = audit::Peer { ae_title, host: destination.remote.host.clone() };
    let told = tokio::task::spawn_blocking(move || {
        let patient_id = spool.patient_id(&uid).unwrap_or_else(|error| {
            warn!(%error, study = %uid, "the audit trail lacks a patient's ID");
            PatientText::default()
        });
        let study = audit::Study { uid, patient_id };
        audit.record(&Event::Sent { destination, study, class, instance });
    });
    if let Err(lost) = told.await {
        std::panic::resume_unwind(lost.into_panic());
    }
}

fn label(outcome: &Disposition) -> &'static str {
    match outcome {
        Disposition::Sent(_) => "sent",
        Disposition::Retry(_) | Disposition::Unreachable(_) => "retry",
        Disposition::Dead(_) => "dead",
    }
}

/// What came of an attempt.
struct Attempt {
    outcome: Disposition,
    /// What was sent.
    sent: Option<(InstanceUid, SopClass)>,
    /// What the destination said of it.
    words: Option<String>,
}

impl Attempt {
    fn without_answer(outcome: Disposition) -> Self {
        Self { outcome, sent: None, words: None }
    }
}

/// One association that stores the object; a report in the first class that is accepted.
async fn send(
    delivery: &Delivery,
    destination: &Destination,
    object: &DeliveryObject,
) -> Result<Attempt, RequestError> {
    let (files, contexts) = match object {
        DeliveryObject::Report(files) => {
            let files = destination.wanted(files);
            let contexts = sr_class::report_contexts(&files);
            (files, contexts)
        }
        DeliveryObject::Image(file) => (vec![file.clone()], sr_class::image_contexts(file)),
        DeliveryObject::Made(file) => {
            let files = vec![file.clone()];
            let contexts = sr_class::report_contexts(&files);
            (files, contexts)
        }
    };
    let mut association =
        Requestor::connect(&destination.remote, &contexts, &delivery.timers).await?;
    let chosen = match sr_class::choose(&association, &files) {
        Ok(Some(chosen)) => chosen,
        Ok(None) => {
            let why = sr_class::refusal(&association, &files);
            association.release().await;
            return Ok(Attempt::without_answer(Disposition::Dead(why)));
        }
        Err(error) => {
            association.release().await;
            let why = format!("the object cannot be read: {error}");
            return Ok(Attempt::without_answer(Disposition::Retry(why)));
        }
    };
    let (status, words) = association.store_with_comment(&chosen.item).await?;
    drop(chosen.converted);
    association.release().await;
    let sent = Some((chosen.instance, chosen.class));
    Ok(Attempt { outcome: disposition::of_status(status), sent, words })
}
