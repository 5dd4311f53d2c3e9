//! An association as requestor: C-ECHO and C-STORE to a peer.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::command::{Command, Request, Response, field};
use super::connection::{Connection, Incoming, Stop};
use super::data::{self, DataError, Feed};
use super::machine::{Ended, Machine, Phase};
use super::n_action::{self, CommitmentRequest, STORAGE_COMMITMENT};
use super::n_event_report::{CommitmentReport, MAX_REPORT, ReportError};
use super::negotiate::{self, MAX_CONTEXTS};
use super::pdu::{self, Abort, Bounds, MAX_DATA, Pdu};
use super::status::Status;
use super::stream::Stream;
use super::timers::Timers;
use super::tls::{self, Client};
use crate::vocabulary::{AeTitle, InstanceUid, SopClass, TransferSyntax};

pub use super::negotiate::{ProposedContext, Refusal};

/// Bytes of a response's data set that are read and dropped.
const MAX_RESPONSE_DATA: u64 = 1 << 20;

/// Whom to call, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Our AE title.
    pub calling: AeTitle,
    /// The peer's AE title.
    pub called: AeTitle,
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is called over TLS; `None`: without.
    pub tls: Option<Client>,
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.called, self.host, self.port)
    }
}

/// One object to send: the bytes of a file from its data set on, as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreItem {
    /// Its class.
    pub sop_class_uid: String,
    /// Its instance.
    pub instance_uid: InstanceUid,
    /// How its data set is encoded; it is never encoded anew.
    pub transfer_syntax: TransferSyntax,
    /// The file.
    pub path: PathBuf,
    /// Where its data set begins.
    pub data_set_offset: u64,
}

/// An N-EVENT-REPORT of the peer.
#[derive(Debug)]
pub struct Event {
    context: u8,
    request: Request,
    /// What it says.
    pub report: Result<CommitmentReport, ReportError>,
}

/// Why a request came to no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The host is unknown, or does not take connections.
    #[error("cannot connect to {remote}: {cause}; check host and port, and that the peer runs")]
    Connect {
        /// Whom.
        remote: String,
        /// The system's words.
        cause: String,
    },
    /// The peer's certificate is not the expected one, or it does not like ours.
    #[error("TLS with {remote}: {cause}; check its certificate, tls_ca and tls_name, and ours")]
    Handshake {
        /// Whom.
        remote: String,
        /// Why.
        cause: String,
    },
    /// More than [`MAX_CONTEXTS`], or none.
    #[error("{0} presentation contexts proposed; an association has 1 to 128")]
    Contexts(usize),
    /// The association was rejected, aborted, lost or out of time.
    #[error("association with {remote}: {ended}")]
    Ended {
        /// With whom.
        remote: String,
        /// How.
        ended: Ended,
    },
    /// No accepted context carries the object as it is stored.
    #[error("{remote} does not take {class} in {syntax}: {refusal}")]
    NotAccepted {
        /// Who.
        remote: String,
        /// The class's name or UID.
        class: String,
        /// The syntax's name.
        syntax: &'static str,
        /// Why not.
        refusal: Refusal,
    },
    /// The object cannot be read from the disk.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl RequestError {
    /// Whether a later try may go better without anyone changing a configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Handshake { .. } => true,
            Self::Ended { ended, .. } => match ended {
                Ended::Rejected(rejection) => rejection.is_transient(),
                _ => true,
            },
            Self::Contexts(_) | Self::NotAccepted { .. } | Self::File { .. } => false,
        }
    }
}

/// An open association. Dropping it closes the connection without a release.
pub struct Requestor<S = Stream> {
    connection: Connection<S>,
    remote: String,
    message_id: u16,
    buffer: Vec<u8>,
}

