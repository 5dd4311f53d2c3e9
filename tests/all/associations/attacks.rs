//! What no peer should send: the node aborts, refuses or closes, in time, and others never notice.

use std::io::Write;
use std::time::{Duration, Instant};

use dicom_ul::pdu::AssociationRQ;
use thorascribe::dimse::acceptor::Limits;
use thorascribe::dimse::command::{Request, field};

use super::super::support::wait_until;
use super::raw::{
    CR, EXPLICIT, IMPLICIT, Peer, Scp, Setup, VERIFICATION, bytes_of, c_echo, c_store, data_set,
    p_data, request,
};

/// The A-ABORT of the provider for a value that cannot be (PS3.8 Table 9-26).
const INVALID: (u8, u8) = (2, 6);
const UNEXPECTED: (u8, u8) = (2, 2);
const UNRECOGNIZED: (u8, u8) = (2, 1);

#[test]
fn half_a_request_delays_nobody() {
    let scp = Scp::start();
    let whole = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    let halves: Vec<Peer> = [0, 1, 5, 6, 40, whole.len() - 1]
        .into_iter()
        .map(|end| {
            let mut peer = Peer::connect(scp.address);
            peer.send(&whole[..end]);
            peer
        })
        .collect();
    let mut stalled = Peer::storing(scp.address);
    stalled.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
    let started = Instant::now();
    scp.echoes();
    let mut modality = Peer::storing(scp.address);
    let stored = modality.store(&c_store(Some(CR), Some("1.2.4")), &data_set(CR, "1.2.4"));
    assert_eq!(stored.status.0, 0);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(halves);
}

#[test]
fn a_peer_that_falls_silent_is_closed_in_every_state() {
    let scp = Scp::impatient();
    let whole = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    let command = p_data(1, 3, &c_store(Some(CR), Some("1.2.3")));
    let data = p_data(1, 0, &data_set(CR, "1.2.3"));
    let mut silent = Peer::connect(scp.address);
    let mut half = Peer::connect(scp.address);
    half.send(&whole[..30]);
    let states: [(&str, Vec<u8>); 6] = [
        ("between messages", vec![]),
        ("in a PDU header", vec![4, 0, 0]),
        ("in a command set", p_data(1, 1, &[0, 0])),
        ("before the data set", command.clone()),
        ("in a data set", [command.clone(), data.clone()].concat()),
        ("in a fragment", [&command[..], &data[..20]].concat()),
    ];
    let mut peers: Vec<_> = states
        .iter()
        .map(|(state, bytes)| {
            let mut peer = Peer::storing(scp.address);
            // On a busy machine the node may have given up already.
            drop(peer.0.write_all(bytes));
            (*state, peer)
        })
        .collect();
    let started = Instant::now();
    silent.given_up();
    half.given_up();
    for (state, peer) in &mut peers {
        peer.given_up();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{state}: {took:?}");
    }
    wait_until("all are counted", || scp.counted("associations", "timeout") == 8);
    assert!(scp.files().is_empty());
}

#[test]
fn a_byte_now_and_then_does_not_hold_a_slot() {
    let scp = Scp::impatient();
    let mut peer = Peer::storing(scp.address);
    peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
    let data = p_data(1, 2, &[0; 16_000]);
    peer.send(&data[..12]);
    let started = Instant::now();
    let mut sent = 12;
    // Each byte comes well within the deadline; only their rate is too low.
    while peer.0.write_all(&data[sent..=sent]).is_ok() {
        sent += 1;
        assert!(started.elapsed() < Duration::from_secs(30), "{sent} bytes and still open");
        std::thread::sleep(Duration::from_millis(50));
        if scp.counted("associations", "timeout") > 0 {
            break;
        }
    }
    wait_until("it is counted", || scp.counted("associations", "timeout") == 1);
    assert!(scp.files().is_empty());
}

#[test]
fn a_peer_that_vanishes_in_a_data_set_leaves_no_file() {
    let scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    peer.send(&p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))));
    peer.send(&p_data(1, 0, &data_set(CR, "1.2.3")));
    wait_until("the object is in the making", || scp.files().len() == 1);
    drop(peer);
    wait_until("it is counted", || scp.counted("associations", "connection_lost") == 1);
    assert!(scp.files().is_empty());
    assert_eq!(scp.counted("objects_received", "cut"), 1);
}

