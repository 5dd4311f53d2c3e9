//! The web side: what people and machines read of the spool, and what they may not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use thorascribe::object::StoredObject;
use thorascribe::radiograph::{DecodeLimits, Decoder};
use thorascribe::receive::caption::caption;
use thorascribe::spool::{Received, Sender, Spool, SpoolSettings};
use thorascribe::vocabulary::{ByteSize, PatientText, Priority};

use super::spool::bench::{Bench, draft, finish, report, send, settings, study_uid};
use super::support::objects::root;
use web::Web;

mod many;
mod sign;
mod sign_in;
pub(crate) mod web;

/// Keeps a fixture as its modality would have sent it.
fn receive(spool: &Spool, fixture: &str) -> String {
    let path = root().join("fixtures/dicom").join(fixture);
    let object = StoredObject::open(&path).unwrap();
    let mut incoming = spool.begin().unwrap();
    incoming.write_all(&std::fs::read(&path).unwrap()).unwrap();
    let received = Received {
        sop_class: object.sop_class().unwrap(),
        instance: object.instance_uid().clone(),
        series: object.series_uid().clone(),
        study: object.study_uid().clone(),
        transfer_syntax: object.transfer_syntax(),
        data_set_offset: object.data_set_offset(),
        sender: Sender {
            calling: "CR_ROOM_1".parse().unwrap(),
            called: "THORASCRIBE".parse().unwrap(),
            address: [127, 0, 0, 1].into(),
        },
        own_object: false,
        caption: caption(&object),
    };
    incoming.commit(received).unwrap();
    object.study_uid().to_string()
}

#[test]
fn the_worklist_shows_the_urgent_study_first_and_says_that_drafts_are_not_verified() {
    let bench = Bench::new();
    for (study, priority) in [(1, Priority::Stat), (2, Priority::Routine)] {
        bench.store(study, 1, b"data");
        let lease = bench.lease();
        let mut drafted = draft(&lease, vec![report("pacs")]);
        drafted.text = PatientText::new(format!("Text of study {study}."));
        drafted.priority = priority;
        lease.drafted(drafted).unwrap();
    }
    let web = Web::of(&bench.spool, true);
    let (status, _, page) = web.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("Drafts, not verified."));
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(place("Text of study 1.") < place("Text of study 2."));
    let (_, _, urgent) = web.get("/?priority=stat&state=&q=");
    assert!(urgent.contains("Text of study 1.") && !urgent.contains("Text of study 2."));
}

#[test]
fn a_patient_is_named_from_the_image_in_its_own_characters() {
    let bench = Bench::new();
    let study = receive(&bench.spool, "cr-pa-japanese-name.dcm");
    let web = Web::of(&bench.spool, true);
    let image = StoredObject::open(&root().join("fixtures/dicom/cr-pa-japanese-name.dcm")).unwrap();
    let name = image.person_name(dicom_dictionary_std::tags::PATIENT_NAME).unwrap();
    assert!(!name.ideographic.is_empty());
    let shown = name.ideographic.replace('^', " ");
    for path in ["/".to_owned(), format!("/studies/{study}")] {
        let (status, _, page) = web.get(&path);
        assert_eq!(status, 200);
        assert!(page.contains(&shown), "{path} does not show {shown}");
    }
}

#[test]
fn text_from_outside_is_escaped_and_no_page_allows_a_script_from_elsewhere() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    let lease = bench.lease();
    let mut drafted = draft(&lease, Vec::new());
    drafted.text = PatientText::new("<script>alert(1)</script>");
    lease.drafted(drafted).unwrap();
    let web = Web::of(&bench.spool, true);
    for path in ["/", "/studies/1.2.3.1", "/?q=%3Cscript%3E"] {
        let (_, head, page) = web.get(path);
        let scripts = page.matches("<script").count();
        let own = page.matches("<script src=\"/worklist.js\" defer></script>").count();
        assert_eq!((scripts, own), (1, 1), "{path}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(!head.contains("unsafe") && !head.contains("http:"), "{head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
    }
}

#[test]
fn a_browser_is_told_of_a_failure_by_a_page_and_a_program_by_json() {
    let bench = Bench::new();
    let web = Web::of(&bench.spool, true);
    for (path, status, said) in [
        ("/studies/1.2.3.9", 404, "there is no such study"),
        ("/studies/%3Cb%3E", 400, "study: "),
        ("/?state=done", 400, "state: "),
        ("/nowhere", 404, "there is no such page"),
    ] {
        let page = web.load(path);
        assert_eq!(page.status, status, "{path}");
        assert!(page.head.contains("content-type: text/html"), "{path}: {}", page.head);
        assert!(page.head.contains("content-security-policy"), "{path}: {}", page.head);
        let text = page.text();
        assert!(text.contains(said) && text.contains("href=\"/\""), "{path}: {text}");
        assert!(!text.contains("<b>"), "{path}: {text}");
        let (also, head, json) = web.get(path);
        assert_eq!(also, status, "{path}");
        assert!(head.contains("application/json") && json.contains(said), "{path}: {json}");
    }
}

#[test]
fn the_rows_are_those_of_the_queue() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![report("pacs")]);
    bench.store(2, 1, b"data");
    bench.lease().skipped("body part HAND", Priority::Routine, &[]).unwrap();
    let web = Web::of(&bench.spool, true);
    let rows = web.json("/api/studies");
    let direct = serde_json::to_value(bench.rows()).unwrap();
    assert_eq!(rows, direct);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let skipped = web.json("/api/studies?state=skipped&limit=5");
    assert_eq!(skipped[0]["study"], "1.2.3.2");
    assert_eq!(skipped[0]["reason"], "body part HAND");
    assert_eq!(skipped.as_array().unwrap().len(), 1);
    let one = web.json("/api/studies/1.2.3.1");
    assert_eq!(one["text"], "No acute disease.");
    assert_eq!(one["deliveries"][0]["destination"], "pacs");
    assert!(!one["events"].as_array().unwrap().is_empty());
    assert_eq!(web.get("/api/studies/1.2.3.9").0, 404);
    assert_eq!(web.get("/api/studies/nonsense").0, 400);
    assert_eq!(web.get("/api/studies?state=done").0, 400);
    assert_eq!(web.get("/api/studies?stat=received").0, 400);
}

