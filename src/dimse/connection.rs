//! The socket of an association: reads and writes under the machine's deadlines.

use std::io::ErrorKind;
use std::time::Instant;

use dicom_ul::pdu::{AssociationAC, AssociationRQ};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::command::{Command, MAX_COMMAND};
use super::data::Feed;
use super::machine::{Action, Ended, Machine, Phase};
use super::pdu::{self, Abort, Bounds, HEADER, Kind, Pdu, PduError};
use super::places::Seat;
use super::timers::Timers;

/// Bytes of a control PDU that are read at once, so that a stated length costs nothing.
const STEP: usize = 16 * 1024;
/// Bytes that are read and dropped after the last PDU.
const MAX_DRAINED: usize = 16 << 20;

/// What ends an association from the node's side.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// End between two messages.
    pub(super) closing: CancellationToken,
    /// End now.
    pub(super) abandon: CancellationToken,
    /// End if no request came yet.
    pub(super) evict: CancellationToken,
}

/// What arrived and needs the caller.
pub(super) enum Incoming {
    /// A request to decide on.
    Request(Box<AssociationRQ>),
    /// An acceptance to check.
    Accept(Box<AssociationAC>),
    /// A fragment whose bytes must be read next.
    Fragment {
        /// The last of its set.
        last: bool,
    },
}

