//! Who had access to what, and who deleted it: at a page, by a command, as a caller.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use roxmltree::Document;
use rustix::process::Signal;

use super::super::support::dcmtk;
use super::super::support::objects::{Fixture, fixture};
use super::super::support::process::{run, text};
use super::super::support::{Node, Settings, wait_until};
use super::super::tls::associate;
use super::super::worklist::web::{Browser, users};
use super::{PASSWORD, counted, counts, messages, validated, verify};

/// What base 64 stands for.
pub(super) fn decoded(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.trim_end_matches('=').chars() {
        bits = bits << 6 | u32::try_from(DIGITS.find(digit).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The texts of alerts, and the queries.
fn said(messages: &[String]) -> Vec<String> {
    let texts = messages.iter().flat_map(|message| {
        let document = Document::parse(message).unwrap();
        let of = document.descendants().filter_map(|node| match node.tag_name().name() {
            "ParticipantObjectDetail" => node.attribute("value").map(str::to_owned),
            "ParticipantObjectQuery" => node.text().map(str::to_owned),
            _ => None,
        });
        of.map(|text| decoded(&text)).collect::<Vec<_>>()
    });
    texts.collect()
}

/// The first participant of each message of a kind: its ID and its place.
fn who(messages: &[String], kind: &str) -> Vec<(String, String)> {
    let of_kind = messages.iter().filter(|message| validated(message) == kind);
    let first = of_kind.map(|message| {
        let document = Document::parse(message).unwrap();
        let one = document.descendants().find(|node| node.has_tag_name("ActiveParticipant"));
        let one = one.unwrap();
        let attribute = |name| one.attribute(name).unwrap_or_default().to_owned();
        (attribute("UserID"), attribute("NetworkAccessPointID"))
    });
    first.collect()
}

#[test]
fn whoever_looks_at_a_study_or_deletes_it_is_in_the_audit_trail() {
    let mut node = Node::start(&Settings {
        tables: users(&[("ada", "admin", PASSWORD)]),
        ..Settings::default()
    });
    let studies = ["dx-pa-explicit", "cr-ap-rle"].map(fixture);
    let paths = studies.map(Fixture::path);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&paths[0], &paths[1]]), 2);
    for study in studies {
        node.wait_for_state(&study.study, "drafted");
    }
    let [first, second] = studies.map(|study| study.study.clone());
    let mut browser = Browser::at(node.http);
    browser.sign_in("ada", PASSWORD);
    // A list that is shown again, or kept up to date, is one look.
    for path in ["/?q=FIX0001", "/?q=FIX0001", "/rows?q=FIX0001", "/api/studies?q=FIX0001"] {
        assert_eq!(browser.get(path).status, 200, "{path}");
    }
    // A page with its picture is one look; a picture without its page is one too.
    let page = browser.get(&format!("/studies/{first}"));
    let csrf = page.field("csrf");
    for study in [&first, &second, &second] {
        assert_eq!(browser.get(&format!("/studies/{study}/image.png?size=1024")).status, 200);
    }
    assert_eq!(browser.get(&format!("/studies/{first}/image.png?size=144")).status, 200);
    for rest in ["report.dcm?version=1", "report.dcm?version=1"] {
        assert_eq!(browser.get(&format!("/studies/{first}/{rest}")).status, 200);
    }
    assert_eq!(browser.get(&format!("/api/studies/{first}")).status, 200);
    browser.post(&format!("/studies/{first}/retry"), &[("csrf", &csrf)]);
    let order = |words: &[&str]| {
        let output = node.command(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
    };
    order(&["queue", "show", &first]);
    order(&["queue", "retry", &first]);
    assert_eq!(browser.post(&format!("/studies/{first}/drop"), &[("csrf", &csrf)]).location(), "/");
    order(&["queue", "purge", "--older-than", "1ms", "--yes"]);
    order(&["queue", "drop", &second, "--yes"]);
    node.signal(Signal::HUP);
    wait_until("it is reloaded", || node.log().contains("as it is now"));
    let good = node.configuration();
    node.configure(&format!("{good}[receive]\ntimeout = \"never\"\n"));
    node.signal(Signal::HUP);
    wait_until("it is not reloaded", || node.log().contains("nothing was taken over"));
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());

    let messages = messages(&node);
    let wanted = [
        ("110100/110120 E0", 1), // start
        ("110100/110121 E0", 1), // stop
        ("110103 C0", 2),        // drafts
        ("110103 R0", 6),        // page, picture, two downloads, API, `queue show`
        ("110104 C0", 2),        // images received
        ("110105 D0", 3),        // dropped at the page and by a command, purged
        ("110111 U0", 2),        // tried again at the page and by a command
        ("110112 E0", 2),        // search at the page and at the API
        ("110113/110129 E0", 1), // configuration taken anew
        ("110113/110129 E4", 1), // and refused
        ("110114/110122 E0", 2), // association, sign-in
    ];
    assert_eq!(counted(&messages), counts(&wanted), "{messages:#?}");
    let texts = said(&messages);
    for held in ["/?q=FIX0001&page=1", "/api/studies?q=FIX0001", "receive.timeout"] {
        assert!(texts.iter().any(|text| text.contains(held)), "{held}: {texts:#?}");
    }
    let ada = ("ada".to_owned(), "127.0.0.1".to_owned());
    let deleted = who(&messages, "110105 D0");
    assert_eq!(deleted[0], ada);
    for (user, place) in &deleted[1..] {
        // As `id` and `uname` have it.
        let name = run(Command::new("id").arg("-un"));
        let name = String::from_utf8(name.stdout).unwrap();
        assert!(user.ends_with(name.trim()), "{user}");
        assert!(!place.is_empty() && place != "127.0.0.1", "{place}");
    }
    assert_eq!(who(&messages, "110103 R0")[0], ada);
    node.configure(&good);
    let (ok, found) = verify(&node);
    assert!(ok, "{found}");
}

