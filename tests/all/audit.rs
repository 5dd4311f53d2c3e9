//! The audit trail: DICOM audit messages in a chain that tells of every change, and by syslog.

mod access;
mod trouble;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use roxmltree::{Document, Node as Xml};
use rustix::process::Signal;
use serde_json::Value;

use super::support::certificates::{Authority, Certificate, openssl};
use super::support::dcmtk::{self, Storescp};
use super::support::objects::fixture;
use super::support::process::{Running, free_port, run, text};
use super::support::{Node, Settings, wait_until};
use super::worklist::web::{Browser, users};

const PASSWORD: &str = "a pass phrase";
/// Of this radiograph.
const FIXTURE: &str = "dx-pa-explicit";
const PATIENT: [&str; 5] = ["Dx-Pa-Explicit", "FIX0001", "ACC00001", "19820101", "1982-01-01"];

fn files(node: &Node) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(node.spool().join("audit")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn messages(node: &Node) -> Vec<String> {
    let texts = files(node).into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    let lines: Vec<Value> = texts
        .flat_map(|text| {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        })
        .collect();
    lines.iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}

/// Everything that PS3.15 §A.5 demands of each message; its event, type, action and outcome.
fn validated(message: &str) -> String {
    let document = Document::parse(message).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "AuditMessage");
    let names: Vec<&str> =
        root.children().filter(Xml::is_element).map(|child| child.tag_name().name()).collect();
    // The order of the schema, and how often each may be there.
    let order = [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ];
    let places: Vec<usize> =
        names.iter().map(|name| order.iter().position(|known| known == name).unwrap()).collect();
    assert!(places.is_sorted(), "{message}");
    let count = |place| places.iter().filter(|found| **found == place).count();
    assert!(count(0) == 1 && count(1) >= 1 && count(2) == 1, "{message}");
    let needs = |node: Xml<'_, '_>, attributes: &[&str]| {
        for attribute in attributes {
            assert!(node.has_attribute(*attribute), "{attribute} is missing: {message}");
        }
    };
    for node in document.descendants().filter(Xml::is_element) {
        let has = |name: &str| node.children().any(|child| child.tag_name().name() == name);
        match node.tag_name().name() {
            "EventIdentification" => {
                needs(node, &["EventActionCode", "EventDateTime", "EventOutcomeIndicator"]);
                assert!(has("EventID"));
                assert!("CRUDE".contains(node.attribute("EventActionCode").unwrap()));
                let at = node.attribute("EventDateTime").unwrap();
                assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
            }
            "ActiveParticipant" => {
                needs(node, &["UserID", "UserIsRequestor"]);
                assert!(!node.attribute("UserID").unwrap().is_empty(), "{message}");
                let place = node.attribute("NetworkAccessPointID").is_some();
                assert_eq!(place, node.has_attribute("NetworkAccessPointTypeCode"));
            }
            "AuditSourceIdentification" => {
                needs(node, &["AuditSourceID"]);
                assert!(has("AuditSourceTypeCode"));
            }
            "ParticipantObjectIdentification" => {
                let wanted = [
                    "ParticipantObjectID",
                    "ParticipantObjectTypeCode",
                    "ParticipantObjectTypeCodeRole",
                ];
                needs(node, &wanted);
                // A choice of the schema.
                let named = has("ParticipantObjectName") != has("ParticipantObjectQuery");
                assert!(has("ParticipantObjectIDTypeCode") && named, "{message}");
            }
            "EventID" | "EventTypeCode" | "RoleIDCode" | "ParticipantObjectIDTypeCode" => {
                needs(node, &["csd-code", "codeSystemName", "originalText"]);
            }
            "SOPClass" => needs(node, &["UID", "NumberOfInstances"]),
            "ParticipantObjectDetail" => needs(node, &["type", "value"]),
            _ => {}
        }
    }
    let event = root.first_element_child().unwrap();
    let codes: Vec<&str> = event.children().filter_map(|code| code.attribute("csd-code")).collect();
    let requestors =
        root.children().filter(|child| child.attribute("UserIsRequestor") == Some("true")).count();
    assert!(requestors <= 1, "{message}");
    let attribute = |name| event.attribute(name).unwrap();
    format!(
        "{} {}{}",
        codes.join("/"),
        attribute("EventActionCode"),
        attribute("EventOutcomeIndicator")
    )
}

/// How often each kind of message is there.
fn counted(messages: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(validated(message)).or_default() += 1;
    }
    counts
}

