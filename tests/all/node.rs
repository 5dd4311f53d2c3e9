//! The node end to end: real radiographs from real modalities, reports in real archives.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::support::dcmtk::{self, Storescp};
use super::support::http::request;
use super::support::node::{program, ready};
use super::support::objects::fixture;
use super::support::orthanc::{Report, standard_errors};
use super::support::process::{self, Running};
use super::support::{Copy, Node, Orthanc, Settings, fixtures, modality, wait_for, wait_until};

/// Sends files by pynetdicom and asserts that each was acknowledged with Success.
#[track_caller]
fn send(node: &Node, copies: &[&Copy]) {
    let files: Vec<&Path> = copies.iter().map(|copy| copy.path.as_path()).collect();
    let answers = modality::send(node.port(), 1, &files);
    for copy in copies {
        assert_eq!(answers[&copy.instance], Some(0), "{}\n{}", copy.path.display(), node.log());
    }
}

/// Sends one more study and waits for its report: by then the node has dealt with whatever was
/// sent before.
#[track_caller]
fn wait_for_everything_before(node: &Node, orthanc: &Orthanc, folder: &Path, salt: &str) {
    let marker = fixture("cr-ap-jpeg-extended").copy(folder, salt);
    send(node, &[&marker]);
    orthanc.wait_for_report(&marker.study);
}

#[track_caller]
fn assert_is_a_proper_report(orthanc: &Orthanc, report: &Report, folder: &Path) {
    assert_eq!(report.tags["Modality"], "SR");
    assert_eq!(report.tags["VerificationFlag"], "UNVERIFIED");
    let file = orthanc.download(report, folder);
    let errors = standard_errors(&file);
    assert!(errors.is_empty(), "{errors:#?}");
    dcmtk::dsrdump(&file);
}

#[test]
fn a_radiograph_from_each_modality_comes_back_as_a_report_to_each_archive() {
    let folder = TempDir::new().unwrap();
    let (orthanc, mut storescp) = (Orthanc::start(), Storescp::start());
    let node =
        Node::start(&Settings::to(&[orthanc.destination("pacs"), storescp.destination("second")]));
    let by_storescu = fixture("dx-pa-explicit").copy(folder.path(), "a");
    let by_dcmsend = fixture("cr-ap-jpeg-baseline").copy(folder.path(), "b");
    let by_pynetdicom = fixture("dx-ap-jpeg-2000").copy(folder.path(), "c");

    assert_eq!(dcmtk::storescu(node.port(), &[&by_storescu.path]), 1);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&by_dcmsend.path]), 1);
    send(&node, &[&by_pynetdicom]);

    for copy in [&by_storescu, &by_dcmsend, &by_pynetdicom] {
        let report = orthanc.wait_for_report(&copy.study);
        let row = node.wait_for_state(&copy.study, "delivered");
        let deliveries = row["deliveries"].as_array().unwrap();
        assert_eq!(deliveries.len(), 2, "{row:#}");
        assert!(deliveries.iter().all(|delivery| delivery["state"] == "sent"), "{row:#}");
        assert_is_a_proper_report(&orthanc, &report, folder.path());
        assert!(report.tags.to_string().contains(&copy.instance), "the image is named");
    }
    let file = storescp.wait_for_report();
    assert_eq!(standard_errors(&file), Vec::<String>::new());
    dcmtk::dsrdump(&file);
    wait_until("three reports in storescp", || storescp.received("SR").len() == 3);
    assert!(storescp.received("CR").is_empty(), "this destination receives reports alone");
}

#[test]
fn images_go_with_the_report_where_a_destination_receives_them() {
    let folder = TempDir::new().unwrap();
    let storescp = Storescp::start();
    let node = Node::start(&Settings::to(&[storescp.destination_of_everything("archive")]));
    let chest = fixture("cr-ap-implicit").copy(folder.path(), "a");
    let hand = fixture("cr-hand").copy(folder.path(), "b");
    send(&node, &[&chest, &hand]);
    node.wait_for_state(&chest.study, "delivered");
    wait_until("both images in storescp", || storescp.received("CR").len() == 2);
    wait_until("a report in storescp", || storescp.received("SR").len() == 1);
}

