//! What waits for somebody who is no longer there: a destination that left the configuration, or
//! one that is no longer asked to commit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Destination;
use super::sender::Delivery;
use crate::spool::{Patience, Spool, SpoolError, blocking};

/// How often it is looked for: a sender that ends with a reload may have asked for a commitment
/// after it.
const EVERY: Duration = Duration::from_secs(15);

/// Looks at the start, after each change of the destinations, and now and then, until `closing`.
///
/// # Errors
/// A spool that is damaged.
pub(super) async fn run(
    delivery: Arc<Delivery>,
    mut destinations: watch::Receiver<Vec<Destination>>,
    closing: CancellationToken,
) -> Result<(), SpoolError> {
    let mut patience = Patience::of("unclaimed deliveries");
    let mut told = Vec::new();
    while !closing.is_cancelled() {
        let named = destinations.borrow_and_update().clone();
        let spool = delivery.spool.clone();
        let pause = match blocking(move || look(&spool, &named)).await {
            Ok(unclaimed) => {
                patience.reset();
                tell(&unclaimed, &mut told);
                EVERY
            }
            Err(failure) => patience.after(failure)?,
        };
        tokio::select! {
            () = closing.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
            Ok(()) = destinations.changed() => {}
        }
    }
    Ok(())
}

/// Ends the waiting for commitments that nobody asks for; what else waits for nobody.
fn look(spool: &Spool, named: &[Destination]) -> Result<Vec<(String, u64)>, SpoolError> {
    let asked: Vec<String> = named
        .iter()
        .filter(|destination| destination.commitment)
        .map(|destination| destination.name.clone())
        .collect();
    for (destination, objects) in spool.waive_commitments_but(&asked)? {
        warn!(
            destination,
            objects, "this destination is no longer asked to commit: what it acknowledged is done"
        );
    }
    let named: Vec<String> = named.iter().map(|destination| destination.name.clone()).collect();
    spool.unclaimed_deliveries(&named)
}

/// Says it once of each name.
fn tell(unclaimed: &[(String, u64)], told: &mut Vec<String>) {
    for (destination, deliveries) in unclaimed {
        if !told.contains(destination) {
            warn!(
                destination,
                deliveries,
                "deliveries wait for a destination that is not configured: name it again, or drop \
                 their studies with `thorascribe queue drop`"
            );
        }
    }
    *told = unclaimed.iter().map(|(name, _)| name.clone()).collect();
}
