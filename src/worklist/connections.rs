//! The HTTP connections: a request each, with deadlines, and no more of them than the node bears.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::observe::recurring::Recurring;

/// How long a client may take to write its request.
const ASK: Duration = Duration::from_secs(5);
/// How long a connection lives, with its answer read.
const LIVE: Duration = Duration::from_mins(1);
/// Connections at a time; the oldest gives way, so that a flood of silent ones hides no health.
const MOST: usize = 128;

/// Answers requests until `closing`; those under way may take `grace` longer.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    closing: CancellationToken,
    grace: Duration,
) {
    let (mut running, mut trouble) = (JoinSet::new(), Recurring::default());
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = running.join_next(), if !running.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the client went away again: neither ends the loop.
                if let Some(times) = trouble.happened(Instant::now()) {
                    warn!(times, "HTTP connection not accepted: {error}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(times) = trouble.passed(Instant::now()) {
            info!(times, "HTTP connections are accepted again");
        }
        oldest_first.retain(|connection| !connection.is_finished());
        if oldest_first.len() >= MOST
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        let handle = running.spawn(connection(stream, peer, router.clone(), closing.clone()));
        oldest_first.push_back(handle);
    }
    drop(listener);
    let rest = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, rest).await.is_err() {
        debug!("HTTP requests were cut off by the node's stop");
    }
}

/// Where a request comes from; every request has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The router, told who asks.
struct Named {
    peer: Peer,
    router: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Named {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

/// One connection: one request, so that a client holds nothing while it says nothing.
pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    closing: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(ASK);
    let service =
        Named { peer: Peer(peer.ip().to_canonical()), router: TowerToHyperService::new(router) };
    let serving = http.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let whole = async {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            () = closing.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    };
    match tokio::time::timeout(LIVE, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("HTTP connection: {error}"),
        Err(_) => debug!("HTTP connection: open for too long"),
    }
}
