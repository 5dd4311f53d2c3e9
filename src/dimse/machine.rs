//! The state of one association without I/O (PS3.8 §9.2): what arrives and what time it is go
//! in, what to do comes out.
//!
//! P-DATA never comes here whole: each fragment's head does ([`Machine::on_pdv`]), and how many
//! bytes of it came ([`Machine::on_bytes`]). Every phase has a deadline; a data set has a least
//! rate beside it.

use std::fmt;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{AssociationAC, AssociationRQ};

use super::negotiate::Agreement;
use super::pdu::{Abort, Pdu, PduError, PdvHeader, Rejection};
use super::timers::Timers;

/// Fragments without a byte that are tolerated in a row.
const MAX_EMPTY: u32 = 100;

/// Where an association stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Acceptor: connected, no request yet (Sta2).
    AwaitRequest,
    /// Requestor: asked, no answer yet (Sta5).
    AwaitAnswer,
    /// Acceptor: the request is there and is being decided (Sta3).
    Deciding,
    /// Between messages (Sta6).
    Idle,
    /// Requestor: a request is out, its response is awaited (Sta6).
    AwaitResponse,
    /// Within a command set (Sta6).
    Command,
    /// A command set is there that announces a data set (Sta6).
    AwaitData,
    /// Within a data set (Sta6).
    Data,
    /// A request is being served (Sta6).
    Serving,
    /// Requestor: release asked (Sta7).
    AwaitRelease,
    /// Requestor: both asked for release; the reply to ours is awaited (Sta11).
    Collided,
    /// Nothing more is sent; the peer is to close (Sta13).
    Closing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitRequest => "waiting for an association request",
            Self::AwaitAnswer => "waiting for the answer to the association request",
            Self::Deciding => "deciding on an association request",
            Self::Idle => "between messages",
            Self::AwaitResponse => "waiting for a response",
            Self::Command => "within a command set",
            Self::AwaitData => "waiting for a data set",
            Self::Data => "within a data set",
            Self::Serving => "serving a request",
            Self::AwaitRelease | Self::Collided => "waiting for the release",
            Self::Closing => "waiting for the peer to close",
        })
    }
}

/// How an association ended; every one ends in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// As it should.
    #[error("released")]
    Released,
    /// Refused in negotiation, by either side.
    #[error("rejected: {0}")]
    Rejected(Rejection),
    /// Refused: the caller gave no user identity, or a wrong one.
    #[error("rejected: user identity missing or wrong, {0}")]
    Unidentified(Rejection),
    /// The handshake of TLS failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(String),
    /// The peer sent A-ABORT.
    #[error("aborted by the peer {0}, {1}")]
    Aborted(Abort, Phase),
    /// A deadline passed.
    #[error("no progress while {0}")]
    TimedOut(Phase),
    /// A data set came slower than is tolerated.
    #[error("the data set came too slowly")]
    TooSlow,
    /// It lasted longer than one may.
    #[error("the association lasted longer than {} s", .0.as_secs_f32())]
    TooLong(Duration),
    /// It brought more bytes than one may.
    #[error("the association brought more than {0} bytes")]
    TooMuch(u64),
    /// The peer broke the protocol.
    #[error("protocol violated while {0}: {1}")]
    Protocol(Phase, String),
    /// The peer closed the connection without a release.
    #[error("connection closed by the peer while {0}")]
    Vanished(Phase),
    /// The connection failed.
    #[error("connection failed while {0}: {1}")]
    Io(Phase, String),
    /// A silent connection made room for a new one.
    #[error("gave way to a new connection before it asked for an association")]
    Evicted,
    /// The node stops.
    #[error("ended by the node's stop")]
    Stopped,
}

impl Ended {
    /// Whether a caller was turned away for who it is: by its title, address, certificate or user
    /// identity, or because it speaks otherwise; not for want of room.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Rejected(rejection) => !rejection.is_transient(),
            Self::Unidentified(_) | Self::Handshake(_) => true,
            _ => false,
        }
    }

    /// A word for metrics and logs.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Rejected(_) => "rejected",
            Self::Unidentified(_) => "unidentified",
            Self::Handshake(_) => "tls_failed",
            Self::Aborted(..) => "aborted",
            Self::TimedOut(_) | Self::TooSlow => "timeout",
            Self::TooLong(_) | Self::TooMuch(_) => "limit",
            Self::Protocol(..) => "protocol_error",
            Self::Vanished(_) | Self::Io(..) => "connection_lost",
            Self::Evicted => "evicted",
            Self::Stopped => "stopped",
        }
    }
}

