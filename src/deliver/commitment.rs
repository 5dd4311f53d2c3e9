//! The loop that asks one destination to commit to what it was sent (PS3.4 Annex J).

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Destination;
use super::disposition::{self, Disposition};
use super::sender::Delivery;
use crate::dimse::Status;
use crate::dimse::n_action::{CommitmentRequest, STORAGE_COMMITMENT, SYNTAXES};
use crate::dimse::requestor::{ProposedContext, RequestError, Requestor};
use crate::receive::commitment::note;
use crate::spool::{Changes, Commitment, Patience, SpoolError, blocking, retry};

/// Requests to one destination at the same time.
const AT_A_TIME: usize = 4;
/// How long the association stays open for a report on it.
const LINGER: Duration = Duration::from_secs(10);
/// How long a request may take to be sent and answered before it is made again.
const SENDING: Duration = Duration::from_mins(2);
/// The longest that a report is awaited.
const LONGEST: Duration = Duration::from_hours(24);

/// Asks until `closing`; the request under way is finished.
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
    let mut patience = Patience::of("storage commitment");
    let mut asking = JoinSet::new();
    let shared = Shared { delivery, destination, closing };
    while !shared.closing.is_cancelled() {
        let ended = step(&shared, &mut changes, &mut asking).await;
        patience.rest_after(ended, &shared.closing).await?;
    }
    while let Some(ended) = asking.join_next().await {
        if let Err(failure) = ended.unwrap_or(Ok(())) {
            patience.after(failure)?;
        }
    }
    Ok(())
}

/// What the requests to one destination share.
#[derive(Clone)]
struct Shared {
    delivery: Arc<Delivery>,
    destination: Destination,
    closing: CancellationToken,
}

/// Begins a request, or waits until there is something to do. A request whose end could not be
/// noted is made again when its time is over.
async fn step(
    shared: &Shared,
    changes: &mut Changes,
    asking: &mut JoinSet<Result<(), SpoolError>>,
) -> Result<(), SpoolError> {
    let free = asking.len() < AT_A_TIME;
    if free {
        let (spool, name) = (shared.delivery.spool.clone(), shared.destination.name.clone());
        if let Some(asked) = blocking(move || spool.next_commitment(&name, SENDING)).await? {
            let Shared { delivery, destination, closing } = shared.clone();
            asking.spawn(async move { attempt(&delivery, &destination, asked, closing).await });
            return Ok(());
        }
    }
    tokio::select! {
        () = shared.closing.cancelled() => Ok(()),
        Some(ended) = asking.join_next() => ended.unwrap_or(Ok(())),
        () = changes.next(), if free => Ok(()),
    }
}

async fn attempt(
    delivery: &Delivery,
    destination: &Destination,
    asked: Commitment,
    closing: CancellationToken,
) -> Result<(), SpoolError> {
    let (outcome, words) = match ask(delivery, destination, &asked, closing).await? {
        Ok((status, words)) => (disposition::of_status(status), words),
        Err(error) => (disposition::of_error(&error), None),
    };
    let worded = move |reason: &str| disposition::in_its_words(reason, words.as_deref());
    let (spool, name) = (delivery.spool.clone(), &destination.name);
    let (study, attempts) = (&asked.study, asked.attempts);
    match outcome {
        Disposition::Sent(_) => Ok(()),
        Disposition::Retry(why) | Disposition::Unreachable(why) => {
            warn!(destination = name, %study, attempts, why, "storage commitment failed, will retry");
            let after = retry::delay(attempts, &mut rand::rng());
            blocking(move || spool.commitment_failed(&asked, after, &worded(&why))).await
        }
        Disposition::Dead(why) => {
            warn!(destination = name, %study, attempts, why, "storage commitment refused");
            let why = worded(&format!("storage commitment: {why}"));
            blocking(move || spool.commitment_refused(&asked, &why)).await
        }
    }
}

/// One association: the request, its answer, and the report, should it come on this one.
async fn ask(
    delivery: &Delivery,
    destination: &Destination,
    asked: &Commitment,
    closing: CancellationToken,
) -> Result<Result<(Status, Option<String>), RequestError>, SpoolError> {
    let context = ProposedContext {
        abstract_syntax: STORAGE_COMMITMENT.to_owned(),
        transfer_syntaxes: SYNTAXES.to_vec(),
    };
    let mut association =
        match Requestor::connect(&destination.remote, &[context], &delivery.timers).await {
            Ok(association) => association,
            Err(error) => return Ok(Err(error)),
        };
    let (transaction, objects) = (asked.transaction.clone(), asked.objects.clone());
    let request = CommitmentRequest { transaction, objects };
    let (status, words) = match association.n_action(&request).await {
        Ok(answer) => answer,
        Err(error) => {
            association.release().await;
            return Ok(Err(error));
        }
    };
    if status.is_stored() {
        let (spool, noted) = (delivery.spool.clone(), asked.clone());
        let patience = patience(delivery.commitment_wait, asked.attempts);
        blocking(move || spool.commitment_awaited(&noted, patience)).await?;
        info!(destination = destination.name, study = %asked.study, "storage commitment asked");
        linger(delivery, &mut association, asked, closing).await?;
    }
    association.release().await;
    Ok(Ok((status, words)))
}

/// Each time it is asked again the destination has twice as long.
fn patience(first: Duration, attempts: u32) -> Duration {
    first.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(LONGEST)
}

/// Waits for a report on the association that asked; it may as well come on another.
async fn linger(
    delivery: &Delivery,
    association: &mut Requestor,
    asked: &Commitment,
    closing: CancellationToken,
) -> Result<(), SpoolError> {
    let settled = async {
        let mut changes = delivery.spool.changed();
        loop {
            let (spool, asked) = (delivery.spool.clone(), asked.clone());
            match blocking(move || spool.is_commitment_open(&asked)).await {
                Ok(true) => changes.next().await,
                Ok(false) | Err(_) => return,
            }
        }
    };
    let until = async {
        tokio::select! {
            () = settled => {}
            () = closing.cancelled() => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    };
    // An association that breaks now loses nothing: the destination reports on another, or is asked.
    let Ok(Some(event)) = association.event(until).await else { return Ok(()) };
    let status = match &event.report {
        Ok(report) => {
            let (spool, metrics, report) =
                (delivery.spool.clone(), delivery.metrics.clone(), report.clone());
            blocking(move || note(&spool, &metrics, &report)).await?
        }
        Err(error) => {
            warn!(%error, "a report on a storage commitment cannot be understood");
            Status::PROCESSING_FAILURE
        }
    };
    if let Err(error) = association.answer(&event, status).await {
        info!(%error, "the report on a storage commitment was noted, but not answered");
    }
    Ok(())
}
