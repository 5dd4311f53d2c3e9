//! The listening socket: an accept loop that never waits for a peer, and the slots.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, field, info_span, warn};

use super::acceptor::{Acceptor, Arrival, Limits};
use super::complaints::{Complaints, Say};
use super::connection::Stop;
use super::identity::Judge;
use super::machine::{Ended, Phase};
use super::negotiate::Caller;
use super::pdu::Rejection;
use super::tls::{self, CurrentServer};
use crate::object::Turns;

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
            slots: Slots::new(limits),
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

/// Which associations run, in all and by address.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One association's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    address: IpAddr,
    used: Arc<Mutex<Used>>,
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, used: Arc::default() }
    }

    /// A place, or the rejection that says which limit is reached.
    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Rejection> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = used.by_address.get(&address).copied().unwrap_or(0);
        if used.all >= self.limits.associations {
            return Err(Rejection::CONGESTION);
        }
        if of_address >= self.limits.per_address {
            return Err(Rejection::LIMIT);
        }
        used.all += 1;
        used.by_address.insert(address, of_address + 1);
        Ok(Slot { address, used: Arc::clone(&self.used) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.all = used.all.saturating_sub(1);
        match used.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(used.by_address.remove(&self.address)),
        }
    }
}

/// Connections without an association: those that have not asked for one, and those whose end is
/// awaited. They hold no slot; when there are too many, the oldest gives way, so that a flood of
/// silent ones keeps no real peer out.
#[derive(Debug, Clone)]
struct Waiting {
    most: usize,
    queue: Arc<Mutex<VecDeque<(u64, CancellationToken)>>>,
}

/// One connection's place among the waiting; it leaves them when dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    evict: CancellationToken,
    waiting: Waiting,
}

impl Waiting {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), queue: Arc::default() }
    }

    fn place(&self, id: u64, evict: CancellationToken) -> Place {
        Place { id, evict, waiting: self.clone() }
    }
}

impl Place {
    /// The connection waits; the oldest that did may have to go.
    pub(super) fn enter(&self) {
        let mut queue = self.waiting.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.iter().any(|(id, _)| *id == self.id) {
            return;
        }
        while queue.len() >= self.waiting.most {
            if let Some((_, oldest)) = queue.pop_front() {
                oldest.cancel();
            }
        }
        queue.push_back((self.id, self.evict.clone()));
    }

    /// The connection has an association.
    pub(super) fn leave(&self) {
        let mut queue = self.waiting.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|(id, _)| *id != self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
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
    let mut associations = JoinSet::new();
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
                warn!("connection not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Responses are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            debug!("TCP_NODELAY not set: {error}");
        }
        let id = hall.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let stop = Stop { evict: CancellationToken::new(), ..stop.clone() };
        let place = hall.waiting.place(id, stop.evict.clone());
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
    (place, stop): (Place, Stop),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_in_all_and_by_address_and_come_back() {
        let slots = Slots::new(Limits { associations: 3, per_address: 2, ..Limits::default() });
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert_eq!(slots.take(a).unwrap_err(), Rejection::LIMIT);
        let _third = slots.take(b).unwrap();
        assert_eq!(slots.take(b).unwrap_err(), Rejection::CONGESTION);
        drop(first);
        assert!(slots.take(a).is_ok());
    }

    #[test]
    fn the_oldest_waiting_connection_gives_way() {
        let waiting = Waiting::new(2);
        let places: Vec<_> = (0..4).map(|id| waiting.place(id, CancellationToken::new())).collect();
        let evicted = || places.iter().map(|place| place.evict.is_cancelled()).collect::<Vec<_>>();
        places[0].enter();
        places[1].enter();
        places[0].enter();
        places[1].leave();
        places[2].enter();
        assert_eq!(evicted(), [false; 4]);
        places[3].enter();
        assert_eq!(evicted(), [true, false, false, false]);
        drop(places);
        assert!(waiting.queue.lock().unwrap().is_empty());
    }
}
