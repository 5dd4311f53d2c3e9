//! Every limit of the configuration, as a peer meets it: the real program, spoken to in raw bytes.

use std::io::Write;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{UserIdentity, UserIdentityType, UserVariableItem};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use thorascribe::dimse::command::Request;

use super::super::support::data_set::{DataSet, element, implicit};
use super::super::support::{Node, Settings, wait_until};
use super::raw::{
    CR, EXPLICIT, IMPLICIT, Peer, VERIFICATION, bytes_of, c_echo, c_store, data_set, p_data,
    request,
};

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const INVALID: (u8, u8) = (2, 6);
const RESULT_SOURCE_REASON: std::ops::Range<usize> = 1..4;

fn node(tables: &str) -> Node {
    let tables = tables.to_owned();
    Node::start(&Settings { tables, quiet: "9m", ..Settings::default() })
}

#[track_caller]
fn rejected(peer: &mut Peer) -> [u8; 3] {
    let answer = peer.receive().expect("a rejection");
    assert_eq!(answer.code, 3, "{answer:?}");
    answer.body[RESULT_SOURCE_REASON].try_into().unwrap()
}

#[test]
fn what_a_request_may_hold_is_what_the_configuration_says() {
    let node = node(
        "[limits]\npdu = \"16 KiB\"\nrequest = \"8 KiB\"\ncontexts = 4\nuser_items = 8\n\
         [receive]\nmax_associations_per_address = 3\n",
    );
    let contexts = |count: u8| -> Vec<(u8, &str, &[&str])> {
        (0..count).map(|n| (2 * n + 1, CR, &[EXPLICIT][..])).collect()
    };
    // The length of P-DATA, as it is stated and as it is held.
    let mut peer = Peer::connect(node.dicom);
    peer.send(&bytes_of(&request(&contexts(1))));
    let accept = peer.receive().unwrap();
    let stated = [0x51, 0, 0, 4, 0, 0, 0x40, 0];
    assert!(accept.body.windows(8).any(|item| item == stated), "{accept:?}");
    peer.send(&[4, 0, 0, 0, 0x40, 1]);
    assert_eq!(peer.aborted(), INVALID);
    let mut peer = Peer::storing(node.dicom);
    let stored = c_store(Some(CR), Some("1.2.3"));
    assert_eq!(peer.store(&stored, &data_set(CR, "1.2.3")).status.0, 0);
    peer.release();

    let mut peer = Peer::connect(node.dicom);
    peer.send(&[1, 0, 0, 0, 0x20, 1]);
    assert_eq!(peer.aborted(), INVALID, "a request of one byte more than 8 KiB");

    let mut peer = Peer::connect(node.dicom);
    peer.send(&bytes_of(&request(&contexts(5))));
    assert_eq!(rejected(&mut peer), [1, 3, 2], "local limit exceeded, for good");
    Peer::associated(node.dicom, &contexts(4)).release();

    let identity = |count: usize| {
        let mut asked = request(&contexts(1));
        let kind = UserIdentityType::Username;
        let item =
            UserVariableItem::UserIdentityItem(UserIdentity::new(false, kind, vec![1], vec![]));
        asked.user_variables.extend(vec![item; count]);
        bytes_of(&asked)
    };
    let mut peer = Peer::connect(node.dicom);
    peer.send(&identity(8));
    assert_eq!(peer.aborted(), INVALID, "nine items");
    let mut peer = Peer::connect(node.dicom);
    peer.send(&identity(7));
    assert_eq!(peer.receive().unwrap().code, 2);

    // It holds a slot still; with two more all three are taken.
    let _others = [Peer::storing(node.dicom), Peer::storing(node.dicom)];
    let mut fourth = Peer::connect(node.dicom);
    fourth.send(&bytes_of(&request(&contexts(1))));
    assert_eq!(rejected(&mut fourth), [2, 3, 2], "local limit exceeded, for now");
}