#[test]
fn what_cannot_be_drafted_from_is_skipped_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let skipped: Vec<_> = fixtures()
        .iter()
        .filter(|fixture| !fixture.drafted)
        .map(|fixture| (fixture, fixture.copy(folder.path(), "skipped")))
        .collect();
    assert!(skipped.len() >= 5, "{skipped:#?}");
    for (_, copy) in &skipped {
        send(&node, &[copy]);
    }
    for (fixture, copy) in &skipped {
        let row = node.wait_for_state(&copy.study, "skipped");
        let reason = row["reason"].as_str().unwrap_or_default().to_lowercase();
        assert!(reason.contains(&fixture.reason), "{}: {reason}", fixture.file);
    }
    assert!(orthanc.reports().is_empty());
}

#[test]
fn the_node_never_drafts_from_its_own_report() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let chest = fixture("dx-pa-jpeg-ls").copy(folder.path(), "a");
    send(&node, &[&chest]);
    let report = orthanc.wait_for_report(&chest.study);
    node.wait_for_state(&chest.study, "delivered");

    let file = orthanc.download(&report, folder.path());
    let answers = modality::send(node.port(), 1, &[&file]);
    assert_eq!(answers[&report.instance], Some(0), "{}", node.log());
    wait_for_everything_before(&node, &orthanc, folder.path(), "marker");

    let reports = orthanc.reports_of(&chest.study);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0].instance, report.instance);
}

#[test]
fn an_object_sent_twice_is_drafted_once() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let chest = fixture("dx-pa-big-endian").copy(folder.path(), "a");
    send(&node, &[&chest]);
    send(&node, &[&chest]);
    orthanc.wait_for_report(&chest.study);
    node.wait_for_state(&chest.study, "delivered");
    send(&node, &[&chest]);
    wait_for_everything_before(&node, &orthanc, folder.path(), "marker");
    assert_eq!(orthanc.reports_of(&chest.study).len(), 1);
    assert_eq!(node.jobs(&chest.study).len(), 1);
}

#[test]
fn a_late_lateral_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let frontal = fixture("two-views-pa").copy(folder.path(), "a");
    let lateral = fixture("two-views-lateral").copy(folder.path(), "a");
    assert_eq!(frontal.study, lateral.study);
    send(&node, &[&frontal]);
    let report = orthanc.wait_for_report(&frontal.study);
    node.wait_for_state(&frontal.study, "delivered");
    send(&node, &[&lateral]);
    wait_for_everything_before(&node, &orthanc, folder.path(), "marker");
    let reports = orthanc.reports_of(&frontal.study);
    assert_eq!(reports.len(), 1, "{reports:#?}");
    assert_eq!(reports[0].instance, report.instance);
}

#[test]
fn a_better_view_that_comes_late_makes_a_new_version_of_the_report() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let ap = fixture("ap-then-pa-ap").copy(folder.path(), "a");
    let pa = fixture("ap-then-pa-pa").copy(folder.path(), "a");
    assert_eq!(ap.study, pa.study);
    send(&node, &[&ap]);
    let first = orthanc.wait_for_report(&ap.study);
    node.wait_for_state(&ap.study, "delivered");
    send(&node, &[&pa]);
    let second = wait_for("a second report", || {
        orthanc.reports_of(&ap.study).into_iter().find(|report| report.instance != first.instance)
    });
    let row = node.wait_for_job(&ap.study, "version 2, delivered", |job| {
        job["version"] == 2 && job["state"] == "delivered"
    });
    assert_eq!(row["deliveries"].as_array().unwrap().len(), 1, "{row:#}");
    let predecessors = second.tags["PredecessorDocumentsSequence"].to_string();
    assert!(predecessors.contains(&first.instance), "{:#}", second.tags);
    assert!(second.tags.to_string().contains(&pa.instance));
    assert_is_a_proper_report(&orthanc, &second, folder.path());
    assert_eq!(orthanc.reports_of(&ap.study).len(), 2);
}

