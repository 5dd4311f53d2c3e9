//! One association as acceptor: negotiation, then message after message until it ends.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep_until, timeout};
use tracing::{Span, debug, error, info, warn};

use super::c_echo;
use super::c_store::{self, Peer, StoreReply, StoreRequest, StoreService};
use super::command::{Command, Request, field};
use super::complaints::Say;
use super::connection::{Connection, Incoming, Stop};
use super::data::{self, Feed};
use super::listen::Hall;
use super::machine::{Ended, Machine, Phase};
use super::n_action::STORAGE_COMMITMENT;
use super::n_event_report::{CommitmentReport, MAX_REPORT};
use super::negotiate::{self, Agreement, Answer, Caller, Context, Offer};
use super::pdu::{Abort, Bounds, Pdu, Rejection};
use super::places::Place;
use super::status::Status;
use super::timers::Timers;
use crate::vocabulary::Excerpt;

/// What one peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one data set.
    pub max_object: u64,
    /// Bytes of one association; it ends after the message that reached them.
    pub association_bytes: u64,
    /// Bytes of an association request.
    pub request: u32,
    /// User information items of an association request.
    pub user_items: usize,
    /// Associations at a time.
    pub associations: usize,
    /// Of those, from one address.
    pub per_address: usize,
    /// Connections without an association, before it or after; the oldest gives way.
    pub waiting: usize,
}

impl Default for Limits {
    /// 1 GiB, 64 GiB; 1 MiB, 256 items; 64 associations, 32 of one address, 128 connections
    /// without one.
    fn default() -> Self {
        let Bounds { associate: request, user_items, .. } = Bounds::default();
        Self {
            max_object: 1 << 30,
            association_bytes: 64 << 30,
            request,
            user_items,
            associations: 64,
            per_address: 32,
            waiting: 128,
        }
    }
}

/// What an acceptor takes at present; clones share it. Associations that run keep what they have.
#[derive(Debug, Clone)]
pub struct CurrentOffer(Arc<RwLock<Arc<Offer>>>);

impl From<Offer> for CurrentOffer {
    fn from(offer: Offer) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(offer))))
    }
}

impl CurrentOffer {
    /// From the next association on.
    pub fn replace(&self, offer: Offer) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(offer);
    }

    fn get(&self) -> Arc<Offer> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An application entity that accepts associations.
pub struct Acceptor {
    /// What it takes and from whom.
    pub offer: CurrentOffer,
    /// Its deadlines.
    pub timers: Timers,
    /// Its limits.
    pub limits: Limits,
    /// Who keeps the objects.
    pub service: Arc<dyn StoreService>,
}

/// A connection that came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Since when.
    pub(super) since: Instant,
    /// From where, and with which certificate.
    pub(super) caller: Caller,
}

/// What happened on one association.
#[derive(Debug)]
struct Tally<'a> {
    hall: &'a Hall,
    /// The caller's AE title, as it says.
    calling: String,
    echoes: u32,
    stored: u32,
    refused: u32,
    bytes: u64,
}

impl<'a> Tally<'a> {
    fn new(hall: &'a Hall) -> Self {
        let calling = String::new();
        Self { hall, calling, echoes: 0, stored: 0, refused: 0, bytes: 0 }
    }
}

impl Acceptor {
    /// Serves one connection to its end.
    pub(super) async fn serve<S>(
        &self,
        stream: S,
        arrival: Arrival,
        hall: &Hall,
        place: Arc<Place>,
        stop: Stop,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Arrival { since, caller } = arrival;
        let machine = Machine::acceptor(self.timers, since);
        let mut connection =
            Connection::new(stream, machine, self.timers, self.bounds(), stop.clone());
        let mut tally = Tally::new(hall);
        let run = self.run(&mut connection, caller, &place, &stop, &mut tally);
        let Err(ended) = run.await;
        // A peer that vanished got no last PDU.
        connection.seat = None;
        self.tell(&ended, &tally, since, caller.address);
        connection.close().await;
    }

    /// Logs how an association ended.
    fn tell(&self, ended: &Ended, tally: &Tally<'_>, since: Instant, address: IpAddr) {
        let Tally { echoes, stored, refused, bytes, hall, calling } = tally;
        let seconds = since.elapsed().as_secs_f32();
        let outcome = ended.outcome();
        match ended {
            // A load balancer looks whether the port is open.
            Ended::Vanished(Phase::AwaitRequest) => debug!("{ended}"),
            Ended::Released | Ended::Stopped => {
                info!(outcome, echoes, stored, refused, bytes, seconds, "{ended}");
            }
            _ => match hall.complaints.of(address, Instant::now()) {
                Say::Debug => debug!(outcome, echoes, stored, refused, bytes, seconds, "{ended}"),
                say => {
                    warn!(outcome, echoes, stored, refused, bytes, seconds, "{ended}");
                    announce(say);
                }
            },
        }
        if hall.audits(ended, address) {
            self.service.turned_away(address, calling, ended);
        }
        self.service.ended(ended);
    }