#[test]
fn what_an_object_may_be_is_what_the_configuration_says() {
    let node = node(
        "[limits]\ndepth = 2\nelements = 12\nheaders = 20\nvalue = \"4 KiB\"\ninflated = \"1 MiB\"\n\
         [receive]\nmax_object = \"100 KiB\"\n",
    );
    let (command, base) = (c_store(Some(CR), Some("1.2.3")), data_set(CR, "1.2.3"));
    let mut peer = Peer::storing(node.dicom);
    let mut status = |more: &[u8]| peer.store(&command, &[&base[..], more].concat()).status.0;
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |inner, _| {
            let item = implicit((0xFFFE, 0xE000), u32::try_from(inner.len()).unwrap(), &inner);
            element((0x0040, 0x0275), "SQ", &item)
        })
    };
    let empty = |count: u16| -> Vec<u8> {
        (0..count).flat_map(|n| element((0x0051, n), "LO", b"")).collect()
    };
    let items = |count: usize| {
        let items = implicit((0xFFFE, 0xE000), 0, b"").repeat(count);
        element((0x0040, 0x0275), "SQ", &items)
    };
    let value = |length: usize| element((0x0050, 0x0010), "OB", &vec![0; length]);
    // Five elements are there already; each pair: the most that is taken, and one more.
    assert_eq!([nested(2), nested(3)].map(|more| status(&more)), [0, 0xC000]);
    assert_eq!([empty(7), empty(8)].map(|more| status(&more)), [0, 0xC000]);
    assert_eq!([items(14), items(15)].map(|more| status(&more)), [0, 0xC000]);
    assert_eq!([value(4096), value(4098)].map(|more| status(&more)), [0, 0xC000]);
    assert_eq!(status(&element((0x7FE0, 0x0010), "OB", &vec![0; 100 << 10])), 0xA700);
    peer.release();

    let mut peer = Peer::associated(node.dicom, &[(1, CR, &[DEFLATED])]);
    let mut status = |values: usize| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&base).unwrap();
        for number in 0..values {
            let pieces = element((0x0051, u16::try_from(number).unwrap()), "OB", &[0; 4096]);
            encoder.write_all(&pieces).unwrap();
        }
        let pixels = vec![0; 1 << 20];
        encoder.write_all(&element((0x7FE0, 0x0001), "OB", &pixels[values..])).unwrap();
        peer.store(&command, &encoder.finish().unwrap()).status.0
    };
    assert_eq!(status(0), 0xC000, "inflated to more than a MiB");
    peer.release();
    let mut peer = Peer::storing(node.dicom);
    assert_eq!(peer.echo(3).status.0, 0);
}

#[test]
fn an_association_brings_no_more_bytes_than_the_configuration_says() {
    let node = node("[limits]\nassociation_bytes = \"300 KiB\"\n[receive]\nmax_associations = 2\n");
    let mut peer = Peer::storing(node.dicom);
    let command = c_store(Some(CR), Some("1.2.3"));
    let object =
        [data_set(CR, "1.2.3"), element((0x7FE0, 0x0001), "OB", &vec![0; 120_000])].concat();
    for _ in 0..2 {
        assert_eq!(peer.store(&command, &object).status.0, 0);
    }
    // The message that goes beyond is still answered.
    assert_eq!(peer.store(&command, &object).status.0, 0);
    assert_eq!(peer.aborted(), (2, 0));

    let _two = [Peer::storing(node.dicom), Peer::storing(node.dicom)];
    let mut third = Peer::connect(node.dicom);
    third.send(&bytes_of(&request(&[(1, CR, &[EXPLICIT])])));
    assert_eq!(rejected(&mut third), [2, 3, 1], "temporary congestion");
}

/// How long the node goes on with a peer that does this again and again.
fn given_up_after(
    mut peer: Peer,
    step: Duration,
    mut again: impl FnMut(&mut Peer) -> bool,
) -> Duration {
    let started = Instant::now();
    while again(&mut peer) {
        assert!(started.elapsed() < Duration::from_secs(40), "the node goes on and on");
        std::thread::sleep(step);
    }
    started.elapsed()
}

/// A node whose common deadline is out of reach, so that each of the others shows itself.
fn timed(changed: &str) -> Node {
    let keys = ["request_timeout", "idle_timeout", "read_timeout", "write_timeout", "artim"];
    let others = keys.iter().filter(|key| !changed.contains(**key));
    let others: Vec<String> = others.map(|key| format!("{key} = \"10m\"\n")).collect();
    let others = others.concat();
    node(&format!("[receive]\ntimeout = \"10m\"\n[limits]\n{changed}{others}"))
}

/// Whether a deadline of a second or two was kept.
#[track_caller]
fn in_time(what: &str, least: Duration, took: Duration) {
    assert!(took > least && took < Duration::from_secs(20), "{what}: {took:?}");
}

const ALMOST_ONE: Duration = Duration::from_millis(900);

/// How long the node bears a peer's silence.
#[track_caller]
fn silence(mut peer: Peer) -> Duration {
    let started = Instant::now();
    peer.given_up();
    started.elapsed()
}

#[test]
fn how_long_an_association_may_take_is_what_the_configuration_says() {
    let node = timed(
        "request_timeout = \"1s\"\nidle_timeout = \"2s\"\nartim = \"1s\"\n\
         association_time = \"4s\"\n",
    );
    let mut half = Peer::connect(node.dicom);
    half.send(&bytes_of(&request(&[(1, CR, &[EXPLICIT])]))[..20]);
    in_time("request", ALMOST_ONE, silence(half));
    in_time("idle", Duration::from_millis(1900), silence(Peer::storing(node.dicom)));
    // Released, it does not close; once the node has, what it writes is refused.
    let mut released = Peer::storing(node.dicom);
    released.release();
    let step = Duration::from_millis(100);
    let took = given_up_after(released, step, |peer| peer.0.write_all(&[0]).is_ok());
    in_time("ARTIM", ALMOST_ONE, took);
    let polite = Peer::associated(node.dicom, &[(3, VERIFICATION, &[IMPLICIT])]);
    let took = given_up_after(polite, step, |peer| {
        drop(peer.0.write_all(&c_echo(3, 1)));
        peer.receive().is_some_and(|raw| raw.code == 4)
    });
    in_time("as a whole", Duration::from_millis(3500), took);
}