/// A report of the one would be read as of the other.
#[test]
fn a_study_of_two_patients_is_not_drafted_from_and_keeps_the_name_of_its_draft() {
    let folder = TempDir::new().unwrap();
    let node = Node::start(&Settings::default());
    let ap = fixture("ap-then-pa-ap").copy(folder.path(), "a");
    let pa = fixture("ap-then-pa-pa").copy(folder.path(), "a");
    for (copy, id, name) in [(&ap, "ONE", "One^Anna"), (&pa, "TWO", "Two^Bert")] {
        let mut dcmodify = Command::new(dcmtk::program("dcmodify"));
        dcmodify.args(["-nb", "-i", &format!("PatientID={id}"), "-i"]);
        process::succeed(dcmodify.arg(format!("PatientName={name}")).arg(&copy.path));
    }
    send(&node, &[&ap]);
    node.wait_for_state(&ap.study, "drafted");
    send(&node, &[&pa]);
    let row = node.wait_for_job(&ap.study, "version 2, skipped", |job| {
        job["version"] == 2 && job["state"] == "skipped"
    });
    assert!(row["reason"].as_str().unwrap().contains("more than one patient"), "{row:#}");
    let path = format!("/studies/{}", ap.study);
    let (_, page) = request(node.http.port(), "GET", &path, &[]).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("One Anna") && !page.contains("Two Bert"), "{page}");
}

