//! What the node accepts, and from whom, as the configuration says.

use std::time::Duration;

use crate::config::Config;
use crate::dimse::Timers;
use crate::dimse::acceptor::Limits;
use crate::dimse::negotiate::{AcceptedPeer, Offer};

/// All classes and syntaxes that the node knows, from the configured peers (none: from anyone).
pub fn offer(config: &Config) -> Offer {
    let peers = config.peers.iter().map(|peer| AcceptedPeer {
        ae_title: peer.ae_title.clone(),
        network: peer.address,
        certificate: peer.certificate,
        user: peer.user.clone(),
    });
    Offer {
        peers: peers.collect(),
        commitment: config.destinations.iter().any(|destination| destination.commitment),
        also_called: config.node.also_called.clone(),
        ..Offer::everything(config.node.ae_title.clone())
    }
}

/// Deadlines as configured.
pub fn timers(config: &Config) -> Timers {
    Timers::uniform(config.receive.timeout.0.max(Duration::from_millis(1)))
}

/// Limits as configured.
pub fn limits(config: &Config) -> Limits {
    let receive = &config.receive;
    Limits {
        max_object: receive.max_object.0,
        associations: receive.max_associations,
        per_address: receive.max_associations_per_address,
        ..Limits::default()
    }
}