impl Requestor {
    /// Connects and negotiates.
    pub async fn connect(
        remote: &Remote,
        proposed: &[ProposedContext],
        timers: &Timers,
    ) -> Result<Self, RequestError> {
        let failed = |cause: String| RequestError::Connect { remote: remote.to_string(), cause };
        let connect = TcpStream::connect((remote.host.as_str(), remote.port));
        let stream = match timeout(timers.connect, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("no answer in time".to_owned())),
        };
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let stream = match &remote.tls {
            None => Stream::Plain(stream),
            Some(tls) => match timeout(timers.connect, tls.connect(&remote.host, stream)).await {
                Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                Ok(Err(error)) => {
                    let (remote, cause) = (remote.to_string(), tls::reason(&error));
                    return Err(RequestError::Handshake { remote, cause });
                }
                Err(_) => return Err(failed("no TLS handshake in time".to_owned())),
            },
        };
        Self::negotiate(stream, remote, proposed, timers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Requestor<S> {
    /// Negotiates on an open connection.
    pub async fn negotiate(
        stream: S,
        remote: &Remote,
        proposed: &[ProposedContext],
        timers: &Timers,
    ) -> Result<Self, RequestError> {
        if !(1..=MAX_CONTEXTS).contains(&proposed.len()) {
            return Err(RequestError::Contexts(proposed.len()));
        }
        let name = remote.to_string();
        let machine = Machine::requestor(*timers, Instant::now());
        let mut connection =
            Connection::new(stream, machine, *timers, Bounds::default(), Stop::default());
        let request = negotiate::request(&remote.calling, &remote.called, proposed);
        match agree(&mut connection, request, remote, proposed).await {
            Ok(()) => Ok(Self { connection, remote: name, message_id: 0, buffer: Vec::new() }),
            Err(ended) => {
                connection.close().await;
                Err(RequestError::Ended { remote: name, ended })
            }
        }
    }

    /// The syntaxes in which objects of a class are taken.
    pub fn accepted(&self, sop_class_uid: &str) -> Vec<TransferSyntax> {
        let contexts = self.connection.machine.agreement().map(|a| &a.contexts);
        let all = contexts.into_iter().flat_map(|contexts| contexts.values());
        all.filter(|c| c.class == sop_class_uid).map(|c| c.syntax).collect()
    }

    /// Why an object of a class in a syntax is not taken. Of several contexts the one that tells
    /// most counts.
    pub fn refusal(&self, class: &str, syntax: Option<TransferSyntax>) -> Refusal {
        let refused = self.connection.machine.agreement().map(|a| a.refused.as_slice());
        let asked = |context: &ProposedContext| {
            context.abstract_syntax == class
                && syntax.is_none_or(|syntax| context.transfer_syntaxes.contains(&syntax))
        };
        let reasons = refused.into_iter().flatten().filter(|(context, _)| asked(context));
        reasons.map(|(_, refusal)| *refusal).max().unwrap_or(Refusal::Unsaid)
    }

    fn context(&self, class: &str, syntax: Option<TransferSyntax>) -> Option<u8> {
        let contexts = &self.connection.machine.agreement()?.contexts;
        let fits = |c: &negotiate::Context| {
            c.class == class && syntax.is_none_or(|syntax| c.syntax == syntax)
        };
        contexts.iter().find(|(_, context)| fits(context)).map(|(id, _)| *id)
    }

    fn not_accepted(&self, class: &str, syntax: Option<TransferSyntax>) -> RequestError {
        let refusal = self.refusal(class, syntax);
        let syntax = syntax.map_or("any syntax", TransferSyntax::name);
        let class =
            SopClass::from_uid(class).map_or_else(|| class.to_owned(), |c| c.name().to_owned());
        RequestError::NotAccepted { remote: self.remote.clone(), class, syntax, refusal }
    }

    fn ended(&self, ended: Ended) -> RequestError {
        RequestError::Ended { remote: self.remote.clone(), ended }
    }

    /// C-ECHO.
    pub async fn echo(&mut self) -> Result<Status, RequestError> {
        let class = SopClass::Verification.uid();
        let id = self.context(class, None).ok_or_else(|| self.not_accepted(class, None))?;
        let request = self.request(field::C_ECHO, class, None);
        let sent = self.connection.send_command(id, &request.encode()).await;
        sent.map_err(|ended| self.ended(ended))?;
        self.response(id, &request).await.map(|response| response.status)
    }

    /// C-STORE of one object, in its stored syntax. After any error but
    /// [`RequestError::NotAccepted`] and a missing file the association is of no more use.
    pub async fn store(&mut self, item: &StoreItem) -> Result<Status, RequestError> {
        self.store_with_comment(item).await.map(|(status, _)| status)
    }

    /// As [`Requestor::store`], with the peer's words on the status.
    pub async fn store_with_comment(
        &mut self,
        item: &StoreItem,
    ) -> Result<(Status, Option<String>), RequestError> {
        let class = item.sop_class_uid.as_str();
        let syntax = item.transfer_syntax;
        let id = self
            .context(class, Some(syntax))
            .ok_or_else(|| self.not_accepted(class, Some(syntax)))?;
        let (file, length) = open(&item.path, item.data_set_offset).await?;
        let request = self.request(field::C_STORE, class, Some(item.instance_uid.as_str()));
        let sent = self.connection.send_command(id, &request.encode()).await;
        sent.map_err(|ended| self.ended(ended))?;
        self.send_data(id, file, length, &item.path).await?;
        let response = self.response(id, &request).await?;
        Ok((response.status, response.comment))
    }

    fn request(&mut self, field: u16, class: &str, instance: Option<&str>) -> Request {
        self.message_id = self.message_id.checked_add(1).unwrap_or(1);
        Request {
            field,
            message_id: self.message_id,
            class: Some(class.to_owned()),
            instance: instance.map(str::to_owned),
            kind: (field == field::N_ACTION).then_some(n_action::REQUEST),
            has_data: matches!(field, field::C_STORE | field::N_ACTION),
        }
    }

    /// Sends `length` bytes of a file as a data set, a P-DATA at a time through one buffer.
    async fn send_data(
        &mut self,
        context: u8,
        mut file: File,
        length: u64,
        path: &Path,
    ) -> Result<(), RequestError> {
        let send_max = self.connection.machine.agreement().map_or(MAX_DATA, |a| a.send_max);
        let most = u64::from(send_max) - 6;
        let mut left = length;
        loop {
            let count = left.min(most);
            left -= count;
            self.buffer.clear();
            let count = u32::try_from(count).unwrap_or(0);
            self.buffer.extend_from_slice(&pdu::data_header(context, false, left == 0, count));
            let head = self.buffer.len();
            self.buffer.resize(head + count as usize, 0);
            let room = self.buffer.get_mut(head..).unwrap_or_default();
            if let Err(source) = file.read_exact(room).await {
                // A data set cut short must not look whole to the peer.
                let abort = Some(Pdu::Abort(Abort::USER));
                self.connection.end(abort, Ended::Stopped).await;
                return Err(RequestError::File { path: path.to_owned(), source });
            }
            let sent = self.connection.write(&self.buffer).await;
            sent.map_err(|ended| self.ended(ended))?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// N-ACTION: asks for storage commitment. The answer, with the peer's words on it.
    pub async fn n_action(
        &mut self,
        wanted: &CommitmentRequest,
    ) -> Result<(Status, Option<String>), RequestError> {
        let id = self
            .context(STORAGE_COMMITMENT, None)
            .ok_or_else(|| self.not_accepted(STORAGE_COMMITMENT, None))?;
        let contexts = self.connection.machine.agreement().map(|a| &a.contexts);
        let explicit =
            contexts.and_then(|all| all.get(&id)).is_some_and(|c| c.syntax.is_explicit());
        let set = wanted.encode(explicit);
        let request = self.request(field::N_ACTION, STORAGE_COMMITMENT, Some(n_action::WELL_KNOWN));
        let sent = self.connection.send_command(id, &request.encode()).await;
        sent.map_err(|ended| self.ended(ended))?;
        let sent = self.connection.send_fragments(id, false, &set).await;
        sent.map_err(|ended| self.ended(ended))?;
        let response = self.response(id, &request).await?;
        Ok((response.status, response.comment))
    }

    /// The next N-EVENT-REPORT of the peer; `None` when there is none by the time that `until` is
    /// over. It must be answered.
    pub async fn event(
        &mut self,
        until: impl Future<Output = ()>,
    ) -> Result<Option<Event>, RequestError> {
        if !self.connection.has_input(until).await {
            return Ok(None);
        }
        self.read_event().await.map(Some).map_err(|ended| self.ended(ended))
    }

    async fn read_event(&mut self) -> Result<Event, Ended> {
        let (context, command) = self.connection.read_command().await?;
        let agreed = self.connection.machine.agreement().and_then(|a| a.contexts.get(&context));
        let syntax = agreed.map(|context| context.syntax);
        match (command, syntax) {
            (Command::Request(request), Some(syntax))
                if request.field == field::N_EVENT_REPORT && request.has_data =>
            {
                let (feed, fragments) = data::channel(MAX_REPORT);
                let read = move || CommitmentReport::read(fragments, syntax);
                let reading = tokio::task::spawn_blocking(read);
                self.connection.read_data(feed).await?;
                let report = reading.await.unwrap_or(Err(DataError::Cut.into()));
                Ok(Event { context, request, report })
            }
            _ => {
                let what = "not the event report that was awaited";
                Err(self.connection.violate(Abort::INVALID_PARAMETER, what).await)
            }
        }
    }

    /// Answers an event.
    pub async fn answer(&mut self, event: &Event, status: Status) -> Result<(), RequestError> {
        let response = event.request.response(status, None);
        let sent = self.connection.send_command(event.context, &response.encode()).await;
        sent.map_err(|ended| self.ended(ended))?;
        self.connection.machine.message_done(Instant::now());
        Ok(())
    }

    async fn response(&mut self, context: u8, request: &Request) -> Result<Response, RequestError> {
        self.connection.machine.requested(Instant::now());
        let response =
            self.read_response(context, request).await.map_err(|ended| self.ended(ended))?;
        self.connection.machine.message_done(Instant::now());
        Ok(response)
    }

    async fn read_response(&mut self, context: u8, request: &Request) -> Result<Response, Ended> {
        let (answered, command) = self.connection.read_command().await?;
        if command.has_data() {
            self.connection.read_data(Feed::discarding(MAX_RESPONSE_DATA)).await?;
        }
        match command {
            Command::Response(response)
                if answered == context
                    && response.responded_to == request.message_id
                    && response.field == request.field | field::RESPONSE =>
            {
                Ok(response)
            }
            _ => {
                let what = "not the response that was awaited";
                Err(self.connection.violate(Abort::INVALID_PARAMETER, what).await)
            }
        }
    }

    /// Releases the association. Whatever comes of it, all responses were there before.
    pub async fn release(mut self) -> Ended {
        if let Err(ended) = self.connection.send(&Pdu::ReleaseRequest).await {
            return ended;
        }
        self.connection.machine.releasing(Instant::now());
        let ended = match self.connection.next().await {
            Err(ended) => ended,
            Ok(_) => Ended::Protocol(Phase::AwaitRelease, "a message instead".to_owned()),
        };
        self.connection.close().await;
        ended
    }

    /// Aborts the association.
    pub async fn abort(mut self) {
        self.connection.end(Some(Pdu::Abort(Abort::USER)), Ended::Stopped).await;
        self.connection.close().await;
    }
}

async fn agree<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    request: dicom_ul::pdu::AssociationRQ,
    remote: &Remote,
    proposed: &[ProposedContext],
) -> Result<(), Ended> {
    connection.send(&Pdu::Request(Box::new(request))).await?;
    let Incoming::Accept(accept) = connection.next().await? else {
        return Err(connection.violate(Abort::UNEXPECTED_PDU, "no acceptance").await);
    };
    match negotiate::agreement(&remote.calling, &remote.called, proposed, &accept) {
        Ok(agreement) => {
            connection.machine.established(agreement, Instant::now());
            Ok(())
        }
        Err(what) => Err(connection.violate(Abort::INVALID_PARAMETER, what).await),
    }
}

/// The file at its data set, and how many bytes that has.
async fn open(path: &Path, offset: u64) -> Result<(File, u64), RequestError> {
    let failed = |source| RequestError::File { path: path.to_owned(), source };
    let mut file = File::open(path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let Some(length) = length.checked_sub(offset) else {
        let source = std::io::Error::other("the file ends before its data set");
        return Err(failed(source));
    };
    file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    Ok((file, length))
}
