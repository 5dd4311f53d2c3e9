//! The listening socket: an accept loop that never waits for a peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, field, info, info_span, warn};

use super::acceptor::{Acceptor, Arrival, Limits};
use super::complaints::{Complaints, Say};
use super::connection::Stop;
use super::identity::Judge;
use super::machine::{Ended, Phase};
use super::negotiate::Caller;
use super::places::{Place, Slots, Waiting};
use super::tls::{self, CurrentServer};
use crate::object::Turns;
use crate::observe::recurring::Recurring;

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<CurrentServer>,
}

impl Listener {
    /// Binds the address; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: None })
    }

    /// The same port, for associations over TLS alone.
    #[must_use]
    pub fn with_tls(self, server: CurrentServer) -> Self {
        Self { tls: Some(server), ..self }
    }

    /// Takes over a socket that listens already.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(socket)?, tls: None })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// How many reports on storage commitments are read at a time.
const READING: usize = 2;

/// What the connections of all ports share.
#[derive(Debug)]
pub(super) struct Hall {
    pub(super) slots: Slots,
    pub(super) judge: Judge,
    /// What was said of peers in the log.
    pub(super) complaints: Complaints,
    /// Whose turn it is to have a report read: that takes memory of the sender's choice.
    pub(super) reports: Turns,
    /// What the audit trail holds of callers that were turned away, wrong user identities apart:
    /// nothing else that a guesser does keeps a guess out of it.
    refusals: Complaints,
    guesses: Complaints,
    waiting: Waiting,
    connections: AtomicU64,
}

impl Hall {
    fn new(limits: Limits) -> Self {
        Self {
            slots: Slots::new(limits.associations, limits.per_address),
            judge: Judge::default(),
            complaints: Complaints::default(),
            reports: Turns::new(READING),
            refusals: Complaints::default(),
            guesses: Complaints::default(),
            waiting: Waiting::new(limits.waiting),
            connections: AtomicU64::new(0),
        }
    }

    /// Whether the audit trail is told of this end of a caller's attempt.
    pub(super) fn audits(&self, ended: &Ended, address: IpAddr) -> bool {
        let noted = match ended {
            Ended::Unidentified(_) => &self.guesses,
            _ => &self.refusals,
        };
        ended.is_refusal() && noted.of(address, Instant::now()) != Say::Debug
    }
}

/// Accepts connections on every port until `closing`, then waits for the last association.
/// `abandon` ends all of them at once.
pub async fn serve(
    listeners: impl IntoIterator<Item = Listener>,
    acceptor: Arc<Acceptor>,
    closing: CancellationToken,
    abandon: CancellationToken,
) {
    let hall = Arc::new(Hall::new(acceptor.limits));
    let mut ports = JoinSet::new();
    for listener in listeners {
        let stop = Stop {
            closing: closing.clone(),
            abandon: abandon.clone(),
            evict: CancellationToken::new(),
        };
        ports.spawn(port(listener, Arc::clone(&acceptor), Arc::clone(&hall), stop));
    }
    while let Some(ended) = ports.join_next().await {
        report(ended);
    }
}

/// Accepts connections on one port.
async fn port(listener: Listener, acceptor: Arc<Acceptor>, hall: Arc<Hall>, stop: Stop) {
    let (mut associations, mut trouble) = (JoinSet::new(), Recurring::default());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.closing.cancelled() => break,
            () = stop.abandon.cancelled() => break,
            Some(ended) = associations.join_next(), if !associations.is_empty() => {
                report(ended);
                continue;
            }
            accepted = listener.socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the peer went away again: neither ends the loop.
                if let Some(times) = trouble.happened(Instant::now()) {
                    warn!(times, "connection not accepted: {error}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(times) = trouble.passed(Instant::now()) {
            info!(times, "connections are accepted again");
        }
        // Responses are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            debug!("TCP_NODELAY not set: {error}");
        }
        let id = hall.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let stop = Stop { evict: CancellationToken::new(), ..stop.clone() };
        let place = Arc::new(hall.waiting.place(id, stop.evict.clone()));
        place.enter();
        let (acceptor, hall) = (Arc::clone(&acceptor), Arc::clone(&hall));
        let span =
            info_span!("association", id, %peer, calling = field::Empty, called = field::Empty);
        let caller = Caller { address: peer.ip().to_canonical(), certificate: None };
        let arrival = Arrival { since: Instant::now(), caller };
        let tls = listener.tls.clone();
        let serve = async move {
            match tls {
                None => acceptor.serve(stream, arrival, &hall, place, stop).await,
                Some(tls) => secured(&tls, stream, arrival, &acceptor, &hall, (place, stop)).await,
            }
        };
        associations.spawn(serve.instrument(span));
    }
    drop(listener);
    while let Some(ended) = associations.join_next().await {
        report(ended);
    }
}

/// An association over TLS. The handshake counts in the time for the association request, and the
/// connection is among the waiting meanwhile: one that stays silent holds no slot.
async fn secured(
    tls: &CurrentServer,
    stream: TcpStream,
    mut arrival: Arrival,
    acceptor: &Acceptor,
    hall: &Hall,
    (place, stop): (Arc<Place>, Stop),
) {
    let deadline = arrival.since + acceptor.timers.request;
    let shaken = tokio::select! {
        biased;
        () = stop.abandon.cancelled() => Err(Ended::Stopped),
        () = stop.closing.cancelled() => Err(Ended::Stopped),
        () = stop.evict.cancelled() => Err(Ended::Evicted),
        () = sleep_until(deadline.into()) => Err(Ended::TimedOut(Phase::AwaitRequest)),
        shaken = tls.accept(stream) => shaken.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Ended::Vanished(Phase::AwaitRequest),
            _ => Ended::Handshake(tls::reason(&error)),
        }),
    };
    match shaken {
        Ok((stream, certificate)) => {
            arrival.caller.certificate = certificate;
            acceptor.serve(stream, arrival, hall, place, stop).await;
        }
        Err(ended) => acceptor.turned_away(&ended, &arrival, hall),
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended {
        tracing::error!("an association ended by a fault of this program: {fault}");
    }
}
