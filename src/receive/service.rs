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
use crate::observe::audit::Audit;
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
    pub fn new(config: &Config, spool: Spool, metrics: Metrics, audit: Audit) -> Self {
        let (offer, timers) = (accept::offer(config), accept::timers(config));
        let (limits, object) = (accept::limits(config), accept::object_limits(config));
        let inspecting = Turns::new(INSPECTING);
        let keeper = Keeper { spool, metrics, audit, limits: object, inspecting };
        Self::behind(offer, timers, limits, keeper)
    }

    /// With everything given, and nothing audited.
    pub fn with(
        offer: Offer,
        timers: Timers,
        limits: Limits,
        object: object::Limits,
        spool: Spool,
        metrics: Metrics,
    ) -> Self {
        let (inspecting, audit) = (Turns::new(INSPECTING), Audit::default());
        let keeper = Keeper { spool, metrics, audit, limits: object, inspecting };
        Self::behind(offer, timers, limits, keeper)
    }

    fn behind(offer: Offer, timers: Timers, limits: Limits, keeper: Keeper) -> Self {
        let service = Arc::new(keeper);
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
    listeners: Vec<Listener>,
    reception: Arc<Reception>,
    closing: CancellationToken,
    abandon: CancellationToken,
) -> Result<(), Infallible> {
    listen::serve(listeners, Arc::clone(&reception.acceptor), closing, abandon).await;
    Ok(())
}
