//! A peer that sends whatever bytes a test wants, and the node's acceptor to send them to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed, UserVariableItem};
use tempfile::TempDir;
use thorascribe::dimse::Timers;
use thorascribe::dimse::acceptor::Limits;
use thorascribe::dimse::command::{Command, Request, Response, field};
use thorascribe::dimse::listen::Listener;
use thorascribe::dimse::negotiate::Offer;
use thorascribe::observe::metrics::Metrics;
use thorascribe::receive::{self, Reception};
use thorascribe::spool::{Spool, SpoolSettings};
use thorascribe::vocabulary::ByteSize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub(super) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(super) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(super) const IMPLICIT: &str = "1.2.840.10008.1.2";

/// How long a raw peer waits for an answer before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The node's reception on a spool of its own.
pub(super) struct Scp {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) folder: TempDir,
    pub(super) spool: Spool,
    pub(super) address: SocketAddr,
    pub(super) closing: CancellationToken,
    pub(super) abandon: CancellationToken,
    metrics: Metrics,
    running: Option<JoinHandle<()>>,
}

/// What a test changes about the acceptor.
pub(super) struct Setup {
    pub(super) deadline: Duration,
    pub(super) limits: Limits,
    pub(super) object: thorascribe::object::Limits,
    pub(super) min_free: ByteSize,
}

impl Default for Setup {
    fn default() -> Self {
        let deadline = Duration::from_secs(30);
        let (limits, object) = (Limits::default(), thorascribe::object::Limits::default());
        Self { deadline, limits, object, min_free: ByteSize(0) }
    }
}

impl Scp {
    pub(super) fn start() -> Self {
        Self::with(&Setup::default())
    }

    /// One whose peers must be done with every step in a second.
    pub(super) fn impatient() -> Self {
        Self::with(&Setup { deadline: Duration::from_secs(1), ..Setup::default() })
    }

    pub(super) fn with(setup: &Setup) -> Self {
        let (runtime, folder) = (runtime(), TempDir::new().unwrap());
        let spool = Spool::open(SpoolSettings {
            path: folder.path().join("spool"),
            min_free: setup.min_free,
            quiet: Duration::from_hours(1),
            deadline: Duration::from_hours(1),
            after_delivery: Duration::from_hours(1),
            max_attempts: 3,
        })
        .unwrap();
        let offer = Offer::everything("THORASCRIBE".parse().unwrap());
        let metrics = Metrics::new();
        let timers = Timers::uniform(setup.deadline);
        let reception = Reception::with(
            offer,
            timers,
            setup.limits,
            setup.object,
            spool.clone(),
            metrics.clone(),
        );
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = runtime.block_on(Listener::bind(any)).unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, abandon) = (CancellationToken::new(), CancellationToken::new());
        let serve =
            receive::serve(vec![listener], Arc::new(reception), closing.clone(), abandon.clone());
        let running = runtime.spawn(async move {
            let Ok(()) = serve.await;
        });
        let running = Some(running);
        Self { runtime, folder, spool, address, closing, abandon, metrics, running }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// A counter's value in the metrics.
    pub(super) fn counted(&self, name: &str, outcome: &str) -> u64 {
        let line = format!("thorascribe_{name}_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.text();
        text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |value| value.parse().unwrap())
    }

    /// All object files in the spool, those in the making too.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("spool")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let extension = path.extension().unwrap_or_default().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if extension == "dcm" || extension == "part" {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Waits until the acceptor has ended.
    pub(super) fn join(&mut self) {
        self.runtime.block_on(self.running.take().unwrap()).unwrap();
    }

    /// Whether a good client beside whatever goes on is served.
    #[track_caller]
    pub(super) fn echoes(&self) {
        let mut peer = Peer::associated(self.address, &[(1, VERIFICATION, &[IMPLICIT])]);
        assert_eq!(peer.echo(1).status.0, 0);
        peer.release();
    }
}

/// A TCP connection without manners.
pub(super) struct Peer(pub(super) TcpStream);

/// A PDU as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) code: u8,
    pub(super) body: Vec<u8>,
}

pub(super) fn request(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
    let contexts = contexts.iter().map(|(id, class, syntaxes)| PresentationContextProposed {
        id: *id,
        abstract_syntax: (*class).to_owned(),
        transfer_syntaxes: syntaxes.iter().map(|s| (*s).to_owned()).collect(),
    });
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "RAW".into(),
        called_ae_title: "THORASCRIBE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts.collect(),
        user_variables: vec![UserVariableItem::MaxLength(16384)],
    }
}

pub(super) fn bytes_of(request: &AssociationRQ) -> Vec<u8> {
    let mut bytes = Vec::new();
    dicom_ul::write_pdu(&mut bytes, &request.clone().into()).unwrap();
    bytes
}

