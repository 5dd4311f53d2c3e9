//! Associations: the node as acceptor for real modalities, and as requestor to real archives.
//! What no peer should send is in `attacks`.

mod attacks;
mod limits;
mod memory;
mod pixels;
mod raw;
mod requestor;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thorascribe::dimse::acceptor::{Acceptor, Limits};
use thorascribe::dimse::c_store::{StoreReply, StoreRequest, StoreService};
use thorascribe::dimse::data::Fragments;
use thorascribe::dimse::listen::{self, Listener};
use thorascribe::dimse::negotiate::Offer;
use thorascribe::dimse::{Status, Timers};
use thorascribe::vocabulary::ByteSize;
use tokio_util::sync::CancellationToken;

use super::support::objects::{Fixture, fixture, fixtures, root};
use super::support::{dcmtk, modality, node, process, wait_until};
use raw::{CR, EXPLICIT, Peer, Scp, Setup, c_store, data_set, data_set_of, p_data};

fn paths(of: &[&Fixture]) -> Vec<std::path::PathBuf> {
    of.iter().map(|f| f.path()).collect()
}

#[test]
fn real_modalities_store_in_every_transfer_syntax() {
    let scp = Scp::start();
    let mut echo = Command::new(dcmtk::program("echoscu"));
    process::succeed(echo.args(["-aec", "THORASCRIBE", "127.0.0.1", &scp.port().to_string()]));
    // DCMTK 3.6.7 does not know high-throughput JPEG 2000; pynetdicom sends it as it is.
    let (high, known): (Vec<_>, Vec<_>) =
        fixtures().iter().partition(|f| f.transfer_syntax.starts_with("1.2.840.10008.1.2.4.20"));
    let (high, known) = (paths(&high), paths(&known));
    let known: Vec<&Path> = known.iter().map(AsRef::as_ref).collect();
    assert_eq!(dcmtk::dcmsend(scp.port(), &known), known.len());
    let high: Vec<&Path> = high.iter().map(AsRef::as_ref).collect();
    let answers = modality::send(scp.port(), 2, &high);
    assert!(answers.len() == high.len() && answers.values().all(|s| *s == Some(0)), "{answers:?}");
    assert_eq!(scp.counted("objects_received", "stored"), fixtures().len() as u64);
    let plain = fixtures().iter().find(|f| f.transfer_syntax == EXPLICIT).unwrap();
    assert_eq!(dcmtk::storescu(scp.port(), &[&plain.path()]), 1);
    assert_eq!(scp.counted("objects_received", "duplicate"), 1);
}

#[test]
fn a_received_data_set_is_kept_byte_for_byte_behind_our_own_file_meta() {
    let scp = Scp::start();
    let sent = fixtures().iter().find(|f| f.transfer_syntax == EXPLICIT).unwrap().path();
    assert_eq!(dcmtk::dcmsend(scp.port(), &[&sent]), 1);
    let files = scp.files();
    let [kept] = &files[..] else { panic!("{files:?}") };
    assert_eq!(data_set_of(kept), data_set_of(&sent));
    let bytes = std::fs::read(kept).unwrap();
    assert!(bytes[..128].iter().all(|b| *b == 0));
    let dump = process::succeed(Command::new(dcmtk::program("dcmdump")).arg(kept));
    assert!(dump.contains("THORASCRIBE_0.1") && dump.contains("[DCMSEND]"), "{dump}");
}

#[test]
fn whatever_a_peer_negotiates_beside_its_contexts_is_answered_by_the_rules() {
    let scp = Scp::start();
    let script = root().join("tests/all/associations/negotiation.py");
    let said = process::succeed(modality::python().arg(script).arg(scp.port().to_string()));
    let wanted = serde_json::json!({
        "established": true, "accepted": 2, "rejected": [3], "syntaxes": [EXPLICIT], "echo": 0,
        "roles": [[true, false]], "window": [1, 1], "identity": true,
        "version": "THORASCRIBE_0.1",
    });
    let agreed: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(agreed, vec![wanted; 5]);
}

#[test]
fn an_object_is_answered_by_what_it_is() {
    let scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    let mut store =
        |instance: &str, data: &[u8]| peer.store(&c_store(Some(CR), Some(instance)), data).status.0;
    assert_eq!(store("1.2.3", &data_set(CR, "1.2.3")), 0x0000);
    assert_eq!(store("1.2.3", &data_set(CR, "1.2.3")), 0x0000);
    assert_eq!(store("1.2.4", &data_set(CR, "1.2.5")), 0xA900);
    let other = "1.2.840.10008.5.1.4.1.1.1.1";
    assert_eq!(store("1.2.4", &data_set(other, "1.2.4")), 0xA900);
    assert_eq!(store("1.2.4", b"nonsense"), 0xC000);
    let mut cut = data_set(CR, "1.2.4");
    cut.truncate(cut.len() - 1);
    assert_eq!(store("1.2.4", &cut), 0xC000);
    peer.release();
    assert_eq!(scp.files().len(), 1);
    let counted = |outcome| scp.counted("objects_received", outcome);
    assert_eq!(["stored", "duplicate", "mismatch", "not_understood"].map(counted), [1, 1, 2, 2]);
}

