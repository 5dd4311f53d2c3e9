//! What a flood costs: the memory of the real program stays within the bound that the README states.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use thorascribe::dimse::command::{Request, field};

use super::super::isolation::{huge, send};
use super::super::support::data_set::{element, implicit};
use super::super::support::node::destination;
use super::super::support::service_manager::Held;
use super::super::support::{Node, Settings, http, wait_until};
use super::raw::{CR, EXPLICIT, Peer, bytes_of, c_store, data_set, p_data, request};

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// What the README states, in MiB.
const BOUND: u64 = 512;

/// The most anonymous memory of the node while something goes on, in KiB.
fn peak(node: &Node, work: impl FnOnce()) -> u64 {
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                most.fetch_max(node.anonymous_kib(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        work();
        done.store(true, Ordering::SeqCst);
    });
    most.into_inner()
}

/// As many items as a data set may have, and one more: eight MB, and the longest index there is.
fn crowded() -> Vec<u8> {
    let items = implicit((0xFFFE, 0xE000), 0, b"").repeat(1_000_001);
    [data_set(CR, "1.2.3"), element((0x0040, 0x0275), "SQ", &items)].concat()
}

/// 127 MiB of zeros and a length that lies, in 130 kB.
fn bomb() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&data_set(CR, "1.2.3")).unwrap();
    encoder.write_all(&element((0x7FE0, 0x0001), "OB", &vec![0; 127 << 20])).unwrap();
    encoder.write_all(&[0xFF; 7]).unwrap();
    encoder.finish().unwrap()
}

fn flood(node: &Node, crowded: &[u8], bomb: &[u8]) {
    let address = node.dicom;
    // Requests that state the most and stop right before their end.
    let mut half = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    half[2..6].copy_from_slice(&(256_u32 << 10).to_be_bytes());
    half.resize((256 << 10) - 10, 0);
    let waiting: Vec<Peer> = (0..120)
        .map(|_| {
            let mut peer = Peer::connect(address);
            peer.send(&half);
            peer
        })
        .collect();
    std::thread::scope(|scope| {
        for number in 0..60 {
            scope.spawn(move || {
                let command = c_store(Some(CR), Some("1.2.3"));
                let (syntax, data) = match number % 4 {
                    0 => (DEFLATED, bomb),
                    _ => (EXPLICIT, crowded),
                };
                let mut peer = Peer::associated(address, &[(1, CR, &[syntax])]);
                assert_eq!(peer.store(&command, data).status.0, 0xC000);
                // Another that states a whole P-DATA and sends all of it but a byte.
                peer.send(&p_data(1, 3, &command));
                let piece = p_data(1, 0, &vec![0; 131_066]);
                peer.send(&piece);
                peer.send(&piece[..piece.len() - 1]);
                std::thread::sleep(Duration::from_millis(200));
            });
        }
    });
    drop(waiting);
}

#[test]
fn a_flood_of_the_largest_that_is_taken_stays_within_the_stated_memory() {
    let tables = "[receive]\nmax_associations_per_address = 64\n".to_owned();
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let (crowded, bomb) = (crowded(), bomb());
    let before = node.anonymous_kib();
    let started = Instant::now();
    let first = peak(&node, || flood(&node, &crowded, &bomb));
    let second = peak(&node, || flood(&node, &crowded, &bomb));
    let after = node.anonymous_kib();
    let mib = |kib: u64| kib >> 10;
    println!(
        "idle {} MiB, at most {} and {} MiB, then {} MiB, in {:?}",
        mib(before),
        mib(first),
        mib(second),
        mib(after),
        started.elapsed()
    );
    for most in [first, second] {
        assert!(mib(most - before) < BOUND, "{} MiB more than idle", mib(most - before));
    }
    let mut modality = Peer::storing(node.dicom);
    let stored = modality.store(&c_store(Some(CR), Some("1.2.4")), &data_set(CR, "1.2.4"));
    assert_eq!(stored.status.0, 0);
}