#[test]
fn a_best_view_that_cannot_be_read_gives_way_to_the_next_best() {
    let folder = TempDir::new().unwrap();
    let node = Node::start(&Settings::default());
    let ap = fixture("ap-then-pa-ap").copy(folder.path(), "a");
    let pa = fixture("ap-then-pa-pa").copy(folder.path(), "a");
    let alone = fixture("ap-then-pa-pa").copy(folder.path(), "b");
    for damaged in [&pa, &alone] {
        let mut bytes = std::fs::read(&damaged.path).unwrap();
        // The second half of the code stream; what ends the fragments stays.
        let (half, end) = (bytes.len() / 2, bytes.len() - 8);
        bytes[half..end].fill(0xff);
        std::fs::write(&damaged.path, bytes).unwrap();
    }
    send(&node, &[&ap, &pa, &alone]);
    let row = node.wait_for_state(&ap.study, "drafted");
    assert_eq!(row["version"], 1, "{row:#}");
    let shown = node.command(&["queue", "show", &ap.study, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["image"], ap.instance.as_str(), "{shown:#}");
    let row = node.wait_for_state(&alone.study, "failed");
    assert!(row["reason"].as_str().unwrap().contains("cannot be decoded"), "{row:#}");
}

#[test]
fn a_destination_that_is_down_gets_its_reports_once_it_is_back() {
    let folder = TempDir::new().unwrap();
    let mut absent = Orthanc::stopped();
    let present = Orthanc::start();
    let node =
        Node::start(&Settings::to(&[absent.destination("absent"), present.destination("present")]));
    let chest = fixture("cr-ap-rle").copy(folder.path(), "a");
    send(&node, &[&chest]);
    present.wait_for_report(&chest.study);
    let of_absent = |job: &Value| {
        let deliveries = job["deliveries"].as_array().unwrap();
        deliveries.iter().find(|delivery| delivery["destination"] == "absent").cloned().unwrap()
    };
    let row = node.wait_for_job(&chest.study, "an attempt that failed", |job| {
        of_absent(job)["attempts"].as_u64() >= Some(1)
    });
    assert_eq!(of_absent(&row)["state"], "waiting", "{row:#}");
    assert!(!of_absent(&row)["reason"].as_str().unwrap_or_default().is_empty(), "{row:#}");
    assert_eq!(row["state"], "drafted", "{row:#}");
    absent.restart();
    let report = absent.wait_for_report(&chest.study);
    node.wait_for_state(&chest.study, "delivered");
    assert_eq!(present.reports_of(&chest.study)[0].instance, report.instance);
    assert_eq!(absent.reports_of(&chest.study).len(), 1);
}

#[test]
fn a_destination_that_takes_no_report_class_makes_a_dead_letter_that_says_so() {
    let folder = TempDir::new().unwrap();
    let storescp = Storescp::images_only();
    let settings =
        Settings { max_attempts: 2, ..Settings::to(&[storescp.destination("images only")]) };
    let node = Node::start(&settings);
    let chest = fixture("dx-pa-deflated").copy(folder.path(), "a");
    send(&node, &[&chest]);
    let row = node.wait_for_state(&chest.study, "failed");
    let delivery = &row["deliveries"][0];
    assert_eq!(delivery["state"], "failed", "{row:#}");
    let reason = delivery["reason"].as_str().unwrap();
    assert!(reason.contains("Enhanced SR"), "{reason}");
    assert!(reason.contains("it does not take the SOP class"), "{reason}");
    assert!(storescp.received("SR").is_empty());
}

#[test]
fn a_dead_letter_goes_out_after_a_retry() {
    let folder = TempDir::new().unwrap();
    let mut orthanc = Orthanc::stopped();
    let settings = Settings { max_attempts: 1, ..Settings::to(&[orthanc.destination("pacs")]) };
    let node = Node::start(&settings);
    let chest = fixture("dx-pa-wide").copy(folder.path(), "a");
    send(&node, &[&chest]);
    node.wait_for_state(&chest.study, "failed");
    orthanc.restart();
    let retry = node.command(&["queue", "retry", &chest.study]);
    assert!(retry.status.success(), "{}", process::text(&retry));
    node.wait_for_state(&chest.study, "delivered");
    assert_eq!(orthanc.reports_of(&chest.study).len(), 1);
}

#[test]
fn a_full_disk_is_told_to_the_modality() {
    let folder = TempDir::new().unwrap();
    let environment = vec![("THORASCRIBE_SPOOL__MIN_FREE", "1000000 GiB".to_owned())];
    let node = Node::start(&Settings { environment, ..Settings::default() });
    let chest = fixture("dx-pa-wide").copy(folder.path(), "a");
    let answers = modality::send(node.port(), 1, &[&chest.path]);
    assert_eq!(answers[&chest.instance], Some(0xA700), "{}", node.log());
    assert!(node.jobs(&chest.study).is_empty());
}

#[test]
fn serve_runs_without_a_configuration_file() {
    let home = TempDir::new().unwrap();
    // Free ports, since the defaults may be taken where the tests run.
    let mut child = program(home.path())
        .env("THORASCRIBE_NODE__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let _running = Running(child);
    let dicom = ready(&mut stdout).unwrap().dicom;
    let mut echo = Command::new(dcmtk::program("echoscu"));
    process::succeed(echo.args(["-aec", "THORASCRIBE", "127.0.0.1", &dicom.port().to_string()]));
    assert!(home.path().join("XDG_STATE_HOME/thorascribe").is_dir(), "the spool's default place");
}

#[test]
fn serve_refuses_a_bad_configuration() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "[node]\nae_titel = \"THORASCRIBE\"\n").unwrap();
    let output = process::run(program(home.path()).arg("--config").arg(&file).arg("serve"));
    let text = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    for part in ["bad.toml", "2", "ae_titel", "ae_title"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn serve_refuses_a_prompt_that_its_model_has_not() {
    let home = TempDir::new().unwrap();
    for prompt in ["99".to_owned(), "why ".repeat(3000)] {
        let output = process::run(
            program(home.path())
                .env("THORASCRIBE_NODE__BIND", "127.0.0.1:0")
                .env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0")
                .env("THORASCRIBE_MODEL__PROMPT", &prompt)
                .arg("serve"),
        );
        let text = process::text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("prompt"), "{text}");
        assert!(output.stdout.is_empty(), "it is not ready: {text}");
    }
}

#[test]
fn every_stage_of_the_way_is_measured() {
    let folder = TempDir::new().unwrap();
    let storescp = Storescp::start();
    let node = Node::start(&Settings::to(&[storescp.destination("pacs")]));
    let chest = fixture("dx-pa-explicit").copy(folder.path(), "a");
    send(&node, &[&chest]);
    node.wait_for_state(&chest.study, "delivered");
    let (status, body) = request(node.http.port(), "GET", "/metrics", &[]).unwrap();
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    for stage in ["receive", "read", "encode", "prefill", "decode", "report", "deliver"] {
        let line = format!("thorascribe_stage_seconds_count{{stage=\"{stage}\"}} 1\n");
        assert!(text.contains(&line), "{stage} in\n{text}");
    }
}

#[test]
fn a_peer_that_misbehaves_a_hundred_times_fills_no_log() {
    let node = Node::start(&Settings::default());
    for _ in 0..100 {
        let mut peer = TcpStream::connect(node.dicom).unwrap();
        peer.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap();
        let mut rest = Vec::new();
        drop(peer.read_to_end(&mut rest));
    }
    wait_until("all are counted", || {
        let (_, body) = request(node.http.port(), "GET", "/metrics", &[]).unwrap();
        String::from_utf8(body).unwrap().contains("{outcome=\"aborted\"} 100\n")
    });
    let warnings = node.log().lines().filter(|line| line.contains("aborted by the peer")).count();
    assert_eq!(warnings, 20, "{}", node.log());
}

#[test]
fn a_reload_that_opens_the_node_says_so() {
    let peer = "[[peer]]\nae_title = \"CR\"\naddress = \"127.0.0.1\"\n";
    let environment = vec![("THORASCRIBE_NODE__BIND", "0.0.0.0:0".to_owned())];
    let tables = peer.to_owned();
    let node = Node::start(&Settings { tables, environment, ..Settings::default() });
    let open = "no [[peer]] is configured: any caller that reaches the port may send";
    assert!(!node.log().contains(open), "{}", node.log());
    node.configure(&node.configuration().replace(peer, ""));
    node.signal(Signal::HUP);
    wait_until("it is said", || node.log().contains(open));
}

#[test]
fn serve_says_which_port_is_taken() {
    let home = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = process::run(
        program(home.path())
            .env("THORASCRIBE_NODE__BIND", &address)
            .env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0")
            .arg("serve"),
    );
    let text = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("node.bind"), "{text}");
}