fn counts(wanted: &[(&str, usize)]) -> BTreeMap<String, usize> {
    wanted.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

fn verify(node: &Node) -> (bool, Value) {
    let output = node.command(&["audit", "verify", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.success(), found)
}

/// Does everything that is audited, once.
fn busy_day(node: &mut Node, pacs: &mut Storescp) {
    let radiograph = fixture(FIXTURE);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph.path()]), 1);
    let mut wrong = Command::new(dcmtk::program("echoscu"));
    let port = node.port().to_string();
    assert!(!run(wrong.args(["-aec", "ANOTHER", "127.0.0.1", &port])).status.success());
    pacs.wait_for_report();
    node.wait_for_state(&radiograph.study, "delivered");
    let mut browser = Browser::at(node.http);
    assert_eq!(browser.sign_in("rad", "a wrong phrase").status, 401);
    browser.sign_in("rad", PASSWORD);
    let study = format!("/studies/{}", radiograph.study);
    let page = browser.get(&study);
    let (csrf, version) = (page.field("csrf"), page.field("version"));
    let fields = [("csrf", &*csrf), ("version", &*version), ("text", "All is well.")];
    assert_eq!(browser.post(&format!("{study}/sign"), &fields).location(), study);
    wait_until("the signed report is sent", || pacs.received("SR").len() == 2);
    node.wait_for_state(&radiograph.study, "delivered");
    let csrf = browser.get("/").field("csrf");
    browser.post("/sign-out", &[("csrf", &csrf)]);
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());
}

fn settings(pacs: &Storescp, audit: &str) -> Settings {
    let people = users(&[("rad", "radiologist", PASSWORD)]);
    let tables = format!("[audit]\n{audit}\n{}{people}", pacs.destination("pacs"));
    Settings { tables, ..Settings::default() }
}

#[test]
fn a_day_of_the_node_is_in_the_audit_trail_and_no_patient_is_in_its_log() {
    let mut pacs = Storescp::start();
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let at = format!("syslog = \"udp://{}\"", syslog.local_addr().unwrap());
    let mut node = Node::start(&settings(&pacs, &at));
    busy_day(&mut node, &mut pacs);
    let messages = messages(&node);
    let wanted = [
        ("110100/110120 E0", 1), // start
        ("110100/110121 E0", 1), // stop
        ("110103 C0", 1),        // draft
        ("110103 R0", 1),        // study looked at
        ("110103 U0", 1),        // report signed
        ("110104 C0", 3),        // image received, draft and report sent
        ("110113/110126 E4", 1), // caller turned away
        ("110112 E0", 1),        // list looked at
        ("110114/110122 E0", 2), // association, sign-in
        ("110114/110122 E4", 1), // failed sign-in
        ("110114/110123 E0", 1), // sign-out
    ];
    assert_eq!(counted(&messages), counts(&wanted), "{messages:#?}");
    let all = messages.concat();
    for held in ["FIX0001", "DCMSEND", "STORESCP", "127.0.0.1", &fixture(FIXTURE).study] {
        assert!(all.contains(held), "{held} is missing");
    }
    assert!(!all.contains(PASSWORD) && !all.contains("a wrong phrase"));
    let (ok, found) = verify(&node);
    assert!(ok && found["messages"] == messages.len(), "{found}");
    // The same by syslog.
    let mut sent = Vec::new();
    let mut datagram = vec![0; 65_536];
    while let Ok(length) = syslog.recv(&mut datagram) {
        let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
        let (header, message) = text.split_once('\u{FEFF}').unwrap();
        assert!(header.starts_with("<85>1 2") && header.contains(" thorascribe "), "{header}");
        assert!(header.ends_with(" DICOM+RFC3881 - "), "{header}");
        sent.push(message.to_owned());
        if sent.len() == messages.len() {
            break;
        }
    }
    assert_eq!(sent, messages);
    let log = node.whole_log();
    assert!(log.contains("INFO") && log.contains("delivered") && log.contains("signed"), "{log}");
    for held in PATIENT {
        assert!(!log.contains(held), "the log holds {held}:\n{log}");
    }
    assert!(!log.contains("All is well"), "{log}");
    for file in files(&node) {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_line_that_was_tampered_with_is_named() {
    let mut node = Node::start(&Settings {
        tables: "[audit]\nmax_file = \"2 KiB\"\n".to_owned(),
        ..Settings::default()
    });
    for _ in 0..3 {
        assert_eq!(dcmtk::dcmsend(node.port(), &[&fixture(FIXTURE).path()]), 1);
    }
    node.kill();
    node.restart();
    assert_eq!(dcmtk::dcmsend(node.port(), &[&fixture(FIXTURE).path()]), 1);
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());
    let (ok, found) = verify(&node);
    assert!(ok, "{found}");
    assert!(found["messages"].as_u64().unwrap() >= 6, "{found}");
    let all = files(&node);
    assert!(all.len() > 2, "it was not rotated: {all:?}");
    let line_of = |file: &PathBuf, change: &dyn Fn(&str) -> String| {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, change(&text)).unwrap();
        let (ok, found) = verify(&node);
        std::fs::write(file, text).unwrap();
        assert!(!ok);
        let broken = &found["broken"];
        format!("{} {}", broken["file"].as_str().unwrap(), broken["line"])
    };
    let name = |at: usize| all[at].file_name().unwrap().to_str().unwrap().to_owned();
    // A changed line is told by the line after it: of the last line of a file that is the first of
    // the next one.
    let other = |text: &str| text.replace("127.0.0.1", "10.0.0.99");
    let first = std::fs::read_to_string(&all[0]).unwrap();
    let lines = first.lines().count();
    let changed = first.lines().position(|line| line.contains("127.0.0.1")).unwrap() + 1;
    let next = if changed < lines {
        format!("{} {}", name(0), changed + 1)
    } else {
        format!("{} 1", name(1))
    };
    assert_eq!(line_of(&all[0], &other), next);
    let without_first = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_eq!(line_of(&all[0], &without_first), format!("{} 1", name(0)));
    assert_eq!(
        line_of(&all[1], &|text: &str| format!("{text}{text}")).split(' ').next(),
        Some(&*name(1))
    );
    assert_eq!(line_of(&all[1], &|_| "{}\n".to_owned()), format!("{} 1", name(1)));
    assert_eq!(
        line_of(&all[0], &|text: &str| text.trim_end().to_owned()),
        format!("{} {lines}", name(0))
    );
    std::fs::rename(&all[1], node.spool().join("away")).unwrap();
    let (ok, found) = verify(&node);
    assert!(!ok && found["broken"]["reason"] == "the file before is missing", "{found}");
    let said = node.command(&["audit", "verify"]);
    assert!(text(&said).contains(&format!("broken: {}:1:", name(2))), "{}", text(&said));
}

