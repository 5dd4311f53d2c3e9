//! What is open to more callers than somebody may think: said at the start, and at a reload.

use tracing::warn;

use super::Addresses;
use crate::config::Config;
use crate::vocabulary::AeTitle;

/// Says who can reach what, should that be more than is meant.
pub(super) fn warn_of(config: &Config, addresses: Addresses) {
    if config.destinations.is_empty() {
        warn!("no [[destination]] is configured: drafts stay in the worklist");
    }
    let reached = [Some(addresses.dicom), addresses.tls].into_iter().flatten();
    let vouched = addresses.tls.filter(|_| config.tls.client_ca.is_some());
    let mut open = reached.filter(|at| !at.ip().is_loopback() && Some(*at) != vouched);
    if config.peers.is_empty() && open.next().is_some() {
        warn!("no [[peer]] is configured: any caller that reaches the port may send");
    }
    let peers = &config.peers;
    let calls = |title: &AeTitle| {
        peers.iter().any(|peer| peer.ae_title.as_ref().is_none_or(|own| own == title))
    };
    for destination in config.destinations.iter().filter(|d| d.commitment) {
        if !peers.is_empty() && !calls(&destination.ae_title) {
            warn!(
                destination = destination.name,
                "no [[peer]] has this destination's AE title: its reports on storage \
                 commitments are refused, unless they come on the association that asked"
            );
        }
    }
    let proxied = config.http.trusted_proxy.is_some() && !config.users.is_empty();
    if !addresses.http.ip().is_loopback() && !proxied {
        warn!(
            "http.bind is no loopback address: pages about patients answer only with \
             http.trusted_proxy and a [[user]]"
        );
    }
}
