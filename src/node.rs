//! The node: its stages put together, and the order in which they stop.
//!
//! Everything that can fail at start fails in [`Node::bind`], before the node says that it is
//! ready. On stop the intake closes first, then drafting, then delivery, then the page: each
//! finishes what it has in hand, and the spool holds the rest for the next start.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

mod openness;
mod reload;
mod retention;
mod sockets;
mod vitals;

pub use reload::Reload;
use reload::Running;
pub use sockets::{Sockets, SocketsError};
pub use vitals::{Silent, Vitals};

use crate::config::{Config, ConfigErrors};
use crate::deliver::{self, Delivery};
use crate::dimse::Timers;
use crate::dimse::listen::Listener;
use crate::dimse::tls::{self, Client};
use crate::drafting::{self, Drafting};
use crate::model::engine::{Engine, EngineHandle};
use crate::model::{DraftRequest, Model, ModelError, Sampling};
use crate::object::Turns;
use crate::observe::audit::syslog::{Connect, Connection, Outbox, Server};
use crate::observe::audit::{self, Audit, Event};
use crate::observe::metrics::Metrics;
use crate::radiograph::View;
use crate::radiograph::{DecodeLimits, Decoder};
use crate::receive::{self, Reception};
use crate::report::NodeIdentity;
use crate::spool::{Spool, SpoolError, SpoolSettings};
use crate::triage::Triage;
use crate::worklist::{self, Access, WorklistState};

/// How long the stages may take to finish what they have in hand.
const GRACE: Duration = Duration::from_secs(30);
/// How many objects drafting reads at a time: each may take memory that its sender chose.
const READING: usize = 2;

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port cannot be bound.
    #[error(
        "cannot listen on {address} for {purpose}: is another program using the port? Set {key}"
    )]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// DICOM or the web page.
        purpose: &'static str,
        /// The key to change.
        key: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The spool cannot be used.
    #[error("the spool at {path} cannot be used")]
    Spool {
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: SpoolError,
    },
    /// A socket that was handed over cannot be used.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// A rule, a route or a certificate is wrong.
    #[error(transparent)]
    Config(ConfigErrors),
    /// The audit log cannot be kept.
    #[error("the audit log in {path} cannot be written; set audit.enabled = false to do without")]
    Audit {
        /// The folder.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The model cannot be used.
    #[error("the model cannot be used")]
    Model(#[source] ModelError),
    /// A stage ended by itself.
    #[error("the stage {stage} stopped: {reason}")]
    Stage {
        /// Which.
        stage: &'static str,
        /// Why.
        reason: String,
    },
}

/// A node whose ports are bound and whose model is loaded.
#[derive(Debug)]
pub struct Node {
    config: Config,
    spool: Spool,
    engine: EngineHandle,
    metrics: Metrics,
    audit: Audit,
    dicom: Vec<Listener>,
    http: TcpListener,
    addresses: Addresses,
    reload: Reload,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For associations.
    pub dicom: SocketAddr,
    /// For associations over TLS.
    pub tls: Option<SocketAddr>,
    /// For browsers.
    pub http: SocketAddr,
}

impl fmt::Display for Addresses {
    /// As the line that says that the node is ready has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dicom={} http={}", self.dicom, self.http)?;
        self.tls.map_or(Ok(()), |tls| write!(f, " tls={tls}"))
    }
}

fn not_listening(
    address: SocketAddr,
    purpose: &'static str,
    key: &'static str,
    source: std::io::Error,
) -> NodeError {
    NodeError::Listen { address, purpose, key, source }
}

impl Node {
    /// Opens the spool, loads the model, binds both ports.
    ///
    /// # Errors
    /// Whatever keeps the node from working, with the remedy.
    pub async fn bind(config: Config) -> Result<Self, NodeError> {
        Self::bind_with(config, Sockets::default()).await
    }

