//! What of a running node follows a changed configuration.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use super::{Addresses, openness};
use crate::config::{Config, ConfigErrors, Tls, User};
use crate::deliver::Destination;
use crate::dimse::tls::{self, Client, CurrentServer, Loaded};
use crate::drafting::Recipient;
use crate::observe::audit::{Audit, Event};
use crate::receive::Reception;
use crate::triage::Triage;

/// The keys outside `[[...]]` that are taken: they name files, and who answers behind one.
const TAKEN: [&str; 6] = [
    "tls.certificate",
    "tls.key",
    "tls.client_ca",
    "tls.ca",
    "audit.syslog_ca",
    "audit.syslog_name",
];

/// What stays as it was at the start.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) addresses: Addresses,
    pub(super) reception: Reception,
    pub(super) audit: Audit,
}

/// What of a running node follows a changed configuration: who may send, the destinations, rules
/// and routes, who may sign in, and certificates.
#[derive(Clone)]
pub struct Reload {
    started: Arc<Config>,
    addresses: Addresses,
    audit: Audit,
    pub(super) reception: Arc<Reception>,
    pub(super) destinations: Arc<watch::Sender<Vec<Destination>>>,
    pub(super) recipients: Arc<watch::Sender<Vec<Recipient>>>,
    pub(super) users: Arc<watch::Sender<Vec<User>>>,
    pub(super) triage: Arc<watch::Sender<Arc<Triage>>>,
    tls: Option<CurrentServer>,
    syslog: Option<watch::Sender<Client>>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Reload {
    /// As the node starts.
    pub(super) fn new(
        running: Running,
        tls: Loaded,
        syslog: Option<watch::Sender<Client>>,
        triage: Triage,
    ) -> Self {
        let config = running.config;
        Self {
            reception: Arc::new(running.reception),
            destinations: Arc::new(watch::Sender::new(destinations_of(&config, &tls))),
            recipients: Arc::new(watch::Sender::new(recipients_of(&config))),
            users: Arc::new(watch::Sender::new(config.users.clone())),
            triage: Arc::new(watch::Sender::new(Arc::new(triage))),
            tls: tls.server,
            syslog,
            started: Arc::new(config),
            addresses: running.addresses,
            audit: running.audit,
        }
    }

    /// Whether a key, as `config show` names it, is taken from a changed configuration. All others
    /// are read at start only.
    pub fn takes(key: &str) -> bool {
        key.contains('[') || TAKEN.contains(&key)
    }

    /// Takes peers, destinations, rules, routes, users and certificates from `config`: from the
    /// next association, draft and delivery on. All other keys stay what they were at the start.
    ///
    /// # Errors
    /// A rule, route or certificate that is wrong; then nothing is taken.
    pub fn apply(&self, config: &Config) -> Result<(), ConfigErrors> {
        let config = self.taken(config);
        let triage = Triage::new(&config)?;
        let tls = tls::load(&config)?;
        warn_of_expired(&tls);
        openness::warn_of(&config, self.addresses);
        if let (Some(current), Some(new)) = (&self.tls, &tls.server) {
            current.replace(new);
        }
        if let (Some(current), Some(new)) = (&self.syslog, &tls.syslog) {
            current.send_replace(new.clone());
        }
        self.triage.send_replace(Arc::new(triage));
        self.reception.reload(&config);
        self.destinations.send_replace(destinations_of(&config, &tls));
        self.recipients.send_replace(recipients_of(&config));
        self.users.send_replace(config.users);
        self.audit.record(&Event::Reloaded { refused: None });
        Ok(())
    }

    /// The configuration of the start with what is taken from another.
    fn taken(&self, config: &Config) -> Config {
        let other = config.clone();
        Config {
            tls: Tls { bind: self.started.tls.bind, ..other.tls },
            // Only what its syslog server's certificate is held against is looked at.
            audit: other.audit,
            destinations: other.destinations,
            peers: other.peers,
            users: other.users,
            rules: other.rules,
            routes: other.routes,
            ..Config::clone(&self.started)
        }
    }

    /// Notes that nothing was taken over, and why.
    pub fn refused(&self, why: &dyn fmt::Display) {
        self.audit.record(&Event::Reloaded { refused: Some(why.to_string()) });
    }
}

fn destinations_of(config: &Config, tls: &Loaded) -> Vec<Destination> {
    let title = &config.node.ae_title;
    let named = config.destinations.iter().zip(&tls.destinations);
    named.map(|(destination, tls)| Destination::new(destination, title, tls.clone())).collect()
}

fn recipients_of(config: &Config) -> Vec<Recipient> {
    let recipients = config.destinations.iter().map(|destination| Recipient {
        name: destination.name.clone(),
        receives: destination.receives.clone(),
    });
    recipients.collect()
}

/// Says which certificates have expired: they are used all the same.
pub(super) fn warn_of_expired(tls: &Loaded) {
    for problem in &tls.expired {
        warn!("{problem}");
    }
}
