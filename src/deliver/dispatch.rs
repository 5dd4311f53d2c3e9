//! A sender for each destination that the configuration names at present.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Destination, commitment, sender, unclaimed};
use crate::spool::SpoolError;

/// Why delivery stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The spool failed.
    #[error("the spool failed")]
    Spool(#[source] SpoolError),
    /// A sender ended by a fault of this program.
    #[error("a sender ended by a fault of this program")]
    Fault(#[source] JoinError),
}

/// Sends to all destinations until `closing`. When the destinations change, those that are gone
/// or different finish the delivery under way, and what is new is begun.
///
/// # Errors
/// Only what keeps every sender from working; a destination's failures are outcomes.
pub async fn run(
    delivery: Arc<Delivery>,
    mut destinations: watch::Receiver<Vec<Destination>>,
    closing: CancellationToken,
) -> Result<(), DispatchError> {
    let mut senders = JoinSet::new();
    senders.spawn(unclaimed::run(delivery.clone(), destinations.clone(), closing.clone()));
    let mut running: Vec<(Destination, CancellationToken)> = Vec::new();
    loop {
        let wanted = destinations.borrow_and_update().clone();
        running.retain(|(destination, token)| {
            let stays = wanted.contains(destination);
            if !stays {
                token.cancel();
            }
            stays
        });
        for destination in wanted {
            if !running.iter().any(|(known, _)| *known == destination) {
                let token = closing.child_token();
                senders.spawn(sender::run(delivery.clone(), destination.clone(), token.clone()));
                if destination.commitment {
                    let (delivery, destination) = (delivery.clone(), destination.clone());
                    senders.spawn(commitment::run(delivery, destination, token.clone()));
                }
                running.push((destination, token));
            }
        }
        tokio::select! {
            () = closing.cancelled() => break,
            Ok(()) = destinations.changed() => {}
            Some(ended) = senders.join_next() => outcome(ended)?,
        }
    }
    while let Some(ended) = senders.join_next().await {
        outcome(ended)?;
    }
    Ok(())
}

fn outcome(ended: Result<Result<(), SpoolError>, JoinError>) -> Result<(), DispatchError> {
    ended.map_err(DispatchError::Fault)?.map_err(DispatchError::Spool)
}