/// Reports on storage commitments that are all items: the largest that is taken, and one four times
/// as large.
#[test]
fn a_flood_of_the_largest_commitment_reports_stays_far_within_it() {
    let destination = destination("pacs", "PACS", 9, &["report"]);
    let tables =
        format!("[receive]\nmax_associations_per_address = 64\n{destination}commitment = true\n");
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let report = |bytes: usize| {
        let items = implicit((0xFFFE, 0xE000), 0, b"").repeat(bytes / 8 - 2);
        element((0x0008, 0x1199), "SQ", &items)
    };
    let command = Request {
        field: field::N_EVENT_REPORT,
        message_id: 1,
        class: Some(COMMITMENT.to_owned()),
        instance: Some("1.2.840.10008.1.20.1.1".to_owned()),
        kind: Some(1),
        has_data: true,
    };
    let command = p_data(1, 3, &command.encode());
    for (bytes, answered) in [(1 << 20, true), (4 << 20, false)] {
        let data = report(bytes);
        let before = node.anonymous_kib();
        let most = peak(&node, || {
            std::thread::scope(|scope| {
                for _ in 0..60 {
                    scope.spawn(|| {
                        let contexts: &[(u8, &str, &[&str])] = &[(1, COMMITMENT, &[EXPLICIT])];
                        let mut peer = Peer::associated(node.dicom, contexts);
                        peer.send(&command);
                        for chunk in data.chunks(16_000) {
                            // It may be given up before its end.
                            drop(peer.0.write_all(&p_data(1, 0, chunk)));
                        }
                        drop(peer.0.write_all(&p_data(1, 2, &[])));
                        if answered {
                            assert_eq!(peer.response().status.0, 0x0110);
                        } else {
                            peer.given_up();
                        }
                    });
                }
            });
        });
        let more = (most - before) >> 10;
        println!("{bytes} bytes each: at most {more} MiB more");
        assert!(more < BOUND / 2, "{more} MiB more than idle");
    }
}

/// Images of 96 million pixels, more of them than the model takes at once.
#[test]
fn images_that_wait_for_the_model_take_little_memory() {
    const STUDIES: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let tables = "[model]\nmax_tokens = 8\n".to_owned();
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let copies: Vec<_> =
        (0..STUDIES).map(|n| huge(folder.path(), &format!("1.2.826.0.1.99.{n}"))).collect();
    let read = format!("thorascribe_stage_seconds_count{{stage=\"read\"}} {STUDIES}\n");
    let before = node.anonymous_kib();
    let most = peak(&node, || {
        let held = Held::new(node.id(), "model-engine");
        send(&node, &copies.iter().collect::<Vec<_>>());
        wait_until("all are read", || {
            let (_, metrics) = http::request(node.http.port(), "GET", "/metrics", &[]).unwrap();
            String::from_utf8(metrics).unwrap().contains(&read)
        });
        drop(held);
    });
    let more = (most - before) >> 10;
    println!("{STUDIES} images of 96 million pixels: at most {more} MiB more");
    // Two of them may be in their full size.
    assert!(more < 320, "{more} MiB more than idle");
    for copy in &copies {
        node.wait_for_state(&copy.study, "drafted");
    }
}

#[test]
fn thousands_of_aborted_associations_take_no_memory() {
    const CYCLES: usize = 1_500;
    let node = Node::start(&Settings::default());
    let asked = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    let abort = [7, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let cycles = || {
        for cycle in 0..CYCLES {
            let mut peer = Peer::connect(node.dicom);
            peer.send(&asked[..if cycle % 3 == 0 { 50 } else { asked.len() }]);
            if cycle % 3 == 1 {
                assert_eq!(peer.receive().map(|raw| raw.code), Some(2));
                peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
            }
            if cycle % 3 > 0 {
                peer.send(&abort);
            }
        }
    };
    cycles();
    let before = node.anonymous_kib();
    cycles();
    let after = node.anonymous_kib();
    println!("{before} KiB before, {after} KiB after {CYCLES} more");
    assert!(after < before + 4096, "{before} KiB before, {after} KiB after");
    Peer::storing(node.dicom).release();
}