#[test]
fn fragments_that_lie_about_their_length_are_aborted() {
    let scp = Scp::start();
    // PDU length, PDV length.
    for (pdu, pdv) in
        [(6_u32, 0_u32), (6, 1), (6, 3), (6, u32::MAX), (20, 17), (3, 2), (131_073, 2)]
    {
        let mut peer = Peer::storing(scp.address);
        let mut bytes = vec![4, 0];
        bytes.extend_from_slice(&pdu.to_be_bytes());
        bytes.extend_from_slice(&pdv.to_be_bytes());
        bytes.extend_from_slice(&[1, 3]);
        bytes.extend_from_slice(&[0; 14]);
        peer.send(&bytes);
        assert_eq!(peer.aborted(), INVALID, "{pdu} {pdv}");
    }
    scp.echoes();
}

#[test]
fn control_pdus_that_lie_about_their_length_are_aborted() {
    let scp = Scp::start();
    for head in [[1, 0, 0xFF, 0xFF, 0xFF, 0xFF], [1, 0, 0, 0x10, 0, 1], [7, 0, 0, 0, 0, 5]] {
        let mut peer = Peer::connect(scp.address);
        peer.send(&head);
        assert_eq!(peer.aborted(), INVALID, "{head:?}");
    }
    // Items within that reach beyond the PDU, and a PDU that ends in its fixed fields.
    let mut lying = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    lying[6 + 68 + 2] = 0xFF;
    let mut short = vec![1, 0, 0, 0, 0, 10];
    short.extend_from_slice(&[0; 10]);
    // A sub-item of a presentation context that reaches beyond the context.
    let mut within = bytes_of(&request(&[(1, CR, &[EXPLICIT])]));
    let syntax = within.windows(2).position(|w| w == [0x40, 0]).unwrap();
    within[syntax + 2] = 0x7F;
    for bytes in [lying, within, short] {
        let mut peer = Peer::connect(scp.address);
        peer.send(&bytes);
        assert_eq!(peer.aborted(), INVALID);
    }
    scp.echoes();
}

#[test]
fn other_protocols_are_aborted() {
    let scp = Scp::start();
    let tls_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &tls_hello, &[0; 6]] {
        let mut peer = Peer::connect(scp.address);
        peer.send(bytes);
        assert_eq!(peer.aborted(), UNRECOGNIZED, "{bytes:?}");
    }
    // PDUs of DICOM that do not open an association.
    for bytes in [&[5_u8, 0, 0, 0, 0, 4, 0, 0, 0, 0][..], &p_data(1, 3, &[0; 8])[..]] {
        let mut peer = Peer::connect(scp.address);
        peer.send(bytes);
        assert_eq!(peer.aborted(), UNEXPECTED, "{bytes:?}");
    }
    scp.echoes();
}

#[test]
fn requests_that_cannot_be_are_refused_with_their_reason() {
    let scp = Scp::start();
    let good = request(&[(1, CR, &[EXPLICIT])]);
    let mut rejected = Vec::new();
    let changes: [fn(&mut AssociationRQ); 5] = [
        |r| r.called_ae_title = "../../etc".into(),
        |r| r.calling_ae_title = "A\\B\u{1b}[2J".into(),
        |r| r.application_context_name = "1.2.3".into(),
        |r| r.protocol_version = 2,
        |r| r.presentation_contexts.clear(),
    ];
    for change in changes {
        let mut asked = good.clone();
        change(&mut asked);
        let mut peer = Peer::connect(scp.address);
        peer.send(&bytes_of(&asked));
        let answer = peer.receive().unwrap();
        rejected.push((answer.code, answer.body[1], answer.body[2], answer.body[3]));
        peer.closed();
    }
    assert_eq!(rejected, [(3, 1, 1, 7), (3, 1, 1, 3), (3, 1, 1, 2), (3, 1, 2, 2), (3, 1, 1, 1)]);
    for contexts in
        [&[(2, CR, &[EXPLICIT][..])][..], &[(1, CR, &[EXPLICIT]), (1, VERIFICATION, &[IMPLICIT])]]
    {
        let mut peer = Peer::connect(scp.address);
        peer.send(&bytes_of(&request(contexts)));
        assert_eq!(peer.aborted(), INVALID, "{contexts:?}");
    }
    // 128 contexts of many syntaxes, 50 kB, are a lawful request.
    let many: Vec<&str> = std::iter::repeat_n(EXPLICIT, 16).collect();
    let contexts: Vec<(u8, &str, &[&str])> =
        (1..=255).step_by(2).map(|id| (id, CR, &many[..])).collect();
    Peer::associated(scp.address, &contexts).release();
}