    /// [`Node::bind`] with sockets that somebody else has bound; the others are bound here.
    ///
    /// # Errors
    /// Whatever keeps the node from working, with the remedy.
    pub async fn bind_with(config: Config, mut sockets: Sockets) -> Result<Self, NodeError> {
        let triage = Triage::new(&config).map_err(NodeError::Config)?;
        let tls = tls::load(&config).map_err(NodeError::Config)?;
        reload::warn_of_expired(&tls);
        let settings = spool_settings(&config);
        let path = config.spool.path.display().to_string();
        let unusable = |source| NodeError::Spool { path, source };
        let spool = Spool::open(settings)
            .and_then(|spool| receive::rebuild(&spool, &config.node.ae_title).map(|()| spool))
            .map_err(unusable)?;
        let no_dicom = |source| not_listening(config.node.bind, "DICOM", "node.bind", source);
        let no_page =
            |source| not_listening(config.http.bind, "the worklist page", "http.bind", source);
        let plain = match sockets.take(sockets::DICOM) {
            Some(socket) => Listener::from_std(socket),
            None => Listener::bind(config.node.bind).await,
        }
        .map_err(no_dicom)?;
        let http = match sockets.take(sockets::HTTP) {
            Some(socket) => TcpListener::from_std(socket),
            None => TcpListener::bind(config.http.bind).await,
        }
        .map_err(no_page)?;
        let mut addresses = Addresses {
            dicom: plain.local_addr().map_err(no_dicom)?,
            tls: None,
            http: http.local_addr().map_err(no_page)?,
        };
        let mut dicom = vec![plain];
        if let (Some(address), Some(server)) = (config.tls.bind, &tls.server) {
            let no_tls = |source| not_listening(address, "DICOM over TLS", "tls.bind", source);
            let listener = match sockets.take(sockets::TLS) {
                Some(socket) => Listener::from_std(socket),
                None => Listener::bind(address).await,
            }
            .map_err(no_tls)?;
            addresses.tls = Some(listener.local_addr().map_err(no_tls)?);
            dicom.push(listener.with_tls(server.clone()));
        }
        sockets.none_left()?;
        let model_path = config.model.path.clone();
        let request = request_of(&config);
        let device = config.model.device;
        let load = move || {
            let device = crate::model::device::open(device)?;
            let model = Model::open_on(model_path.as_deref(), &device)?;
            model.check(&request)?;
            if model_path.is_none()
                && let Some(warning) = request.prompt.unknown_to_embedded(model.prompts())
            {
                warn!("model.prompt: {warning}");
            }
            Ok(model)
        };
        let engine = Engine::start(load).await.map_err(NodeError::Model)?;
        let metrics = Metrics::new();
        let syslog = tls.syslog.clone().map(watch::Sender::new);
        let audit = audit_of(&config, &metrics, syslog.as_ref())?;
        let reception = Reception::new(&config, spool.clone(), metrics.clone(), audit.clone());
        let reload = Reload::new(
            Running { config: config.clone(), addresses, reception, audit: audit.clone() },
            tls,
            syslog,
            triage,
        );
        Ok(Self { config, spool, engine, metrics, audit, dicom, http, addresses, reload })
    }

    /// The door through which a running node is told of another configuration.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Where modalities send to.
    pub fn dicom_address(&self) -> SocketAddr {
        self.addresses.dicom
    }

    /// Where the page is.
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether it makes progress, from now on.
    pub fn vitals(&self) -> Vitals {
        Vitals::new(self.spool.clone(), self.engine.clone())
    }

    /// The durable store.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Runs until `closing`; a cancelled `abandon` ends the grace period.
    ///
    /// # Errors
    /// A stage that ended by itself.
    pub async fn run(
        self,
        closing: CancellationToken,
        abandon: CancellationToken,
    ) -> Result<(), NodeError> {
        openness::warn_of(&self.config, self.addresses);
        let mut stages = Stages { running: JoinSet::new(), closing: closing.clone() };
        let metrics = self.metrics.clone();
        let engine = self.engine.clone();
        let drafting = Arc::new(self.drafting());
        stages.add("worklist", {
            let access = Access::new(&self.config, self.reload.users.subscribe());
            let state = WorklistState::new(
                self.spool.clone(),
                metrics.clone(),
                self.reload.recipients.subscribe(),
                NodeIdentity::new(&self.config.node.ae_title),
                move || engine.is_ready(),
            );
            let state = state.with_access(access).with_audit(self.audit.clone());
            let state = state.with_decoder(drafting.decoder.clone());
            worklist::serve(self.http, state, closing.clone())
        });
        stages.add("retention", {
            retention::run(self.spool.clone(), self.audit.clone(), closing.clone())
        });
        let delivery = Arc::new(Delivery {
            spool: self.spool.clone(),
            timers: Timers::uniform(self.config.receive.timeout.0),
            max_attempts: self.config.deliver.max_attempts,
            commitment_wait: self.config.deliver.commitment_wait.0,
            metrics: metrics.clone(),
            audit: self.audit.clone(),
        });
        let destinations = self.reload.destinations.subscribe();
        stages.add("deliver", deliver::run(delivery, destinations, closing.clone()));
        for _ in 0..2 {
            stages.add("drafting", drafting::run(drafting.clone(), closing.clone()));
        }
        stages.add("receive", {
            receive::serve(self.dicom, self.reload.reception, closing.clone(), abandon.clone())
        });
        self.audit.record(&Event::Started);
        let ended = stages.wait(abandon).await;
        self.audit.record(&Event::Stopped);
        self.audit.drain().await;
        ended
    }

