//! What the node accepts, and from whom, as the configuration says.

use std::time::Duration;

use crate::config::Config;
use crate::dimse::Timers;
use crate::dimse::acceptor::Limits;
use crate::dimse::negotiate::{AcceptedPeer, Offer};
use crate::dimse::timers::Floor;
use crate::object;
use crate::vocabulary::Span;

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
        max_pdu: config.limits.pdu,
        max_contexts: config.limits.contexts,
        ..Offer::everything(config.node.ae_title.clone())
    }
}

/// Deadlines as configured.
pub fn timers(config: &Config) -> Timers {
    let (limits, least) = (&config.limits, Duration::from_millis(1));
    let common = Timers::uniform(config.receive.timeout.0.max(least));
    let own = |span: Option<Span>, common| span.map_or(common, |span| span.0.max(least));
    let data = own(limits.read_timeout, common.data);
    let window = data;
    let rate = u128::from(limits.min_rate.0);
    let bytes = rate.saturating_mul(window.as_millis().max(1000)) / 1000;
    Timers {
        request: own(limits.request_timeout, common.request),
        idle: own(limits.idle_timeout, common.idle),
        command: own(limits.read_timeout, common.command),
        data,
        write: own(limits.write_timeout, common.write),
        artim: limits.artim.0,
        association: limits.association_time.0,
        floor: Floor { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), window },
        ..common
    }
}

/// Limits as configured.
pub fn limits(config: &Config) -> Limits {
    let receive = &config.receive;
    Limits {
        max_object: receive.max_object.0,
        associations: receive.max_associations,
        per_address: receive.max_associations_per_address,
        association_bytes: config.limits.association_bytes.0,
        request: config.limits.request,
        user_items: config.limits.user_items,
        ..Limits::default()
    }
}

/// What a data set may be, as configured.
pub fn object_limits(config: &Config) -> object::Limits {
    let limits = &config.limits;
    let whole = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    object::Limits {
        depth: limits.depth,
        elements: limits.elements,
        headers: limits.headers,
        value: whole(limits.value.0),
        inflated: whole(limits.inflated.0),
    }
}
