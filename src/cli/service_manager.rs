//! What a service manager (systemd) hands to the node, and what the node tells it: sd_notify(3),
//! sd_listen_fds(3), sd_watchdog_enabled(3). Without one, nothing is done.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::node::{Addresses, Sockets, SocketsError, Vitals};

/// How often what waits is told, where no watchdog asks for more.
const TELL: Duration = Duration::from_secs(10);
/// While the node starts: how often it asks for more time, and for how long ahead.
const START: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// While the node finishes what it has in hand: how often it says so, and for how long ahead.
const DRAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// The sockets that were handed over.
pub(super) fn sockets() -> Result<Sockets, SocketsError> {
    let given = sd_notify::listen_fds_with_names().map_err(SocketsError::Environment)?;
    given
        .map(|(fd, name)| socket(fd, &name).map(|socket| (name, socket)))
        .collect::<Result<_, _>>()
        .map(Sockets::new)
}

fn socket(fd: RawFd, name: &str) -> Result<TcpListener, SocketsError> {
    use rustix::net::AddressFamily;
    use rustix::net::sockopt::{socket_acceptconn, socket_domain};

    let fd = owned(fd);
    let kind = |why: String| SocketsError::Kind { name: name.to_owned(), why };
    let family = socket_domain(&fd).map_err(|error| kind(error.to_string()))?;
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return Err(kind("it is no TCP socket".to_owned()));
    }
    if !socket_acceptconn(&fd).map_err(|error| kind(error.to_string()))? {
        return Err(kind("it does not listen".to_owned()));
    }
    let socket = TcpListener::from(fd);
    socket.set_nonblocking(true).map_err(|error| kind(error.to_string()))?;
    Ok(socket)
}

#[expect(unsafe_code, reason = "a descriptor that the service manager opened before the start")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: LISTEN_PID names this process, so the descriptors from 3 on were opened for it and
    // nothing else in the process knows of them; each is taken once, at the start.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Tells the service manager; that it cannot be told is no reason to stop.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager could not be told");
    }
}

/// A reload has begun; the end of it is [`NotifyState::Ready`].
pub(super) fn reloading() {
    let status = NotifyState::Status("reloading");
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, status]),
        Err(error) => debug!(%error, "no monotonic clock"),
    }
}

/// Asks for more time to start as long as the start gets on: a job store that is made anew, or a
/// large model. Ends with its task.
pub(super) async fn extend_start() {
    let mut beats = interval_at(Instant::now(), START.0);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        beats.tick().await;
        let worked = work_done();
        // One that hangs does no work; then the manager's own patience counts.
        if worked.is_none() || worked != before {
            tell(&[NotifyState::ExtendTimeoutUsec(microseconds(START.1))]);
        }
        before = worked;
    }
}

/// Processor time of this process in the system's ticks, of a hundredth of a second each.
fn work_done() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets that may hold anything; utime and stime are the 14th
    // and the 15th (proc(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|time| time.parse().ok()).collect();
    Some(times.iter().sum())
}

fn microseconds(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// Feeds the watchdog as long as the node makes progress, says what waits, and, once the node is
/// asked to stop, that it still finishes what it has in hand. Ends with its task.
pub(super) async fn accompany(
    mut vitals: Vitals,
    addresses: Addresses,
    closing: CancellationToken,
) {
    // Four chances within the time after which the manager takes the node for dead.
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(TELL, |limit| (limit / 4).min(TELL)).max(Duration::from_millis(50));
    let listening = addresses.to_string();
    let mut beats = interval_at(Instant::now() + every, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            _ = beats.tick() => feed(&mut vitals, &listening).await,
        }
    }
    let stopping = "stopping: finishing what is in hand";
    tell(&[NotifyState::Stopping, NotifyState::Status(stopping)]);
    let ahead = microseconds(DRAIN.1);
    let mut drain = interval_at(Instant::now(), DRAIN.0);
    loop {
        tokio::select! {
            _ = drain.tick() => tell(&[NotifyState::ExtendTimeoutUsec(ahead)]),
            _ = beats.tick() => feed(&mut vitals, stopping).await,
        }
    }
}

async fn feed(vitals: &mut Vitals, doing: &str) {
    match vitals.check().await {
        Ok(depth) => {
            let status = format!(
                "{doing}; waiting: {} to be drafted, {} to be delivered",
                depth.drafting.count, depth.delivery.count
            );
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        }
        Err(silent) => {
            warn!(%silent, "no progress: the watchdog is not fed");
            tell(&[NotifyState::Status(&format!("no progress: {silent}"))]);
        }
    }
}
