//! The node's acceptor: the configuration's offer, the spool behind it.

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::accept;
use super::store::Keeper;
use crate::config::Config;
use crate::dimse::Timers;
use crate::dimse::acceptor::{Acceptor, CurrentOffer, Limits};
use crate::dimse::listen::{self, Listener};
use crate::dimse::negotiate::Offer;
use crate::object::{self, Turns};
use crate::observe::metrics::Metrics;
use crate::spool::Spool;

/// How many data sets are inspected at a time.
const INSPECTING: usize = 2;

/// The node as receiver.
pub struct Reception {
    acceptor: Arc<Acceptor>,
}

impl Reception {
    /// As the configuration says.
    pub fn new(config: &Config, spool: Spool, metrics: Metrics) -> Self {
        let (offer, timers) = (accept::offer(config), accept::timers(config));
        let (limits, object) = (accept::limits(config), accept::object_limits(config));
        Self::with(offer, timers, limits, object, spool, metrics)
    }

    /// With everything given.
    pub fn with(
        offer: Offer,
        timers: Timers,
        limits: Limits,
        object: object::Limits,
        spool: Spool,
        metrics: Metrics,
    ) -> Self {
        let inspecting = Turns::new(INSPECTING);
        let service = Arc::new(Keeper { spool, metrics, limits: object, inspecting });
        let offer = CurrentOffer::from(offer);
        Self { acceptor: Arc::new(Acceptor { offer, timers, limits, service }) }
    }

    /// Who may send, as another configuration says; associations that run are not touched.
    pub fn reload(&self, config: &Config) {
        self.acceptor.offer.replace(accept::offer(config));
    }
}

/// Receives until `closing`: then no association is taken any more, and each that runs ends after
/// its present message. `abandon` ends them at once.
pub async fn serve(
    listener: Listener,
    reception: Arc<Reception>,
    closing: CancellationToken,
    abandon: CancellationToken,
) -> Result<(), Infallible> {
    listen::serve(listener, Arc::clone(&reception.acceptor), closing, abandon).await;
    Ok(())
}