#[test]
fn a_full_disk_is_out_of_resources() {
    let scp = Scp::with(&Setup { min_free: ByteSize(u64::MAX), ..Setup::default() });
    let mut peer = Peer::storing(scp.address);
    let response = peer.store(&c_store(Some(CR), Some("1.2.3")), &data_set(CR, "1.2.3"));
    assert_eq!((response.status.0, response.comment.as_deref()), (0xA700, Some("no space left")));
    peer.release();
    assert!(scp.files().is_empty());
}

#[test]
fn a_stop_lets_the_object_in_hand_be_finished() {
    let mut scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    let mut idle = Peer::storing(scp.address);
    peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
    let data = data_set(CR, "1.2.3");
    peer.send(&p_data(1, 0, &data[..20]));
    wait_until("the object is in the making", || scp.files().len() == 1);
    scp.closing.cancel();
    assert_eq!(idle.aborted().0, 0);
    peer.send(&p_data(1, 2, &data[20..]));
    assert_eq!(peer.response().status.0, 0);
    assert_eq!(peer.aborted().0, 0);
    scp.join();
    assert_eq!(scp.spool.jobs(&thorascribe::spool::JobFilter::default()).unwrap().len(), 1);
}

#[test]
fn an_abandoned_object_leaves_nothing() {
    let mut scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
    peer.send(&p_data(1, 0, &data_set(CR, "1.2.3")));
    wait_until("the object is in the making", || scp.files().len() == 1);
    scp.closing.cancel();
    scp.abandon.cancel();
    peer.closed();
    scp.join();
    assert!(scp.files().is_empty());
}

#[test]
fn the_command_line_echoes_and_sends() {
    let scp = Scp::start();
    let to = format!("THORASCRIBE@127.0.0.1:{}", scp.port());
    let thorascribe = || node::program(scp.folder.path());
    let said = process::succeed(thorascribe().args(["echo", &to]));
    assert!(said.starts_with("0x0000 (success)"), "{said}");
    let files = paths(&fixtures().iter().collect::<Vec<_>>());
    let said = process::succeed(thorascribe().args(["send", "--to", &to]).args(&files));
    assert_eq!(said.matches("0x0000").count(), files.len(), "{said}");
    assert_eq!(scp.counted("objects_received", "stored"), files.len() as u64);

    let wrong = to.replace("THORASCRIBE@", "ELSEWHERE@");
    let output = process::run(thorascribe().args(["echo", &wrong]));
    assert_eq!(output.status.code(), Some(1));
    let text = process::text(&output);
    assert!(text.contains("called AE title not recognized"), "{text}");
    let nonsense = scp.folder.path().join("nonsense.dcm");
    std::fs::write(&nonsense, b"nonsense").unwrap();
    let good = fixture("dx-pa-explicit").path();
    let output = process::run(thorascribe().args(["send", "--to", &to]).arg(&nonsense).arg(&good));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(process::text(&output).matches("0x0000").count(), 1);
}

/// Takes nothing, and answers after this long.
struct Stalled(Duration);

impl StoreService for Stalled {
    fn store(&self, _request: &StoreRequest, data: Fragments) -> StoreReply {
        std::thread::sleep(self.0);
        drop(data);
        Status::OUT_OF_RESOURCES.into()
    }
}

#[test]
fn a_service_that_stalls_at_the_end_of_an_object_holds_no_slot() {
    let stall = Duration::from_secs(20);
    let timers = Timers { service: Duration::from_millis(500), ..Timers::default() };
    let (_runtime, address) = serving(Arc::new(Stalled(stall)), timers);
    // The end of one fits between network and service, the end of the other does not.
    for size in [100_000, 600_000] {
        let mut peer = Peer::storing(address);
        let started = Instant::now();
        peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
        for chunk in vec![0; size].chunks(16_000) {
            peer.send(&p_data(1, 0, chunk));
        }
        peer.send(&p_data(1, 2, &[]));
        assert_eq!(peer.aborted(), (2, 0), "{size}");
        assert!(started.elapsed() < stall / 2, "{size}: {:?}", started.elapsed());
    }
}

/// An acceptor of this service.
fn serving(
    service: Arc<dyn StoreService>,
    timers: Timers,
) -> (tokio::runtime::Runtime, std::net::SocketAddr) {
    let runtime = raw::runtime();
    let acceptor = Acceptor {
        offer: Offer::everything("THORASCRIBE".parse().unwrap()).into(),
        timers,
        limits: Limits::default(),
        service,
    };
    let listener = runtime.block_on(Listener::bind("127.0.0.1:0".parse().unwrap())).unwrap();
    let address = listener.local_addr().unwrap();
    let never = CancellationToken::new();
    runtime.spawn(listen::serve([listener], Arc::new(acceptor), never.clone(), never));
    (runtime, address)
}

struct Faulty;

impl StoreService for Faulty {
    fn store(&self, _request: &StoreRequest, mut data: Fragments) -> StoreReply {
        data.next_bytes().unwrap();
        panic!("a fault that one object brings out");
    }
}

#[test]
fn a_fault_of_the_program_fails_one_object_and_no_association() {
    let (_runtime, address) = serving(Arc::new(Faulty), Timers::default());
    let mut peer = Peer::storing(address);
    for _ in 0..2 {
        let response = peer.store(&c_store(Some(CR), Some("1.2.3")), &[0; 500]);
        assert_eq!(response.status, Status::PROCESSING_FAILURE);
    }
    assert_eq!(peer.echo(3).status, Status::SUCCESS);
    peer.release();
}