    /// A connection ended before its association could begin.
    pub(super) fn turned_away(&self, ended: &Ended, arrival: &Arrival, hall: &Hall) {
        self.tell(ended, &Tally::new(hall), arrival.since, arrival.caller.address);
    }

    fn bounds(&self) -> Bounds {
        let Limits { request, user_items, .. } = self.limits;
        Bounds { data: self.offer.get().max_pdu, associate: request, user_items }
    }

    /// Runs until the association ends.
    async fn run<S>(
        &self,
        connection: &mut Connection<S>,
        caller: Caller,
        place: &Arc<Place>,
        stop: &Stop,
        tally: &mut Tally<'_>,
    ) -> Result<Infallible, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Incoming::Request(request) = connection.next().await? else {
            return Err(connection.violate(Abort::UNEXPECTED_PDU, "no request").await);
        };
        let span = Span::current();
        tally.calling = Excerpt(&request.calling_ae_title).to_string();
        span.record("calling", &tally.calling);
        span.record("called", Excerpt(&request.called_ae_title).to_string());
        let (hall, address) = (tally.hall, caller.address);
        let (accept, agreement, claim) =
            match negotiate::answer(&request, caller, &self.offer.get()) {
                Answer::Accept(accept, agreement) => (accept, agreement, None),
                Answer::Judge(accept, agreement, claim) => (accept, agreement, Some(claim)),
                Answer::Reject(rejection) => return Err(reject(connection, rejection).await),
                Answer::Unidentified => return Err(unidentified(connection).await),
                Answer::Abort(abort, what) => return Err(connection.violate(abort, what).await),
            };
        let user = negotiate::user_name(&request).map(|name| Excerpt(&name).to_string());
        drop(request);
        let free = if stop.closing.is_cancelled() {
            Err(Rejection::CONGESTION)
        } else {
            hall.slots.take(address)
        };
        match free {
            Ok(slot) => connection.seat = Some(place.seat(slot)),
            Err(rejection) => return Err(reject(connection, rejection).await),
        }
        if let Some(claim) = claim {
            let judged = timeout(self.timers.service, hall.judge.holds(claim, address));
            match judged.await {
                Ok(true) => {}
                Ok(false) => return Err(unidentified(connection).await),
                Err(_) => return Err(reject(connection, Rejection::CONGESTION).await),
            }
        }
        debug!(
            contexts = agreement.contexts.len(),
            implementation = %Excerpt(&agreement.implementation),
            "accepted"
        );
        let peer =
            Peer { calling: agreement.calling.clone(), called: agreement.called.clone(), address };
        connection.send(&Pdu::Accept(accept)).await?;
        self.service.accepted(&peer, user.as_deref());
        connection.machine.established(agreement.clone(), Instant::now());
        loop {
            self.message(connection, address, &agreement, tally).await?;
            let most = self.limits.association_bytes;
            if connection.received() > most {
                let ended = Ended::TooMuch(most);
                return Err(connection.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await);
            }
        }
    }

    /// One request and its response.
    async fn message<S>(
        &self,
        connection: &mut Connection<S>,
        address: IpAddr,
        agreement: &Agreement,
        tally: &mut Tally<'_>,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (id, command) = connection.read_command().await?;
        let context = agreement.contexts.get(&id);
        let (Command::Request(request), Some(context)) = (command, context) else {
            return Err(connection.violate(Abort::INVALID_PARAMETER, "unasked response").await);
        };
        let reply = if request.field == field::C_STORE {
            self.c_store(connection, address, (agreement, context), &request, tally).await?
        } else if request.field == field::N_EVENT_REPORT
            && request.has_data
            && context.class == STORAGE_COMMITMENT
        {
            self.event_report(connection, address, (agreement, context), tally.hall).await?.into()
        } else {
            if request.has_data {
                connection.read_data(Feed::discarding(self.limits.max_object)).await?;
            }
            match request.field {
                field::C_CANCEL => {
                    connection.machine.message_done(Instant::now());
                    return Ok(());
                }
                field::C_ECHO => {
                    tally.echoes += 1;
                    c_echo::status(context).into()
                }
                verb => StoreReply {
                    status: Status::UNRECOGNIZED_OPERATION,
                    comment: Some(format!("{} is not served here", field::name(verb))),
                },
            }
        };
        if reply.status != Status::SUCCESS {
            tell_refusal(&request, &reply, tally.hall.complaints.of(address, Instant::now()));
        }
        let response = request.response(reply.status, reply.comment);
        connection.send_command(id, &response.encode()).await?;
        connection.machine.message_done(Instant::now());
        Ok(())
    }

    async fn c_store<S>(
        &self,
        connection: &mut Connection<S>,
        address: IpAddr,
        (agreement, context): (&Agreement, &Context),
        request: &Request,
        tally: &mut Tally<'_>,
    ) -> Result<StoreReply, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reply = match c_store::check(request, context, agreement, address) {
            Ok(request) => self.keep(connection, request, tally).await?,
            Err(reply) => {
                if request.has_data {
                    connection.read_data(Feed::discarding(self.limits.max_object)).await?;
                }
                reply
            }
        };
        if reply.status.is_stored() {
            tally.stored += 1;
        } else {
            tally.refused += 1;
        }
        Ok(reply)
    }

    /// What a peer says of a storage commitment.
    async fn event_report<S>(
        &self,
        connection: &mut Connection<S>,
        address: IpAddr,
        (agreement, context): (&Agreement, &Context),
        hall: &Hall,
    ) -> Result<Status, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (feed, fragments) = data::channel(MAX_REPORT);
        let (service, syntax, span) = (Arc::clone(&self.service), context.syntax, Span::current());
        let (calling, called) = (agreement.calling.clone(), agreement.called.clone());
        let (peer, turns) = (Peer { calling, called, address }, hall.reports.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            match CommitmentReport::read_in_turn(fragments, syntax, &turns) {
                Ok(report) => service.reported(&peer, &report),
                Err(error) => {
                    debug!("report not understood: {error}");
                    Status::PROCESSING_FAILURE
                }
            }
        });
        connection.read_data(feed).await?;
        let deadline = connection.machine.deadline();
        tokio::select! {
            status = task => Ok(status.unwrap_or(Status::PROCESSING_FAILURE)),
            () = sleep_until(deadline.into()) => {
                let ended = Ended::TimedOut(connection.machine.phase());
                Err(connection.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await)
            }
        }
    }

    /// Streams a data set to the service on a blocking thread, and waits for its answer.
    async fn keep<S>(
        &self,
        connection: &mut Connection<S>,
        request: StoreRequest,
        tally: &mut Tally<'_>,
    ) -> Result<StoreReply, Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (feed, fragments) = data::channel(self.limits.max_object);
        let service = Arc::clone(&self.service);
        let span = Span::current();
        let mut task = tokio::task::spawn_blocking(move || {
            span.in_scope(|| service.store(&request, fragments))
        });
        match connection.read_data(feed).await {
            Ok(bytes) => tally.bytes += bytes,
            Err(ended) => {
                // What came is thrown away before the association counts as ended.
                if timeout(self.timers.service, task).await.is_err() {
                    error!("a C-STORE that was cut off is still being undone");
                }
                return Err(ended);
            }
        }
        let deadline = connection.machine.deadline();
        tokio::select! {
            reply = &mut task => Ok(reply.unwrap_or_else(|failure| {
                error!("C-STORE failed by a fault of this program: {failure}");
                Status::PROCESSING_FAILURE.into()
            })),
            () = sleep_until(deadline.into()) => {
                let ended = Ended::TimedOut(connection.machine.phase());
                Err(connection.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await)
            }
        }
    }
}