#[test]
fn a_node_is_ready_when_it_can_draft_and_store() {
    let bench = Bench::new();
    let reason = |web: &Web| {
        let (status, _, body) = web.get("/readyz");
        let body: Value = serde_json::from_str(&body).unwrap();
        (status, body["reasons"][0]["reason"].as_str().unwrap_or_default().to_owned())
    };
    let ready = Web::of(&bench.spool, true);
    assert_eq!(reason(&ready), (200, String::new()));
    assert_eq!(ready.get("/healthz").0, 200);
    let without_model = Web::of(&bench.spool, false);
    assert_eq!(reason(&without_model), (503, "model_not_loaded".to_owned()));
    assert_eq!(without_model.get("/healthz").0, 200);
    let folder = tempfile::tempdir().unwrap();
    let full = SpoolSettings { min_free: ByteSize(1 << 60), ..settings(folder.path()) };
    let full = Web::of(&Spool::open(full).unwrap(), true);
    assert_eq!(reason(&full), (503, "disk_below_min_free".to_owned()));
}

#[test]
fn metrics_count_jobs_as_they_stand() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    let web = Web::of(&bench.spool, true);
    web.metrics.object("stored");
    let (status, head, text) = web.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(text.contains("thorascribe_jobs{state=\"received\"} 1"), "{text}");
    assert!(text.contains("thorascribe_objects_received_total{outcome=\"stored\"} 1"), "{text}");
    finish(bench.lease(), vec![report("pacs")]);
    send(&bench.spool, "pacs").unwrap();
    let (_, _, text) = web.get("/metrics");
    assert!(text.contains("thorascribe_jobs{state=\"received\"} 0"), "{text}");
    assert!(text.contains("thorascribe_jobs{state=\"delivered\"} 1"), "{text}");
}

#[test]
fn nothing_about_a_patient_leaves_the_loopback() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    let study = study_uid(1);
    let paths = ["/".to_owned(), format!("/studies/{study}"), "/api/studies".to_owned()];
    let open = Web::bound(&bench.spool, true, "0.0.0.0:0");
    for path in &paths {
        let (status, _, body) = open.get(path);
        assert_eq!(status, 403, "{path}");
        assert!(body.contains("http.bind"), "{body}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(open.get(path).0, 200, "{path}");
    }
    // A page elsewhere whose name points here.
    let closed = Web::of(&bench.spool, true);
    for path in &paths {
        assert_eq!(closed.get_as("rebound.example", path).0, 403, "{path}");
        assert_eq!(closed.get_as("127.0.0.1:8080", path).0, 200, "{path}");
    }
}

/// Whether the node closes the connection before it has said anything for this long.
fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_client_that_asks_a_byte_at_a_time_is_closed() {
    let bench = Bench::new();
    let web = Web::of(&bench.spool, true);
    let mut slow = TcpStream::connect(web.address).unwrap();
    let mut silent = TcpStream::connect(web.address).unwrap();
    write!(slow, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    let mut writer = slow.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..200 {
            if writer.write_all(b"a").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(is_closed(&mut slow, Duration::from_secs(15)));
    assert!(is_closed(&mut silent, Duration::from_secs(15)));
    drop(slow);
    trickle.join().unwrap();
    assert_eq!(web.get("/healthz").0, 200);
}

/// A client that opens a picture and goes away must not leave its work behind a thousandfold.
#[test]
fn pictures_that_nobody_waits_for_are_not_made() {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![report("pacs")]);
    let folder = tempfile::tempdir().unwrap();
    let (program, begun) = (folder.path().join("decode"), folder.path().join("begun"));
    let script = format!("#!/bin/sh\necho begun >>{}\nsleep 1\n", begun.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let web = Web::decoding_by(&bench.spool, Decoder::apart(program, DecodeLimits::default()));
    for _ in 0..30 {
        let mut gone = TcpStream::connect(web.address).unwrap();
        let path = "/studies/1.2.3.1/image.png";
        write!(gone, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(60));
    }
    std::thread::sleep(Duration::from_secs(5));
    let begun = std::fs::read_to_string(&begun).unwrap().lines().count();
    assert!((1..=7).contains(&begun), "{begun} of 30 were begun within 7 s");
}

#[test]
fn a_flood_of_silent_clients_hides_no_health() {
    let bench = Bench::new();
    let web = Web::of(&bench.spool, true);
    let mut silent: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(web.address).unwrap()).collect();
    assert_eq!(web.get("/healthz").0, 200);
    assert!(is_closed(&mut silent[0], Duration::from_secs(3)), "the oldest gives way at once");
}