#[test]
fn sigterm_ends_the_node_with_nothing_lost() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let mut node = Node::start(&Settings::to(&[orthanc.destination("pacs")]));
    let copies: Vec<Copy> = ["dx-pa-explicit", "cr-ap-implicit", "cr-ap-no-window"]
        .iter()
        .map(|name| fixture(name).copy(folder.path(), "a"))
        .collect();
    send(&node, &copies.iter().collect::<Vec<_>>());
    node.signal(Signal::TERM);
    let status = node.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", node.log());
    assert_eq!(node.rest_of_stdout(), "", "stdout holds the ready line alone");
    node.restart();
    for copy in &copies {
        node.wait_for_state(&copy.study, "delivered");
        assert_eq!(orthanc.reports_of(&copy.study).len(), 1);
    }
}

/// DCMTK 3.6.7 does not know High-Throughput JPEG 2000.
fn known_to_dcmtk(syntax: &str) -> bool {
    !syntax.starts_with("1.2.840.10008.1.2.4.20")
}

#[test]
fn two_hundred_objects_over_eight_associations_are_all_answered() {
    const OBJECTS: usize = 200;
    const ASSOCIATIONS: usize = 8;
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    // Short drafts: here they are counted, not read.
    let tables = format!("[model]\nmax_tokens = 24\n{}", orthanc.destination("pacs"));
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let sendable: Vec<_> =
        fixtures().iter().filter(|f| known_to_dcmtk(&f.transfer_syntax) && f.decodable).collect();
    let copies: Vec<Copy> = (0..OBJECTS)
        .map(|n| sendable[n % sendable.len()].copy(folder.path(), &format!("{n:03}")))
        .collect();
    let syntaxes: BTreeSet<_> = copies.iter().map(|copy| copy.transfer_syntax.as_str()).collect();
    assert!(syntaxes.len() >= 12, "{syntaxes:?}");

    let port = node.port();
    let acknowledged: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = copies
            .chunks(OBJECTS / ASSOCIATIONS)
            .map(|share| {
                let files: Vec<&Path> = share.iter().map(|copy| copy.path.as_path()).collect();
                scope.spawn(move || dcmtk::dcmsend(port, &files))
            })
            .collect();
        assert_eq!(senders.len(), ASSOCIATIONS);
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    });
    assert_eq!(acknowledged, OBJECTS);

    let rows = node.wait_until_settled(OBJECTS);
    let reports = orthanc.report_counts();
    for copy in &copies {
        let row = &rows[&copy.study];
        let state = if copy.drafted { "delivered" } else { "skipped" };
        assert_eq!(row["state"], state, "{}: {row:#}", copy.path.display());
        let count = reports.get(&copy.study).copied().unwrap_or_default();
        assert_eq!(count, usize::from(copy.drafted), "{}: {row:#}", copy.path.display());
    }
    let drafted = copies.iter().filter(|copy| copy.drafted).count();
    println!("{acknowledged} acknowledged in {} syntaxes, {drafted} reports", syntaxes.len());
}