    fn drafting(&self) -> Drafting {
        let config = &self.config;
        Drafting {
            spool: self.spool.clone(),
            engine: self.engine.clone(),
            decoder: decoder_of(config),
            reading: Turns::new(READING),
            request: request_of(config),
            assume_chest: config.study.assume_chest,
            views: View::listed(&config.model.views),
            recipients: self.reload.recipients.subscribe(),
            triage: self.reload.triage.subscribe(),
            node: NodeIdentity::new(&config.node.ae_title),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
        }
    }
}

/// The audit trail as configured.
fn audit_of(
    config: &Config,
    metrics: &Metrics,
    tls: Option<&watch::Sender<Client>>,
) -> Result<Audit, NodeError> {
    if !config.audit.enabled {
        return Ok(Audit::default());
    }
    let server = config.audit.syslog.as_ref().map(|to| match tls {
        None => Server::Udp { host: to.host.clone(), port: to.port },
        Some(tls) => Server::Stream(connect_of(tls.subscribe(), to.host.clone(), to.port)),
    });
    let outbox = server.map(|server| Outbox::start(server, metrics.clone()));
    let folder = config.spool.path.join(audit::FOLDER);
    let (title, most) = (&config.node.ae_title, config.audit.max_file);
    Audit::open(title, &folder, most, metrics.clone(), outbox)
        .map_err(|source| NodeError::Audit { path: folder.display().to_string(), source })
}

/// How a syslog server is reached over TLS, with the certificates of the last reload.
fn connect_of(tls: watch::Receiver<Client>, host: String, port: u16) -> Connect {
    Box::new(move || {
        let (tls, host) = (tls.borrow().clone(), host.clone());
        Box::pin(async move {
            let stream = tls.reach(&host, port).await?;
            Ok(Box::new(stream) as Connection)
        })
    })
}

fn spool_settings(config: &Config) -> SpoolSettings {
    SpoolSettings {
        path: config.spool.path.clone(),
        min_free: config.spool.min_free,
        quiet: config.study.quiet.0,
        deadline: config.study.deadline.0,
        after_delivery: config.retention.after_delivery.0,
        max_attempts: config.deliver.max_attempts,
    }
}

/// Decodes by this very program, whatever lies at its path by now.
fn decoder_of(config: &Config) -> Decoder {
    let limits = DecodeLimits {
        side: config.limits.side,
        pixels: config.limits.pixels,
        memory: config.limits.decode_memory.0,
        time: config.limits.decode_timeout.0,
    };
    Decoder::apart("/proc/self/exe".into(), limits)
}

/// What a configuration asks of its model.
pub(crate) fn request_of(config: &Config) -> DraftRequest {
    DraftRequest {
        prompt: (&config.model.prompt).into(),
        template: None,
        ask_findings: config.model.ask_findings,
        sampling: Sampling { max_tokens: config.model.max_tokens, ..Sampling::default() },
    }
}

/// A stage's name and how it ended.
type StageEnd = (&'static str, Result<(), String>);

/// The running stages.
struct Stages {
    running: JoinSet<StageEnd>,
    closing: CancellationToken,
}

impl Stages {
    fn add<E: std::error::Error + Send + 'static>(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let outcome = async move { (name, stage.await.map_err(|e| crate::observe::chain(&e))) };
        self.running.spawn(outcome);
    }

    /// Waits for the end: of all stages after `closing`, or of one by itself before.
    async fn wait(mut self, abandon: CancellationToken) -> Result<(), NodeError> {
        let mut failure = None;
        tokio::select! {
            // A stage that ends because it was asked to is no failure.
            biased;
            () = self.closing.cancelled() => {}
            ended = self.running.join_next() => failure = Some(early(ended)),
        }
        if let Some(failure) = &failure {
            error!(%failure, "a stage stopped; the node stops");
        }
        self.closing.cancel();
        info!("stopping: finishing what is in hand");
        tokio::select! {
            () = abandon.cancelled() => warn!("abandoned what was in hand; the spool holds it"),
            () = tokio::time::sleep(GRACE) => warn!("the grace period is over; the spool holds the rest"),
            () = async { while self.running.join_next().await.is_some() {} } => {}
        }
        abandon.cancel();
        self.running.shutdown().await;
        failure.map_or(Ok(()), Err)
    }
}

fn early(ended: Option<Result<StageEnd, tokio::task::JoinError>>) -> NodeError {
    match ended {
        Some(Ok((stage, Err(reason)))) => NodeError::Stage { stage, reason },
        Some(Ok((stage, Ok(())))) => {
            NodeError::Stage { stage, reason: "it ended without being asked to".to_owned() }
        }
        Some(Err(lost)) => NodeError::Stage { stage: "unknown", reason: lost.to_string() },
        None => NodeError::Stage { stage: "all", reason: "nothing runs".to_owned() },
    }
}
