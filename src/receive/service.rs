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
use crate::observe::audit::Audit;
use crate::observe::metrics::Metrics;
use crate::spool::Spool;

/// The node as receiver.
pub struct Reception {
    acceptor: Arc<Acceptor>,
}

impl Reception {
    /// As the configuration says.
    pub fn new(config: &Config, spool: Spool, metrics: Metrics, audit: Audit) -> Self {
        let (offer, timers) = (accept::offer(config), accept::timers(config));
        let keeper = Keeper { spool, metrics, audit };
        Self::behind(offer, timers, accept::limits(config), keeper)
    }

    /// With everything given, and nothing audited.
    pub fn with(
        offer: Offer,
        timers: Timers,
        limits: Limits,
        spool: Spool,
        metrics: Metrics,
    ) -> Self {
        Self::behind(offer, timers, limits, Keeper { spool, metrics, audit: Audit::default() })
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