#[test]
fn sighup_takes_over_peers_and_destinations_or_nothing() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let node = Node::start(&Settings::default());
    let before = node.configuration();

    node.configure(&format!("{before}{}nonsense = 1\n", orthanc.destination("pacs")));
    node.signal(Signal::HUP);
    wait_until("the node says that nothing was taken over", || {
        node.log().contains("nothing was taken over")
    });

    node.configure(&format!("{before}{}", orthanc.destination("pacs")));
    node.signal(Signal::HUP);
    wait_until("the node says what it took over", || node.log().contains("as it is now"));
    let image = fixture("cr-ap-jpeg-extended").copy(folder.path(), "reload");
    send(&node, &[&image]);
    orthanc.wait_for_report(&image.study);

    let stranger = "[[peer]]\nae_title = \"SOMEBODY_ELSE\"\naddress = \"127.0.0.0/8\"\n";
    node.configure(&format!("{before}{stranger}"));
    node.signal(Signal::HUP);
    wait_until("the node says it again", || node.log().matches("as it is now").count() == 2);
    let refused = fixture("cr-ap-jpeg-extended").copy(folder.path(), "refused");
    let sent = program(folder.path())
        .args(["send", "--to", &format!("THORASCRIBE@127.0.0.1:{}", node.port())])
        .arg(&refused.path)
        .output()
        .unwrap();
    assert!(!sent.status.success(), "{sent:?}");
}

#[test]
fn sighup_does_not_take_the_defaults_for_a_file_that_is_gone() {
    let home = TempDir::new().unwrap();
    let place = home.path().join("XDG_CONFIG_HOME/thorascribe");
    std::fs::create_dir_all(&place).unwrap();
    let (file, log) = (place.join("thorascribe.toml"), home.path().join("log"));
    let mut child = program(home.path())
        .env("THORASCRIBE_NODE__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    ready(&mut stdout).unwrap();
    let hang_up = |said: &str, times: usize| {
        kill_process(Pid::from_child(&running.0), Signal::HUP).unwrap();
        wait_until(said, || std::fs::read_to_string(&log).unwrap().matches(said).count() == times);
    };
    // Without a file it is looked for anew.
    let peer = "[[peer]]\nae_title = \"CR\"\naddress = \"127.0.0.1\"\n";
    std::fs::write(&file, peer).unwrap();
    hang_up("as it is now", 1);
    std::fs::remove_file(&file).unwrap();
    hang_up("nothing was taken over", 1);
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("thorascribe.toml: cannot read the configuration"), "{told}");
    std::fs::write(&file, peer).unwrap();
    hang_up("as it is now", 2);
}

#[test]
fn sighup_leaves_what_is_read_at_start_only_and_names_it() {
    let folder = TempDir::new().unwrap();
    let node = Node::start(&Settings::default());
    let changed = node.configuration().replace("[node]\n", "[node]\nae_title = \"RENAMED\"\n");
    assert!(changed.contains("RENAMED"), "{changed}");
    node.configure(&format!("{changed}[limits]\npdu = \"64 KiB\"\n"));
    node.signal(Signal::HUP);
    let left = "read at start only";
    wait_until("the node names what it left", || node.log().contains(left));
    let log = node.log();
    let line = log.lines().find(|line| line.contains(left)).unwrap();
    assert!(line.contains("node.ae_title, limits.pdu"), "{line}");
    let image = fixture("cr-ap-jpeg-extended").copy(folder.path(), "old-name");
    send(&node, &[&image]);
}
