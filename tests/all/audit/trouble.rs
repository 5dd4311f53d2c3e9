//! A local copy that cannot be written: nobody waits for it, and nothing is missing unsaid.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use thorascribe::observe::audit::{Audit, Event, verify as verified};
use thorascribe::observe::metrics::Metrics;
use thorascribe::vocabulary::ByteSize;

use super::super::support::dcmtk;
use super::super::support::objects::fixture;
use super::super::support::process::text;
use super::super::support::{Node, Settings, wait_until};
use super::access::decoded;
use super::{FIXTURE, files, messages, validated, verify};

#[test]
fn what_the_disk_did_not_take_is_in_the_log_once_it_does() {
    // Each message begins a file, which is where this one cannot go on.
    let mut node = Node::start(&Settings {
        tables: "[audit]\nmax_file = \"1 B\"\n".to_owned(),
        ..Settings::default()
    });
    wait_until("the start is noted", || messages(&node).len() == 1);
    let taken = node.spool().join("audit/audit-000002.jsonl");
    std::fs::create_dir(&taken).unwrap();
    let radiograph = fixture(FIXTURE);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph.path()]), 1);
    node.wait_for_state(&radiograph.study, "drafted");
    wait_until("it is said", || node.log().contains("the audit log cannot be written"));
    assert_eq!(std::fs::read_dir(node.spool().join("audit")).unwrap().count(), 2);
    std::fs::remove_dir(&taken).unwrap();
    wait_until("all is noted", || messages(&node).len() >= 4);
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());
    let kinds: Vec<String> = messages(&node).iter().map(|message| validated(message)).collect();
    let wanted =
        ["110100/110120 E0", "110114/110122 E0", "110104 C0", "110103 C0", "110100/110121 E0"];
    assert_eq!(kinds, wanted);
    let (ok, found) = verify(&node);
    assert!(ok, "{found}");
    assert!(node.whole_log().contains("the audit log is written again"));
}

#[test]
fn nobody_waits_for_a_disk_that_hangs_and_what_found_no_room_is_counted_in_the_log() {
    const ROOM: u64 = 16_384;
    let (folder, metrics) = (TempDir::new().unwrap(), Metrics::new());
    let title = "NODE".parse().unwrap();
    let audit =
        Audit::open(&title, folder.path(), ByteSize(1 << 30), metrics.clone(), None).unwrap();
    // What another process holds is as far away as a disk that does not answer.
    let hanging = File::open(folder.path()).unwrap();
    hanging.lock().unwrap();
    let started = Instant::now();
    for _ in 0..20_000 {
        audit.record(&Event::Started);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let lost = 20_000 - ROOM;
    let counted = format!("thorascribe_audit_messages_total{{outcome=\"lost\"}} {lost}\n");
    assert!(metrics.text().contains(&counted), "{}", metrics.text());
    drop(hanging);
    let all = || verified(folder.path()).unwrap();
    wait_until("all is written", || all().messages > ROOM);
    audit.record(&Event::Stopped);
    assert!(audit.flush());
    assert!(all().ok && all().messages == ROOM + 2, "{:?}", all());
    let written = std::fs::read_to_string(folder.path().join("audit-000001.jsonl")).unwrap();
    let line: serde_json::Value =
        serde_json::from_str(written.lines().nth_back(1).unwrap()).unwrap();
    let message = line["message"].as_str().unwrap();
    assert_eq!(validated(message), "110113/110133 E8");
    let (_, value) = message.split_once("type=\"Alert Description\" value=\"").unwrap();
    let said = decoded(value.split('"').next().unwrap());
    assert!(said.starts_with(&format!("{lost} audit messages are lost")), "{said}");
}

#[test]
fn a_log_that_was_deleted_is_no_good_one() {
    let mut node = Node::start(&Settings::default());
    node.signal(Signal::TERM);
    assert!(node.wait_for_end().success());
    assert!(verify(&node).0);
    for file in files(&node) {
        std::fs::remove_file(file).unwrap();
    }
    let (ok, found) = verify(&node);
    assert!(!ok && found["messages"] == 0 && found["broken"]["reason"].is_string(), "{found}");
    let said = node.command(&["audit", "verify"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said).contains("no message at all"), "{}", text(&said));
}