/// Logs what was refused and why: the whole of it, where the peer gets 64 characters.
fn tell_refusal(request: &Request, reply: &StoreReply, say: Say) {
    let (status, verb) = (reply.status, field::name(request.field));
    let uid = |uid: &Option<String>| Excerpt(uid.as_deref().unwrap_or("none")).to_string();
    let (class, instance) = (uid(&request.class), uid(&request.instance));
    let reason = reply.comment.as_deref().unwrap_or_else(|| status.name()).escape_debug();
    match say {
        Say::Debug => debug!(%status, verb, class, instance, "request refused: {reason}"),
        say => {
            warn!(%status, verb, class, instance, "request refused: {reason}");
            announce(say);
        }
    }
}

/// Says that nothing more is said.
fn announce(say: Say) {
    if say == Say::LastWarning {
        warn!("more of this address is counted in the metrics, and logged at DEBUG for a minute");
    }
}

/// PS3.8 has no reason of its own for a user identity.
async fn unidentified<S>(connection: &mut Connection<S>) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let rejection = Rejection::NO_REASON;
    connection.end(Some(Pdu::Reject(rejection)), Ended::Unidentified(rejection)).await
}

async fn reject<S>(connection: &mut Connection<S>, rejection: Rejection) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.end(Some(Pdu::Reject(rejection)), Ended::Rejected(rejection)).await
}