#[test]
fn messages_out_of_order_are_aborted() {
    let scp = Scp::start();
    let command = || p_data(1, 3, &c_store(Some(CR), Some("1.2.3")));
    let attacks: [(&str, Vec<u8>, (u8, u8)); 9] = [
        ("data before its command", p_data(1, 2, b"data"), INVALID),
        ("context not accepted", p_data(5, 3, b"data"), INVALID),
        ("context even", p_data(2, 3, b"data"), INVALID),
        ("command in a data set", [command(), p_data(1, 1, b"x")].concat(), INVALID),
        ("other context in a message", [command(), p_data(3, 0, b"x")].concat(), INVALID),
        ("empty fragments", p_data(1, 1, &[]).repeat(200), INVALID),
        ("empty PDUs", [4, 0, 0, 0, 0, 0].repeat(200), INVALID),
        (
            "release in a message",
            [command(), vec![5, 0, 0, 0, 0, 4, 0, 0, 0, 0]].concat(),
            UNEXPECTED,
        ),
        ("a second request", bytes_of(&request(&[(1, CR, &[EXPLICIT])])), UNEXPECTED),
    ];
    for (what, bytes, abort) in attacks {
        let mut peer = Peer::storing(scp.address);
        peer.send(&bytes);
        assert_eq!(peer.aborted(), abort, "{what}");
    }
    wait_until("nothing is kept", || scp.files().is_empty());
    scp.echoes();
}

#[test]
fn command_sets_that_cannot_be_read_are_aborted() {
    let scp = Scp::start();
    let good = c_store(Some(CR), Some("1.2.3"));
    let mut no_id = good.clone();
    // Message ID (0000,0110) follows the class and the command field.
    let at = good.windows(4).position(|w| w == [0, 0, 0x10, 1]).unwrap();
    no_id.drain(at..at + 10);
    for (what, set) in [
        ("empty", vec![]),
        ("not a command set", vec![0xFF; 64]),
        ("a UID of 4 GB", vec![0, 0, 2, 0, 0xFE, 0xFF, 0xFF, 0xFF]),
        ("cut", good[..good.len() - 3].to_vec()),
        ("no message ID", no_id),
        ("too long", vec![0; 70_000]),
    ] {
        let mut peer = Peer::storing(scp.address);
        let mut bytes: Vec<u8> = set.chunks(16_000).flat_map(|c| p_data(1, 1, c)).collect();
        bytes.extend(p_data(1, 3, &[]));
        peer.send(&bytes);
        assert_eq!(peer.aborted(), INVALID, "{what}");
    }
    scp.echoes();
}

#[test]
fn commands_that_cannot_be_served_are_answered() {
    let scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    let mut answer = |class: Option<&str>, instance: Option<&str>| {
        peer.store(&c_store(class, instance), &data_set(CR, "1.2.3")).status.0
    };
    assert_eq!(answer(None, Some("1.2.3")), 0x0120);
    assert_eq!(answer(Some(CR), None), 0x0120);
    assert_eq!(answer(Some(VERIFICATION), Some("1.2.3")), 0x0122);
    for hostile in ["../../../../tmp/x", "1.2.3\0/../x", "1..2", "/etc/passwd", &"1".repeat(65)] {
        assert_eq!(answer(Some(CR), Some(hostile)), 0x0117, "{hostile:?}");
    }
    // C-FIND, C-GET, N-ACTION and a number that is nothing, with a data set and without.
    for verb in [0x0020, 0x0010, 0x0130, 0x0042] {
        for has_data in [true, false] {
            let class = Some(CR.to_owned());
            let unknown =
                Request { field: verb, message_id: 5, class, instance: None, kind: None, has_data };
            peer.send(&p_data(1, 3, &unknown.encode()));
            if has_data {
                peer.send(&p_data(1, 2, b"data"));
            }
            let response = peer.response();
            assert_eq!(response.status.0, 0x0211, "{verb:04X}");
            assert_eq!((response.field, response.responded_to), (verb | 0x8000, 5));
        }
    }
    // A cancel has no response; C-STORE on Verification and C-ECHO on an image class have one.
    let class = Some(CR.to_owned());
    let cancel = Request {
        field: field::C_CANCEL,
        message_id: 5,
        class,
        instance: None,
        kind: None,
        has_data: false,
    };
    let mut set = cancel.encode();
    // A cancel names the request that it is about in (0000,0120) instead of (0000,0110).
    let at = set.windows(4).position(|w| w == [0, 0, 0x10, 1]).unwrap();
    set[at + 2] = 0x20;
    peer.send(&p_data(1, 3, &set));
    assert_eq!(peer.echo(1).status.0, 0x0211);
    assert_eq!(peer.echo(3).status.0, 0);
    peer.release();
    assert!(scp.files().is_empty());
}