#[test]
fn what_a_command_adds_beside_the_node_is_in_one_chain_and_goes_out_by_syslog() {
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut node = Node::start(&Settings {
        tables: format!("[audit]\nsyslog = \"udp://{}\"\n", syslog.local_addr().unwrap()),
        environment: vec![("HOSTNAME", "node7.example".to_owned())],
        ..Settings::default()
    });
    let radiograph = fixture("dx-pa-explicit");
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph.path()]), 1);
    node.wait_for_state(&radiograph.study, "drafted");
    let dropped = node.command(&["queue", "drop", &radiograph.study, "--yes"]);
    assert!(dropped.status.success(), "{}", text(&dropped));
    // No other event makes the node look.
    let mut datagram = vec![0; 65_536];
    loop {
        let length = syslog.recv(&mut datagram).expect("the deletion by syslog");
        let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
        let (header, message) = text.split_once('\u{FEFF}').unwrap();
        assert!(header.contains(" node7.example thorascribe "), "{header}");
        if validated(message) == "110105 D0" {
            break;
        }
    }
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph.path()]), 1);
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());
    let (ok, found) = verify(&node);
    assert!(ok && found["messages"] == messages(&node).len(), "{found}");
}

#[test]
fn a_guess_is_noted_whatever_else_its_address_does() {
    let node = Node::start(&Settings {
        tables: "[[peer]]\nae_title = \"MR\"\naddress = \"127.0.0.1\"\nusername = \"mr\"\n"
            .to_owned(),
        ..Settings::default()
    });
    // Faults of the protocol, which the audit trail does not hold, and a called title that is wrong.
    for _ in 0..25 {
        let mut peer = TcpStream::connect(node.dicom).unwrap();
        peer.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap();
        drop(peer.read_to_end(&mut Vec::new()));
    }
    let mut wrong = Command::new(dcmtk::program("echoscu"));
    wrong.args(["-aec", "ANOTHER", "127.0.0.1", &node.port().to_string()]);
    for _ in 0..25 {
        assert!(!run(&mut wrong).status.success());
    }
    assert_eq!(associate(node.port(), "MR", "THORASCRIBE", Some(("guess", ""))), "rejected 1/1/1");
    assert_eq!(associate(node.port(), "MR", "THORASCRIBE", Some(("mr", ""))), "accepted confirmed");
    let accepted = |message: &String| validated(message) == "110114/110122 E0";
    wait_until("the association is noted", || messages(&node).iter().any(accepted));
    let messages = messages(&node);
    let texts = said(&messages);
    let count = |part: &str| texts.iter().filter(|text| text.contains(part)).count();
    assert_eq!(count("called AE title"), 20, "{texts:#?}");
    assert_eq!(count("user identity"), 1, "{texts:#?}");
    assert_eq!(texts.len(), 21, "{texts:#?}");
    let accepted: Vec<_> = messages.iter().filter(|message| accepted(message)).collect();
    let [accepted] = accepted[..] else { panic!("{accepted:#?}") };
    for held in ["UserID=\"MR\"", "UserName=\"mr\"", "UserID=\"THORASCRIBE\"", "127.0.0.1"] {
        assert!(accepted.contains(held), "{held}: {accepted}");
    }
}