#[test]
fn how_slowly_a_peer_may_send_is_what_the_configuration_says() {
    // What is said after the end counts no more: ARTIM ends that too.
    let node = timed("read_timeout = \"1s\"\nmin_rate = \"10 KiB\"\nartim = \"1s\"\n");
    let command = p_data(1, 3, &c_store(Some(CR), Some("1.2.3")));
    let data = p_data(1, 0, &data_set(CR, "1.2.3"));
    for (state, bytes) in [
        ("a command set", p_data(1, 1, &[0, 0])),
        ("before the data set", command.clone()),
        ("a data set", [command.clone(), data].concat()),
    ] {
        let mut peer = Peer::storing(node.dicom);
        peer.send(&bytes);
        in_time(state, ALMOST_ONE, silence(peer));
    }
    let mut slow = Peer::storing(node.dicom);
    slow.send(&command);
    let took = given_up_after(slow, Duration::from_millis(100), |peer| {
        peer.0.write_all(&p_data(1, 0, &[0; 100])).is_ok()
    });
    in_time("1 kB a second", ALMOST_ONE, took);
}

#[test]
fn how_slowly_a_peer_may_read_is_what_the_configuration_says() {
    let node = timed("write_timeout = \"1s\"\n");
    let mut talkative = Peer::storing(node.dicom);
    let requests = c_echo(3, 1).repeat(100);
    talkative.0.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let started = Instant::now();
    // Without an end, and no response taken: both directions fill up, then the node gives up.
    while talkative.0.write_all(&requests).is_ok() {
        assert!(started.elapsed() < Duration::from_mins(1), "the node still takes requests");
    }
    // Not its own patience ended this.
    assert!(started.elapsed() < Duration::from_secs(18), "{:?}", started.elapsed());
}

#[test]
fn what_an_image_may_be_is_what_the_configuration_says() {
    let image = |columns: u16, rows: u16, instance: &str| {
        let mut data = DataSet::default();
        data.text((0x0008, 0x0018), "UI", instance).text((0x0020, 0x000D), "UI", instance);
        data.numbers((0x0028, 0x0010), &[rows]).numbers((0x0028, 0x0011), &[columns]);
        let pixels = usize::from(columns) * usize::from(rows);
        data.pixels(&(0..pixels).map(|n| (n % 4096) as u16).collect::<Vec<_>>());
        data.bytes()
    };
    let tables = "[limits]\nside = 300\npixels = 40000\n[model]\nmax_tokens = 8\n".to_owned();
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let mut peer = Peer::storing(node.dicom);
    for (columns, rows, uid, state) in [
        (200, 200, "1.2.9.1", "drafted"),
        (301, 10, "1.2.9.2", "failed"),
        (10, 301, "1.2.9.3", "failed"),
        (200, 201, "1.2.9.4", "failed"),
    ] {
        let stored = peer.store(&c_store(Some(CR), Some(uid)), &image(columns, rows, uid));
        assert_eq!(stored.status.0, 0, "it is kept and forwarded all the same");
        let row = node.wait_for_state(uid, state);
        if state == "failed" {
            let reason = row["reason"].as_str().unwrap();
            let wanted = format!("{columns} × {rows} pixels are outside");
            assert!(reason.contains(&wanted) && reason.contains("300 each way"), "{reason}");
        }
    }
}

#[test]
fn what_is_refused_is_found_in_the_log_with_its_whole_reason() {
    let node = node("");
    let mut peer = Peer::storing(node.dicom);
    let found = |parts: &[&str]| {
        let log = node.log();
        log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    };
    // One data element more than there are bytes of.
    let cut = [&data_set(CR, "1.2.3.99")[..], &element((0x0050, 0x0010), "OB", &[0; 64])[..30]];
    let response = peer.store(&c_store(Some(CR), Some("1.2.3.99")), &cut.concat());
    assert_eq!(response.status.0, 0xC000);
    let reason = "states 64 bytes, 18 are left";
    assert!(!response.comment.unwrap().contains(reason), "the wire has room for the whole");
    let parts = ["request refused: ", reason, "C-STORE", CR, "1.2.3.99", "0xC000"];
    wait_until("the C-STORE is in the log", || found(&parts));
    let find = Request {
        field: 0x0020,
        message_id: 5,
        class: Some(CR.to_owned()),
        instance: None,
        kind: None,
        has_data: false,
    };
    peer.send(&p_data(1, 3, &find.encode()));
    assert_eq!(peer.response().status.0, 0x0211);
    let parts = ["request refused: C-FIND is not served here", CR, "0x0211"];
    wait_until("the C-FIND is in the log", || found(&parts));
}