#[test]
fn a_syslog_server_that_stalls_delays_nothing() {
    // It accepts, and never reads or shakes hands.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new();
    let at = format!(
        "syslog = \"tls://{}\"\nsyslog_ca = {:?}\n",
        stalled.local_addr().unwrap(),
        authority.file()
    );
    let mut pacs = Storescp::start();
    let mut node = Node::start(&settings(&pacs, &at));
    busy_day(&mut node, &mut pacs);
    assert_eq!(messages(&node).len(), 14);
    assert!(verify(&node).0);
}

/// `openssl s_server` as a syslog server: what it prints is what it was sent.
fn s_server(
    authority: &Authority,
    own: &Certificate,
    port: u16,
) -> (Running, PathBuf, tempfile::TempDir) {
    let folder = tempfile::TempDir::new().unwrap();
    let printed = folder.path().join("printed");
    let mut command = openssl();
    command.args(["s_server", "-quiet", "-accept", &port.to_string(), "-Verify", "1"]);
    command.args(["-verify_return_error", "-CAfile"]).arg(authority.file());
    command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    // It ends with its stdin.
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let child = command.stdout(std::fs::File::create(&printed).unwrap()).spawn().unwrap();
    (Running(child), printed, folder)
}

#[test]
fn syslog_over_tls_frames_each_message() {
    let authority = Authority::new();
    let [server, own] = ["loghost.example", "node.example"].map(|name| authority.certify(name, 30));
    let port = free_port();
    let (_running, printed, _folder) = s_server(&authority, &server, port);
    wait_until("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let node = Node::start(&Settings {
        tables: format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\nca = {:?}\n[audit]\n\
             syslog = \"tls://127.0.0.1:{port}\"\nsyslog_name = \"loghost.example\"\n",
            own.certificate,
            own.key,
            authority.file()
        ),
        ..Settings::default()
    });
    assert_eq!(dcmtk::dcmsend(node.port(), &[&fixture(FIXTURE).path()]), 1);
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(&printed).unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    wait_until("two messages are there", || read().matches("</AuditMessage>").count() >= 2);
    let text = read();
    let mut rest = text.as_str();
    let mut frames = 0;
    while let Some((length, behind)) = rest.split_once(' ') {
        let length: usize = length.parse().unwrap();
        // The server may be printing another one just now.
        let Some((frame, after)) = behind.split_at_checked(length) else { break };
        validated(frame.split_once('\u{FEFF}').unwrap().1);
        (rest, frames) = (after, frames + 1);
    }
    assert!(frames >= 2, "{text}");
}
