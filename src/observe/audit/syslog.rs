//! Audit messages by syslog (RFC 5424): by UDP (RFC 5426) or TLS (RFC 5425).
//!
//! A bounded queue stands between the node and the server. When it is full, messages are counted
//! and left out: the local copy has them all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::host;
use crate::observe::metrics::Metrics;

/// Messages that may wait for the server.
const WAITING: usize = 1024;
/// How long a message may take to be written.
const WRITE: Duration = Duration::from_secs(10);
/// How long the end of the program waits for the last messages.
const LAST: Duration = Duration::from_secs(1);
/// How long a server that cannot be reached is left alone, growing to a minute.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// Facility 10 (security and authorization), severity 5 (notice), as IHE ATNA has it.
const PRIORITY: u8 = 10 * 8 + 5;

/// A connection to a server.
pub type Connection = Box<dyn AsyncWrite + Send + Unpin>;
/// Opens one.
pub type Connect =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>> + Send + Sync>;

/// How the server is reached.
pub enum Server {
    /// A datagram a message.
    Udp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A stream of messages, each after its length.
    Stream(Connect),
}

/// The node's end of the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: Sender<Vec<u8>>,
    /// Messages that were taken in and are neither sent nor given up.
    on_the_way: Arc<AtomicUsize>,
    metrics: Metrics,
    host: String,
}

impl Outbox {
    /// Starts a task of the present runtime that sends; it ends with the last clone.
    pub fn start(server: Server, metrics: Metrics) -> Self {
        let (queue, waiting) = channel(WAITING);
        let on_the_way = Arc::default();
        tokio::spawn(deliver(server, waiting, metrics.clone(), Arc::clone(&on_the_way)));
        Self { queue, on_the_way, metrics, host: host::name() }
    }

    pub(super) fn send(&self, at: Timestamp, message: &str) {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(framed(at, &self.host, message)).is_err() {
            self.on_the_way.fetch_sub(1, Ordering::SeqCst);
            self.metrics.audit("unsent");
        }
    }

    /// Waits until all is sent, but not for a server that does not take it.
    pub(super) async fn drained(&self) {
        let empty = async {
            while self.on_the_way.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(LAST, empty).await.is_err() {
            warn!("the last audit messages were not sent by syslog in time");
        }
    }
}

/// Header, no structured data, byte order mark and message (RFC 5424 §6; MSGID by PS3.15 §A.5).
fn framed(at: Timestamp, host: &str, message: &str) -> Vec<u8> {
    let process = std::process::id();
    let header = format!("<{PRIORITY}>1 {at:.3} {host} thorascribe {process} DICOM+RFC3881 - ");
    let mut bytes = header.into_bytes();
    bytes.extend_from_slice(b"\xEF\xBB\xBF");
    bytes.extend_from_slice(message.as_bytes());
    bytes
}

async fn deliver(
    server: Server,
    mut waiting: Receiver<Vec<u8>>,
    metrics: Metrics,
    on_the_way: Arc<AtomicUsize>,
) {
    match server {
        Server::Udp { host, port } => {
            while let Some(message) = waiting.recv().await {
                let sent = datagram(&host, port, &message).await;
                if let Err(error) = &sent {
                    warn!(%error, "an audit message was not sent by syslog");
                }
                metrics.audit(if sent.is_ok() { "sent" } else { "unsent" });
                on_the_way.fetch_sub(1, Ordering::SeqCst);
            }
        }
        Server::Stream(connect) => stream(&connect, waiting, &metrics, &on_the_way).await,
    }
}

async fn datagram(host: &str, port: u16, message: &[u8]) -> io::Result<()> {
    let address = tokio::net::lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    UdpSocket::bind(any).await?.send_to(message, address).await.map(|_count| ())
}

/// Writes message after message; one that fails is written again on another connection.
async fn stream(
    connect: &Connect,
    mut waiting: Receiver<Vec<u8>>,
    metrics: &Metrics,
    on_the_way: &AtomicUsize,
) {
    let (mut open, mut pause): (Option<Connection>, _) = (None, PAUSE);
    while let Some(message) = waiting.recv().await {
        let mut whole = format!("{} ", message.len()).into_bytes();
        whole.extend_from_slice(&message);
        loop {
            let written = async {
                let connection = if let Some(connection) = &mut open {
                    connection
                } else {
                    let fresh = connect().await?;
                    info!("connected to the syslog server");
                    open.insert(fresh)
                };
                connection.write_all(&whole).await?;
                connection.flush().await
            };
            match timeout(WRITE, written)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok(()) => {
                    metrics.audit("sent");
                    on_the_way.fetch_sub(1, Ordering::SeqCst);
                    pause = PAUSE;
                    break;
                }
                Err(error) => {
                    warn!(%error, "the syslog server cannot be reached");
                    open = None;
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_rfc_5424() {
        let at: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let framed = framed(at, "node1", "<AuditMessage/>");
        let (header, message) = framed.split_at(framed.len() - 18);
        let wanted = format!(
            "<85>1 2026-01-02T03:04:05.678Z node1 thorascribe {} DICOM+RFC3881 - ",
            std::process::id()
        );
        assert_eq!(std::str::from_utf8(header).unwrap(), wanted);
        assert_eq!(message, b"\xEF\xBB\xBF<AuditMessage/>");
    }
}