/// A socket with the state of its association.
pub(super) struct Connection<S> {
    stream: BufReader<S>,
    pub(super) machine: Machine,
    timers: Timers,
    stop: Stop,
    bounds: Bounds,
    /// Bytes that the present P-DATA PDU has after the present fragment.
    pdu_left: u32,
    /// Bytes that the present fragment has.
    pdv_left: u32,
    /// Bytes read in all.
    received: u64,
    drain: bool,
    /// Given back before the last PDU: a peer that begins anew on it finds its slot free.
    pub(super) seat: Option<Seat>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        stream: S,
        machine: Machine,
        timers: Timers,
        bounds: Bounds,
        stop: Stop,
    ) -> Self {
        let stream = BufReader::with_capacity(STEP, stream);
        let (pdu_left, pdv_left, received, drain, seat) = (0, 0, 0, false, None);
        Self { stream, machine, timers, stop, bounds, pdu_left, pdv_left, received, drain, seat }
    }

    /// One read, under the present deadline and the node's stop.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Ended> {
        loop {
            let phase = self.machine.phase();
            let deadline = self.machine.deadline();
            tokio::select! {
                biased;
                () = self.stop.abandon.cancelled() => {
                    return Err(self.end(Some(Pdu::Abort(Abort::USER)), Ended::Stopped).await);
                }
                // A peer that sends message after message is stopped between two of them.
                () = self.stop.closing.cancelled(), if phase == Phase::Idle => {
                    return Err(self.end(Some(Pdu::Abort(Abort::USER)), Ended::Stopped).await);
                }
                read = self.stream.read(buffer) => return match read {
                    Ok(0) => Err(Ended::Vanished(phase)),
                    Ok(count) => {
                        self.received += count as u64;
                        Ok(count)
                    }
                    // TLS without its close_notify.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        Err(Ended::Vanished(phase))
                    }
                    Err(error) => Err(Ended::Io(phase, error.to_string())),
                },
                () = self.stop.closing.cancelled(), if phase == Phase::AwaitRequest => {
                    return Err(self.end(Some(Pdu::Abort(Abort::USER)), Ended::Stopped).await);
                }
                () = self.stop.evict.cancelled(), if phase == Phase::AwaitRequest => {
                    return Err(Ended::Evicted);
                }
                () = sleep_until(deadline.into()) => {
                    if let Some(ended) = self.machine.on_timer(Instant::now()) {
                        // Before a request there is no association to abort (PS3.8, AA-2).
                        let abort = (phase != Phase::AwaitRequest)
                            .then_some(Pdu::Abort(Abort::PROVIDER));
                        return Err(self.end(abort, ended).await);
                    }
                }
            }
        }
    }

    /// Bytes that the peer sent so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Ended> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            filled += self.read(room).await?;
        }
        Ok(())
    }

    async fn read_body(&mut self, length: u32) -> Result<Vec<u8>, Ended> {
        let length = length as usize;
        let mut body = Vec::new();
        while body.len() < length {
            let start = body.len();
            body.resize(length.min(start + STEP), 0);
            if let Some(room) = body.get_mut(start..) {
                self.read_exact(room).await?;
            }
        }
        Ok(body)
    }

    /// Reads on until something needs the caller. On an error the last PDU, if any, is sent.
    pub(super) async fn next(&mut self) -> Result<Incoming, Ended> {
        loop {
            let mut last = false;
            let action = if self.pdu_left == 0 {
                match self.next_pdu().await? {
                    Some(action) => action,
                    None => continue,
                }
            } else {
                let head = self.next_pdv().await?;
                match head {
                    Ok(head) => {
                        last = head.last;
                        self.machine.on_pdv(&head, Instant::now())
                    }
                    Err(error) => self.machine.on_fault(&error),
                }
            };
            match action {
                Action::Decide(request) => return Ok(Incoming::Request(request)),
                Action::Accepted(accept) => return Ok(Incoming::Accept(accept)),
                Action::Collect | Action::Deliver => return Ok(Incoming::Fragment { last }),
                Action::Send(pdu) => self.send(&pdu).await?,
                Action::End(pdu, ended) => return Err(self.end(pdu, ended).await),
            }
        }
    }

    /// The next PDU: its action, or none for the head of a P-DATA.
    async fn next_pdu(&mut self) -> Result<Option<Action>, Ended> {
        let mut head = [0; HEADER];
        self.read_exact(&mut head).await?;
        match pdu::header(head, &self.bounds) {
            Ok((Kind::Data, 0)) => Ok(self.machine.on_empty()),
            Ok((Kind::Data, length)) => {
                self.pdu_left = length;
                Ok(None)
            }
            Ok((kind, length)) => {
                let body = self.read_body(length).await?;
                Ok(Some(match pdu::decode(kind, &body, &self.bounds) {
                    Ok(pdu) => self.machine.on_pdu(pdu, Instant::now()),
                    Err(error) => self.machine.on_fault(&error),
                }))
            }
            Err(error) => Ok(Some(self.machine.on_fault(&error))),
        }
    }

    async fn next_pdv(&mut self) -> Result<Result<pdu::PdvHeader, PduError>, Ended> {
        if self.pdu_left < 6 {
            return Ok(Err(PduError::Pdv { length: 0, room: self.pdu_left }));
        }
        let mut head = [0; 6];
        self.read_exact(&mut head).await?;
        let head = pdu::pdv_header(head, self.pdu_left);
        if let Ok(head) = &head {
            self.pdv_left = head.length;
            self.pdu_left -= 6 + head.length;
        }
        Ok(head)
    }

    /// Reads bytes of the present fragment; 0 at its end.
    async fn read_fragment(&mut self, buffer: &mut [u8]) -> Result<usize, Ended> {
        let most = buffer.len().min(self.pdv_left as usize);
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = self.read(room).await?;
        self.pdv_left -= u32::try_from(count).unwrap_or(self.pdv_left);
        if let Some(ended) = self.machine.on_bytes(count, Instant::now()) {
            return Err(self.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await);
        }
        Ok(count)
    }

    /// Reads a whole command set, and what context it came on.
    pub(super) async fn read_command(&mut self) -> Result<(u8, Command), Ended> {
        let mut set = Vec::new();
        loop {
            let Incoming::Fragment { last } = self.next().await? else {
                return Err(self.violate(Abort::UNEXPECTED_PDU, "a second negotiation").await);
            };
            let start = set.len();
            let length = start + self.pdv_left as usize;
            if length > MAX_COMMAND {
                return Err(self.violate(Abort::INVALID_PARAMETER, "command set too long").await);
            }
            set.resize(length, 0);
            let mut filled = start;
            while let Some(room) = set.get_mut(filled..).filter(|room| !room.is_empty()) {
                filled += self.read_fragment(room).await?;
            }
            if last {
                break;
            }
        }
        match Command::parse(&set) {
            Ok(command) => {
                self.machine.command_done(command.has_data(), Instant::now());
                Ok((self.machine.message_context(), command))
            }
            Err(error) => Err(self.violate(Abort::INVALID_PARAMETER, &error.to_string()).await),
        }
    }

    /// Reads a whole data set into `feed`.
    pub(super) async fn read_data(&mut self, mut feed: Feed) -> Result<u64, Ended> {
        loop {
            let Incoming::Fragment { last } = self.next().await? else {
                return Err(self.violate(Abort::UNEXPECTED_PDU, "a second negotiation").await);
            };
            while self.pdv_left > 0 {
                let count = self.read_fragment(feed.room()).await?;
                self.fill(&mut feed, count).await?;
                if feed.is_beyond() {
                    return Err(self.violate(Abort::PROVIDER, "data set far too large").await);
                }
            }
            if last {
                break;
            }
        }
        self.machine.data_done(Instant::now());
        let total = feed.total();
        self.handed_on(feed.finish()).await?;
        Ok(total)
    }

    /// Hands bytes on.
    async fn fill(&mut self, feed: &mut Feed, count: usize) -> Result<(), Ended> {
        let stalled = self.handed_on(feed.filled(count)).await?;
        self.machine.on_stall(stalled);
        Ok(())
    }

    /// A receiver that takes nothing for longer than a service may last ends the association.
    async fn handed_on<T>(&mut self, handing: impl Future<Output = T>) -> Result<T, Ended> {
        let ended = tokio::select! {
            biased;
            taken = handing => return Ok(taken),
            () = self.stop.abandon.cancelled() => Ended::Stopped,
            () = sleep(self.timers.service) => Ended::TimedOut(Phase::Serving),
        };
        Err(self.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await)
    }

    /// Writes bytes under the write deadline.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let phase = self.machine.phase();
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            () = self.stop.abandon.cancelled() => Err(Ended::Stopped),
            written = timeout(self.timers.write, write) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Ended::Io(phase, error.to_string())),
                Err(_) => Err(Ended::TimedOut(phase)),
            },
        }
    }

    /// Sends a PDU other than P-DATA.
    pub(super) async fn send(&mut self, pdu: &Pdu) -> Result<(), Ended> {
        match pdu::encode(pdu) {
            Ok(bytes) => self.write(&bytes).await,
            Err(error) => {
                let ended = Ended::Protocol(self.machine.phase(), error.to_string());
                Err(self.end(Some(Pdu::Abort(Abort::PROVIDER)), ended).await)
            }
        }
    }

    /// Waits for bytes of the peer, or its end, until `until` is over.
    pub(super) async fn has_input(&mut self, until: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            _ = self.stream.fill_buf() => true,
            () = until => false,
        }
    }

    /// Sends a command set.
    pub(super) async fn send_command(&mut self, context: u8, set: &[u8]) -> Result<(), Ended> {
        self.send_fragments(context, true, set).await
    }

    /// Sends a whole set, in as many P-DATA as the peer's limit asks.
    pub(super) async fn send_fragments(
        &mut self,
        context: u8,
        command: bool,
        set: &[u8],
    ) -> Result<(), Ended> {
        let send_max = self.machine.agreement().map_or(pdu::MAX_DATA, |a| a.send_max);
        let most = (send_max - 6) as usize;
        let mut bytes = Vec::with_capacity(set.len() + 12);
        let mut chunks = set.chunks(most).peekable();
        while let Some(chunk) = chunks.next() {
            let length = u32::try_from(chunk.len()).unwrap_or(0);
            let last = chunks.peek().is_none();
            bytes.extend_from_slice(&pdu::data_header(context, command, last, length));
            bytes.extend_from_slice(chunk);
        }
        self.write(&bytes).await
    }

    /// Answers a breach of the protocol with A-ABORT.
    pub(super) async fn violate(&mut self, abort: Abort, what: &str) -> Ended {
        match self.machine.violation(abort, what) {
            Action::End(pdu, ended) => self.end(pdu, ended).await,
            _ => Ended::Protocol(self.machine.phase(), what.to_owned()),
        }
    }

    /// Sends the last PDU, if any. [`Connection::close`] must follow.
    pub(super) async fn end(&mut self, pdu: Option<Pdu>, ended: Ended) -> Ended {
        self.machine.closing(Instant::now());
        self.seat = None;
        if let Some(bytes) = pdu.and_then(|pdu| pdu::encode(&pdu).ok()) {
            let write = async {
                self.stream.write_all(&bytes).await?;
                self.stream.shutdown().await
            };
            // A peer that does not take the last PDU gets none.
            self.drain = tokio::select! {
                written = timeout(self.timers.artim, write) => matches!(written, Ok(Ok(()))),
                () = self.stop.evict.cancelled() => false,
            };
        }
        ended
    }

    /// Waits for the peer to close after the last PDU, at most as long as ARTIM: closing with
    /// unread input would reset the connection, and the peer would lose that PDU.
    pub(super) async fn close(mut self) {
        if !self.drain {
            return;
        }
        let drained = async {
            let mut scratch = vec![0; STEP];
            let mut total = 0;
            while let Ok(count @ 1..) = self.stream.read(&mut scratch).await {
                total += count;
                if total > MAX_DRAINED {
                    break;
                }
            }
        };
        tokio::select! {
            () = drained => {}
            () = self.stop.abandon.cancelled() => {}
            () = self.stop.evict.cancelled() => {}
            () = sleep_until(self.machine.deadline().into()) => {}
        }
    }
}