/// A P-DATA PDU of one PDV; `control`: 1 command, 2 last.
pub(super) fn p_data(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    let mut bytes = vec![4, 0];
    bytes.extend_from_slice(&(length + 6).to_be_bytes());
    bytes.extend_from_slice(&(length + 2).to_be_bytes());
    bytes.extend_from_slice(&[context, control]);
    bytes.extend_from_slice(data);
    bytes
}

/// A C-ECHO request on a context, as P-DATA.
pub(super) fn c_echo(context: u8, message_id: u16) -> Vec<u8> {
    let request = Request {
        field: field::C_ECHO,
        message_id,
        class: Some(VERIFICATION.into()),
        instance: None,
        kind: None,
        has_data: false,
    };
    p_data(context, 3, &request.encode())
}

/// A C-STORE command set.
pub(super) fn c_store(class: Option<&str>, instance: Option<&str>) -> Vec<u8> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Request {
        field: field::C_STORE,
        message_id: 9,
        class: owned(class),
        instance: owned(instance),
        kind: None,
        has_data: true,
    }
    .encode()
}

/// A minimal CR data set in explicit VR little endian.
pub(super) fn data_set(class: &str, instance: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (group, element, vr, value) in [
        (8_u16, 0x16_u16, b"UI", class),
        (8, 0x18, b"UI", instance),
        (8, 0x60, b"CS", "CR"),
        (0x20, 0x0D, b"UI", "1.2.3.4"),
        (0x20, 0x0E, b"UI", "1.2.3.4.5"),
    ] {
        let pad = if vr == b"UI" { "\0" } else { " " };
        let value = if value.len() % 2 == 1 { format!("{value}{pad}") } else { value.to_owned() };
        bytes.extend_from_slice(&group.to_le_bytes());
        bytes.extend_from_slice(&element.to_le_bytes());
        bytes.extend_from_slice(vr);
        bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

impl Peer {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// One with an accepted association.
    #[track_caller]
    pub(super) fn associated(address: SocketAddr, contexts: &[(u8, &str, &[&str])]) -> Self {
        let mut peer = Self::connect(address);
        peer.send(&bytes_of(&request(contexts)));
        let answer = peer.receive().expect("an answer to the request");
        assert_eq!(answer.code, 2, "{answer:?}");
        peer
    }

    /// One that may send CR images in explicit VR little endian on context 1.
    #[track_caller]
    pub(super) fn storing(address: SocketAddr) -> Self {
        Self::associated(address, &[(1, CR, &[EXPLICIT]), (3, VERIFICATION, &[IMPLICIT])])
    }

    #[track_caller]
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next PDU; `None` when the node has closed the connection.
    #[track_caller]
    pub(super) fn receive(&mut self) -> Option<Raw> {
        let mut head = [0; 6];
        if let Err(error) = self.0.read_exact(&mut head) {
            let timed_out = std::io::ErrorKind::WouldBlock;
            assert_ne!(error.kind(), timed_out, "the node neither answered nor closed");
            return None;
        }
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).unwrap();
        Some(Raw { code: head[0], body })
    }

    /// The response to a request.
    #[track_caller]
    pub(super) fn response(&mut self) -> Response {
        let raw = self.receive().expect("a response");
        assert_eq!(raw.code, 4, "{raw:?}");
        let Command::Response(response) = Command::parse(&raw.body[6..]).unwrap() else {
            panic!("not a response: {raw:?}")
        };
        response
    }

    #[track_caller]
    pub(super) fn echo(&mut self, context: u8) -> Response {
        self.send(&c_echo(context, 77));
        self.response()
    }

    /// Sends an object on context 1; the response.
    #[track_caller]
    pub(super) fn store(&mut self, command: &[u8], data: &[u8]) -> Response {
        self.send(&p_data(1, 3, command));
        for chunk in data.chunks(16_000) {
            self.send(&p_data(1, 0, chunk));
        }
        self.send(&p_data(1, 2, &[]));
        self.response()
    }

    #[track_caller]
    pub(super) fn release(&mut self) {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(self.receive().map(|raw| raw.code), Some(6));
    }

    /// Source and reason of the A-ABORT that must come, before the node closes.
    #[track_caller]
    pub(super) fn aborted(&mut self) -> (u8, u8) {
        let raw = self.receive().expect("an A-ABORT before the connection closes");
        assert_eq!(raw.code, 7, "{raw:?}");
        self.closed();
        (raw.body[2], raw.body[3])
    }

    /// Waits until the node closes, whatever it says before.
    #[track_caller]
    pub(super) fn closed(&mut self) {
        drop(self.0.shutdown(Shutdown::Write));
        while self.receive().is_some() {}
    }

    /// Waits until the node says A-ABORT or closes, without this side's doing.
    #[track_caller]
    pub(super) fn given_up(&mut self) {
        while let Some(raw) = self.receive() {
            if raw.code == 7 {
                return;
            }
        }
    }
}

/// The data set of a Part 10 file.
pub(super) fn data_set_of(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    let meta = 144 + u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    bytes[meta..].to_vec()
}
