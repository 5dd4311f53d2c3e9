//! Stage: the web side. What was drafted for people, health and metrics for machines.
//!
//! Comes in: HTTP requests. Goes out: pages, JSON, Prometheus text. Promises: every page says which
//! texts are not verified; text of patients and peers is escaped, and a content policy allows
//! nothing from elsewhere; with a `[[user]]` nothing about a patient goes to anybody who is not
//! signed in, and nothing at all beyond the loopback but to a proxy that speaks TLS; what changes
//! anything carries the token of a session. May use: everything above it in `lib.rs`.
//!
//! `GET /` · `/rows` · `/studies/{study uid}[/image.png,/report.dcm]` · `/api/studies[/{study uid}]` · `/sign-in` · `/healthz` ·
//! `/readyz` · `/metrics`; `POST /sign-in` · `/sign-out` · `/studies/{study uid}/{sign,retry,drop}`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::drafting::Recipient;
use crate::observe::audit::Audit;
use crate::observe::metrics::Metrics;
use crate::radiograph::Decoder;
use crate::report::NodeIdentity;
use crate::spool::Spool;

mod access;
mod api;
mod chips;
mod connections;
mod failure;
mod files;
mod guard;
mod health;
mod image;
mod list;
mod operate;
mod overlay;
mod page;
mod session;
mod sign;
mod sign_in;
mod study;
mod told;
mod tree;

pub use access::Access;

/// How long requests under way may take after the node was told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// The most bytes of a form: a long report, with room.
const LARGEST_FORM: usize = 256 << 10;

/// What the pages are made from; clones share it.
#[derive(Clone)]
pub struct WorklistState {
    spool: Spool,
    metrics: Metrics,
    recipients: watch::Receiver<Vec<Recipient>>,
    node: NodeIdentity,
    model: Arc<dyn Fn() -> bool + Send + Sync>,
    access: Access,
    audit: Audit,
    decoder: Decoder,
    kept: Arc<image::Kept>,
    looks: Arc<told::Looks>,
}

impl fmt::Debug for WorklistState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorklistState").finish_non_exhaustive()
    }
}

impl WorklistState {
    /// `recipients` get what is signed; `model` says whether a draft could be made now.
    pub fn new(
        spool: Spool,
        metrics: Metrics,
        recipients: watch::Receiver<Vec<Recipient>>,
        node: NodeIdentity,
        model: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let (access, decoder, audit) = (Access::local(), Decoder::here(), Audit::default());
        let (model, kept, looks) = (Arc::new(model), Arc::default(), Arc::default());
        Self { spool, metrics, recipients, node, model, access, audit, decoder, kept, looks }
    }

    /// With somebody who is told who looked at what, and signed what.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// With pictures decoded by another decoder than this process.
    #[must_use]
    pub fn with_decoder(self, decoder: Decoder) -> Self {
        Self { decoder, ..self }
    }

    /// With users who sign in.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }
}

/// Answers requests until `closing`, and those under way a little longer.
///
/// # Errors
/// A listener that has no address.
pub async fn serve(
    listener: TcpListener,
    state: WorklistState,
    closing: CancellationToken,
) -> Result<(), std::io::Error> {
    let open = guard::Open::of(listener.local_addr()?);
    connections::serve(listener, router(state, open), closing, GRACE).await;
    Ok(())
}

/// Answers the one request that a client at `peer` writes on `stream`, to a node whose port is on
/// the loopback.
pub async fn answer(
    state: &WorklistState,
    peer: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let router = router(state.clone(), guard::Open::Loopback);
    connections::connection(stream, peer, router, CancellationToken::new()).await;
}

fn router(state: WorklistState, open: guard::Open) -> Router {
    let gate = guard::Gate { open, access: state.access.clone() };
    let patients = Router::new()
        .route("/", get(list::page))
        .route("/rows", get(list::part))
        .route("/studies/{study}", get(study::page))
        .route("/studies/{study}/image.png", get(image::png))
        .route("/studies/{study}/overlay.png", get(overlay::png))
        .route("/studies/{study}/report.dcm", get(files::report))
        .route("/studies/{study}/sign", post(sign::sign))
        .route("/studies/{study}/retry", post(operate::retry))
        .route("/studies/{study}/drop", post(operate::forget))
        .route("/api/studies", get(api::studies))
        .route("/api/studies/{study}", get(api::study))
        .route("/sign-out", post(sign_in::leave))
        .route_layer(middleware::from_fn_with_state(state.access.clone(), guard::viewers))
        .route("/sign-in", get(sign_in::page).post(sign_in::enter))
        .route_layer(middleware::from_fn_with_state(gate, guard::arrivals))
        .layer(DefaultBodyLimit::max(LARGEST_FORM));
    Router::new()
        .merge(patients)
        .route("/worklist.css", get(page::style))
        .route("/worklist.js", get(page::script))
        .route("/icon.svg", get(page::icon))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(failure::no_page)
        .layer(middleware::from_fn(failure::as_page))
        .layer(middleware::from_fn(guard::headers))
        .with_state(state)
}

/// Runs work on the spool apart from the network's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, failure::Failure> + Send + 'static,
) -> Result<T, failure::Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(lost) if lost.is_panic() => std::panic::resume_unwind(lost.into_panic()),
        Err(_) => Err(failure::Failure::Stopping),
    }
}