#[test]
fn hostile_data_sets_are_not_understood() {
    let scp = Scp::start();
    let mut peer = Peer::storing(scp.address);
    let command = c_store(Some(CR), Some("1.2.3"));
    let mut nested = data_set(CR, "1.2.3");
    for _ in 0..20_000 {
        nested.extend_from_slice(&[0x40, 0, 0x75, 0x02, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        nested.extend_from_slice(&[0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    assert_eq!(peer.store(&command, &nested).status.0, 0xC000);
    let mut huge = data_set(CR, "1.2.3");
    huge.extend_from_slice(&[0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
    assert_eq!(peer.store(&command, &huge).status.0, 0xC000);
    assert_eq!(peer.store(&command, &[]).status.0, 0xC000);
    // An item that reaches beyond its sequence.
    let mut lying = data_set(CR, "1.2.3");
    lying.extend_from_slice(&[0x40, 0, 0x75, 0x02, b'S', b'Q', 0, 0, 8, 0, 0, 0]);
    lying.extend_from_slice(&[0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(peer.store(&command, &lying).status.0, 0xC000);
    // Paths and NUL in the UIDs of the study and the series.
    for (uid, hostile) in [("1.2.3.4\0", "../../x\0"), ("1.2.3.4.5\0", "1.2\0/../x\0")] {
        let mut data = data_set(CR, "1.2.3");
        let at = data.windows(uid.len()).rposition(|w| w == uid.as_bytes()).unwrap();
        data[at..at + uid.len()].copy_from_slice(&hostile.as_bytes()[..uid.len()]);
        assert_eq!(peer.store(&command, &data).status.0, 0xC000, "{hostile:?}");
    }
    assert_eq!(peer.echo(3).status.0, 0);
    peer.release();
    assert!(scp.files().is_empty());
}

#[test]
fn an_object_over_the_limit_is_refused_and_one_far_over_it_aborted() {
    let limits = Limits { max_object: 100_000, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    let mut peer = Peer::storing(scp.address);
    let command = c_store(Some(CR), Some("1.2.3"));
    assert_eq!(peer.store(&command, &vec![0; 150_000]).status.0, 0xA700);
    peer.send(&p_data(1, 3, &command));
    for _ in 0..20 {
        // The node may have closed already.
        drop(peer.0.write_all(&p_data(1, 0, &[0; 16_000])));
    }
    peer.given_up();
    assert!(scp.files().is_empty());
    scp.echoes();
}

#[test]
fn a_flood_of_silent_connections_keeps_no_modality_out() {
    let limits = Limits { waiting: 16, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    let silent: Vec<Peer> = (0..200).map(|_| Peer::connect(scp.address)).collect();
    let started = Instant::now();
    scp.echoes();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    wait_until("the oldest gave way", || scp.counted("associations", "evicted") >= 180);
    drop(silent);
}

#[test]
fn full_slots_are_a_transient_rejection() {
    let limits = Limits { associations: 3, per_address: 2, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    let mut first = Peer::storing(scp.address);
    let _second = Peer::storing(scp.address);
    let mut third = Peer::connect(scp.address);
    third.send(&bytes_of(&request(&[(1, CR, &[EXPLICIT])])));
    let answer = third.receive().unwrap();
    assert_eq!((answer.code, &answer.body[1..4]), (3, &[2, 3, 2][..]));
    third.closed();
    first.release();
    wait_until("the slot is free again", || scp.counted("associations", "released") == 1);
    scp.echoes();
}

#[test]
fn whoever_has_the_last_pdu_finds_the_slot_free() {
    let limits = Limits { associations: 1, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    for _ in 0..500 {
        Peer::storing(scp.address).release();
    }
}

#[test]
fn aborts_leave_no_slot_taken() {
    let limits = Limits { associations: 4, per_address: 4, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    let cycles = 2_000_u64;
    for cycle in 0..cycles {
        let mut peer = Peer::connect(scp.address);
        match cycle % 3 {
            0 => peer.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
            1 => drop(peer.0.write_all(&bytes_of(&request(&[(1, CR, &[EXPLICIT])]))[..40])),
            _ => {
                peer.send(&bytes_of(&request(&[(1, CR, &[EXPLICIT])])));
                drop(peer.receive());
                peer.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
                peer.closed();
            }
        }
    }
    let outcomes = ["aborted", "connection_lost", "rejected", "evicted"];
    wait_until("all are counted", || {
        outcomes.iter().map(|o| scp.counted("associations", o)).sum::<u64>() == cycles
    });
    scp.echoes();
}

#[test]
fn a_peer_that_reads_nothing_does_not_hold_the_node() {
    let scp = Scp::impatient();
    let mut peer = Peer::storing(scp.address);
    let echo = c_echo(3, 1).repeat(100);
    peer.0.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let started = Instant::now();
    // Requests without end, no response taken: both directions fill up, and the node gives up.
    while peer.0.write_all(&echo).is_ok() {
        assert!(started.elapsed() < Duration::from_mins(1), "the node still takes requests");
    }
    wait_until("the node gave up", || {
        let ends = ["timeout", "connection_lost"];
        ends.iter().any(|end| scp.counted("associations", end) == 1)
    });
}

#[test]
fn connections_that_linger_after_their_end_give_way() {
    let limits = Limits { waiting: 8, ..Limits::default() };
    let scp = Scp::with(&Setup { limits, ..Setup::default() });
    // Each is aborted for nonsense, or released, and then does not close.
    let lingering: Vec<Peer> = (0..40)
        .map(|number| {
            if number % 2 == 0 {
                let mut peer = Peer::connect(scp.address);
                peer.send(&[0xEE; 6]);
                assert_eq!(peer.receive().map(|raw| raw.code), Some(7));
                peer
            } else {
                let mut peer = Peer::storing(scp.address);
                peer.release();
                peer
            }
        })
        .collect();
    let started = Instant::now();
    scp.echoes();
    // ARTIM would hold them for ten seconds.
    for mut peer in lingering.into_iter().take(30) {
        peer.given_up();
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

/// A whole session: request, one C-STORE, release.
fn session() -> Vec<u8> {
    [
        bytes_of(&request(&[(1, CR, &[EXPLICIT]), (3, VERIFICATION, &[IMPLICIT])])),
        p_data(1, 3, &c_store(Some(CR), Some("1.2.3"))),
        p_data(1, 0, &data_set(CR, "1.2.3")[..40]),
        p_data(1, 2, &data_set(CR, "1.2.3")[40..]),
        vec![5, 0, 0, 0, 0, 4, 0, 0, 0, 0],
    ]
    .concat()
}

#[test]
fn a_session_with_any_byte_changed_ends_in_one_way_or_another() {
    let scp = Scp::impatient();
    let whole = session();
    let cases = 800_usize;
    for case in 0..cases {
        let mut bytes = whole.clone();
        // Steps through all bytes and values without a pattern between the two.
        let at = case * 7919 % whole.len();
        bytes[at] ^= (case % 255 + 1) as u8;
        if case % 5 == 0 {
            bytes.truncate(at + 1);
        }
        let mut peer = Peer::connect(scp.address);
        // The node may close before it has taken everything.
        drop(peer.0.write_all(&bytes));
    }
    // A fault of the program would end an association without counting it.
    let outcomes = [
        "released",
        "rejected",
        "aborted",
        "timeout",
        "protocol_error",
        "connection_lost",
        "evicted",
        "stopped",
    ];
    wait_until("all are counted", || {
        let ended = outcomes.iter().map(|o| scp.counted("associations", o)).sum::<u64>();
        ended == cases as u64
    });
    scp.echoes();
    assert!(scp.files().iter().all(|file| file.extension().unwrap() == "dcm"));
}