/// What to do about something that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Decide on the request, then call [`Machine::established`] or end.
    Decide(Box<AssociationRQ>),
    /// Check the acceptance, then call [`Machine::established`] or end.
    Accepted(Box<AssociationAC>),
    /// Add the fragment to the command set.
    Collect,
    /// Give the fragment to the data set's receiver.
    Deliver,
    /// Send this and go on.
    Send(Pdu),
    /// Send this, if any, and end so.
    End(Option<Pdu>, Ended),
}

/// The state of one association.
#[derive(Debug)]
pub struct Machine {
    timers: Timers,
    phase: Phase,
    deadline: Instant,
    /// When the whole association must be over.
    end: Instant,
    /// Context of the message in progress.
    context: u8,
    agreement: Option<Agreement>,
    empty: u32,
    window: Window,
}

/// The bytes of a data set in the present window of the floor.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    bytes: u64,
}

impl Machine {
    /// A connection that was just accepted.
    pub fn acceptor(timers: Timers, now: Instant) -> Self {
        Self::new(timers, Phase::AwaitRequest, now)
    }

    /// A connection that was just opened, the request sent.
    pub fn requestor(timers: Timers, now: Instant) -> Self {
        Self::new(timers, Phase::AwaitAnswer, now)
    }

    fn new(timers: Timers, phase: Phase, now: Instant) -> Self {
        let window = Window { start: now, bytes: 0 };
        let deadline = now + timers.request;
        let end = now + timers.association;
        Self { timers, phase, deadline, end, context: 0, agreement: None, empty: 0, window }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What was agreed, once it was.
    pub fn agreement(&self) -> Option<&Agreement> {
        self.agreement.as_ref()
    }

    /// The context of the message in progress, or of the last one.
    pub fn message_context(&self) -> u8 {
        self.context
    }

    /// When [`Machine::on_timer`] must be called at the latest.
    pub fn deadline(&self) -> Instant {
        let deadline = match self.phase {
            Phase::Data => self.deadline.min(self.window.start + self.timers.floor.window),
            _ => self.deadline,
        };
        if self.phase == Phase::Closing { deadline } else { deadline.min(self.end) }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        let timers = &self.timers;
        let span = match phase {
            Phase::AwaitRequest | Phase::AwaitAnswer => timers.request,
            Phase::Idle => timers.idle,
            Phase::AwaitResponse => timers.response,
            Phase::Command | Phase::AwaitData => timers.command,
            Phase::Data => timers.data,
            Phase::Deciding | Phase::Serving => timers.service,
            Phase::AwaitRelease | Phase::Collided => timers.release,
            Phase::Closing => timers.artim,
        };
        self.phase = phase;
        self.deadline = now + span;
    }

    /// A deadline may have passed: how the association ends, if it did.
    pub fn on_timer(&mut self, now: Instant) -> Option<Ended> {
        if now >= self.deadline {
            return Some(Ended::TimedOut(self.phase));
        }
        if now >= self.end {
            return Some(Ended::TooLong(self.timers.association));
        }
        self.check_floor(now)
    }

    fn check_floor(&mut self, now: Instant) -> Option<Ended> {
        let floor = self.timers.floor;
        if self.phase != Phase::Data || now < self.window.start + floor.window {
            return None;
        }
        let slow = self.window.bytes < floor.bytes;
        self.window = Window { start: now, bytes: 0 };
        slow.then_some(Ended::TooSlow)
    }

    /// Bytes of a fragment came.
    pub fn on_bytes(&mut self, count: usize, now: Instant) -> Option<Ended> {
        if self.phase != Phase::Data || count == 0 {
            return None;
        }
        self.window.bytes += count as u64;
        self.deadline = now + self.timers.data;
        self.check_floor(now)
    }

    /// Our own side kept the peer waiting: that time is not the peer's.
    pub fn on_stall(&mut self, stalled: Duration) {
        self.deadline += stalled;
        self.window.start += stalled;
    }

    /// A PDU came that cannot be read.
    pub fn on_fault(&mut self, error: &PduError) -> Action {
        self.violation(error.abort(), error.to_string())
    }

    /// The peer broke the protocol: A-ABORT, and the end.
    pub fn violation(&self, abort: Abort, what: impl Into<String>) -> Action {
        Action::End(Some(Pdu::Abort(abort)), Ended::Protocol(self.phase, what.into()))
    }

    /// A whole PDU other than P-DATA came.
    pub fn on_pdu(&mut self, pdu: Pdu, now: Instant) -> Action {
        match (pdu, self.phase) {
            (Pdu::Abort(abort), phase) => Action::End(None, Ended::Aborted(abort, phase)),
            (Pdu::Request(request), Phase::AwaitRequest) => {
                self.enter(Phase::Deciding, now);
                Action::Decide(request)
            }
            (Pdu::Accept(accept), Phase::AwaitAnswer) => Action::Accepted(accept),
            (Pdu::Reject(rejection), Phase::AwaitAnswer) => {
                Action::End(None, Ended::Rejected(rejection))
            }
            (Pdu::ReleaseRequest, Phase::Idle | Phase::AwaitResponse) => {
                Action::End(Some(Pdu::ReleaseReply), Ended::Released)
            }
            // Both ask at once: as requestor, reply and wait on for the peer's own reply.
            (Pdu::ReleaseRequest, Phase::AwaitRelease) => {
                self.enter(Phase::Collided, now);
                Action::Send(Pdu::ReleaseReply)
            }
            (Pdu::ReleaseReply, Phase::AwaitRelease | Phase::Collided) => {
                Action::End(None, Ended::Released)
            }
            (pdu, _) => self.violation(Abort::UNEXPECTED_PDU, format!("unexpected {}", name(&pdu))),
        }
    }

    /// The head of a fragment came (PS3.7 §6.3.1, PS3.8 Annex E).
    pub fn on_pdv(&mut self, pdv: &PdvHeader, now: Instant) -> Action {
        let first = match self.phase {
            Phase::Idle | Phase::AwaitResponse => true,
            Phase::Command | Phase::AwaitData | Phase::Data => false,
            // A peer may not yet have our A-RELEASE-RQ; its late data have no reader.
            _ => return self.violation(Abort::UNEXPECTED_PDU, "unexpected P-DATA"),
        };
        let known = self.agreement.as_ref().is_some_and(|a| a.contexts.contains_key(&pdv.context));
        if !known {
            let what = format!("context {} was not accepted", pdv.context);
            return self.violation(Abort::INVALID_PARAMETER, what);
        }
        if !first && pdv.context != self.context {
            return self.violation(Abort::INVALID_PARAMETER, "another context within a message");
        }
        self.empty = if pdv.length == 0 { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY {
            return self.violation(Abort::INVALID_PARAMETER, "too many empty fragments");
        }
        self.context = pdv.context;
        match (self.phase, pdv.command) {
            (Phase::Command, true) => Action::Collect,
            (Phase::Idle | Phase::AwaitResponse, true) => {
                self.enter(Phase::Command, now);
                Action::Collect
            }
            (Phase::Data, false) => Action::Deliver,
            (Phase::AwaitData, false) => {
                self.enter(Phase::Data, now);
                self.window = Window { start: now, bytes: 0 };
                Action::Deliver
            }
            (_, true) => self.violation(Abort::INVALID_PARAMETER, "a command within a data set"),
            (_, false) => self.violation(Abort::INVALID_PARAMETER, "a data set without command"),
        }
    }

    /// An empty P-DATA PDU came; only so many are tolerated.
    pub fn on_empty(&mut self) -> Option<Action> {
        self.empty += 1;
        (self.empty > MAX_EMPTY)
            .then(|| self.violation(Abort::INVALID_PARAMETER, "too many empty PDUs"))
    }

    /// Both sides agreed.
    pub fn established(&mut self, agreement: Agreement, now: Instant) {
        self.agreement = Some(agreement);
        self.enter(Phase::Idle, now);
    }

    /// The command set is whole.
    pub fn command_done(&mut self, has_data: bool, now: Instant) {
        self.enter(if has_data { Phase::AwaitData } else { Phase::Serving }, now);
    }

    /// The data set is whole.
    pub fn data_done(&mut self, now: Instant) {
        self.enter(Phase::Serving, now);
    }

    /// The message is dealt with.
    pub fn message_done(&mut self, now: Instant) {
        self.enter(Phase::Idle, now);
    }

    /// Requestor: a request went out.
    pub fn requested(&mut self, now: Instant) {
        self.enter(Phase::AwaitResponse, now);
    }

    /// Requestor: A-RELEASE-RQ went out.
    pub fn releasing(&mut self, now: Instant) {
        self.enter(Phase::AwaitRelease, now);
    }

    /// The last PDU went out: ARTIM runs.
    pub fn closing(&mut self, now: Instant) {
        self.enter(Phase::Closing, now);
    }
}

fn name(pdu: &Pdu) -> &'static str {
    match pdu {
        Pdu::Request(_) => "A-ASSOCIATE-RQ",
        Pdu::Accept(_) => "A-ASSOCIATE-AC",
        Pdu::Reject(_) => "A-ASSOCIATE-RJ",
        Pdu::ReleaseRequest => "A-RELEASE-RQ",
        Pdu::ReleaseReply => "A-RELEASE-RP",
        Pdu::Abort(_) => "A-ABORT",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dimse::negotiate::Context;
    use crate::vocabulary::{SopClass, TransferSyntax};

    const SECOND: Duration = Duration::from_secs(1);

    fn established(now: Instant) -> Machine {
        let mut machine = Machine::acceptor(Timers::default(), now);
        let class = SopClass::CrImage.uid().to_owned();
        let context = Context { class, syntax: TransferSyntax::ExplicitLittle };
        machine.established(
            Agreement {
                refused: Vec::new(),
                calling: "A".parse().unwrap(),
                called: "B".parse().unwrap(),
                contexts: BTreeMap::from([(1, context.clone()), (3, context)]),
                send_max: 4096,
                implementation: String::new(),
            },
            now,
        );
        machine
    }

    fn pdv(context: u8, command: bool, length: u32) -> PdvHeader {
        PdvHeader { length, context, command, last: false }
    }

    fn aborts(action: &Action, abort: Abort) -> bool {
        matches!(action, Action::End(Some(Pdu::Abort(a)), Ended::Protocol(..)) if *a == abort)
    }

    #[test]
    fn each_phase_takes_what_belongs_there_and_aborts_on_the_rest() {
        let now = Instant::now();
        let waiting = || Machine::acceptor(Timers::default(), now);
        let asking = || Machine::requestor(Timers::default(), now);
        for pdu in [Pdu::ReleaseRequest, Pdu::ReleaseReply, Pdu::Reject(Rejection::LIMIT)] {
            assert!(aborts(&waiting().on_pdu(pdu, now), Abort::UNEXPECTED_PDU));
        }
        assert!(aborts(&waiting().on_pdv(&pdv(1, true, 8), now), Abort::UNEXPECTED_PDU));
        assert!(aborts(&asking().on_pdu(Pdu::ReleaseReply, now), Abort::UNEXPECTED_PDU));
        assert_eq!(
            asking().on_pdu(Pdu::Reject(Rejection::LIMIT), now),
            Action::End(None, Ended::Rejected(Rejection::LIMIT))
        );
        assert_eq!(
            waiting().on_pdu(Pdu::Abort(Abort::USER), now),
            Action::End(None, Ended::Aborted(Abort::USER, Phase::AwaitRequest))
        );
        let mut machine = established(now);
        assert_eq!(
            machine.on_pdu(Pdu::ReleaseRequest, now),
            Action::End(Some(Pdu::ReleaseReply), Ended::Released)
        );
        machine.on_pdv(&pdv(1, true, 8), now);
        assert!(aborts(&machine.on_pdu(Pdu::ReleaseRequest, now), Abort::UNEXPECTED_PDU));
    }

    #[test]
    fn fragments_come_in_the_order_of_a_message() {
        let now = Instant::now();
        let wrong = Abort::INVALID_PARAMETER;
        assert!(aborts(&established(now).on_pdv(&pdv(1, false, 8), now), wrong));
        assert!(aborts(&established(now).on_pdv(&pdv(5, true, 8), now), wrong));
        let mut machine = established(now);
        assert_eq!(machine.on_pdv(&pdv(1, true, 8), now), Action::Collect);
        assert!(aborts(&machine.on_pdv(&pdv(3, true, 8), now), wrong));
        assert!(aborts(&machine.on_pdv(&pdv(1, false, 8), now), wrong));
        machine.command_done(true, now);
        assert!(aborts(&machine.on_pdv(&pdv(1, true, 8), now), wrong));
        assert_eq!(machine.on_pdv(&pdv(1, false, 8), now), Action::Deliver);
        assert!(aborts(&machine.on_pdv(&pdv(3, false, 8), now), wrong));
        assert!(aborts(&machine.on_pdv(&pdv(1, true, 8), now), wrong));
        machine.data_done(now);
        assert!(aborts(&machine.on_pdv(&pdv(1, true, 8), now), Abort::UNEXPECTED_PDU));
    }

    #[test]
    fn empty_fragments_are_counted() {
        let now = Instant::now();
        let mut machine = established(now);
        for _ in 0..MAX_EMPTY {
            assert_eq!(machine.on_pdv(&pdv(1, true, 0), now), Action::Collect);
        }
        assert!(aborts(&machine.on_pdv(&pdv(1, true, 0), now), Abort::INVALID_PARAMETER));
    }

    #[test]
    fn every_phase_has_a_deadline_that_bytes_do_not_extend_save_in_a_data_set() {
        let start = Instant::now();
        let mut machine = Machine::acceptor(Timers::default(), start);
        assert_eq!(machine.on_bytes(1, start + 29 * SECOND), None);
        assert_eq!(
            machine.on_timer(start + 30 * SECOND),
            Some(Ended::TimedOut(Phase::AwaitRequest))
        );
        let mut machine = established(start);
        assert_eq!(machine.on_timer(start + 29 * SECOND), None);
        assert_eq!(machine.on_timer(start + 30 * SECOND), Some(Ended::TimedOut(Phase::Idle)));
        machine.on_pdv(&pdv(1, true, 8), start);
        assert_eq!(machine.on_timer(start + 30 * SECOND), Some(Ended::TimedOut(Phase::Command)));
        machine.command_done(true, start);
        assert_eq!(machine.on_timer(start + 30 * SECOND), Some(Ended::TimedOut(Phase::AwaitData)));
        machine.on_pdv(&pdv(1, false, 8), start);
        for second in 1..100 {
            assert_eq!(machine.on_bytes(2048, start + second * SECOND), None, "{second}");
        }
        assert_eq!(machine.on_timer(start + 129 * SECOND), Some(Ended::TimedOut(Phase::Data)));
    }

    #[test]
    fn a_byte_a_second_is_too_slow() {
        let start = Instant::now();
        let mut machine = established(start);
        machine.on_pdv(&pdv(1, true, 8), start);
        machine.command_done(true, start);
        machine.on_pdv(&pdv(1, false, 8000), start);
        let ended = (1..=31).find_map(|second| {
            let now = start + second * SECOND;
            machine.on_timer(now).or_else(|| machine.on_bytes(1, now)).map(|ended| (second, ended))
        });
        assert_eq!(ended, Some((30, Ended::TooSlow)));
    }

    #[test]
    fn our_own_delay_is_not_held_against_the_peer() {
        let start = Instant::now();
        let mut machine = established(start);
        machine.on_pdv(&pdv(1, true, 8), start);
        machine.command_done(true, start);
        machine.on_pdv(&pdv(1, false, 8000), start);
        machine.on_stall(25 * SECOND);
        assert_eq!(machine.on_timer(start + 50 * SECOND), None);
    }

    #[test]
    fn releases_that_cross_are_answered_and_waited_for() {
        let now = Instant::now();
        let mut machine = established(now);
        machine.releasing(now);
        assert_eq!(machine.on_pdu(Pdu::ReleaseRequest, now), Action::Send(Pdu::ReleaseReply));
        assert_eq!(machine.on_pdu(Pdu::ReleaseReply, now), Action::End(None, Ended::Released));
    }
}
