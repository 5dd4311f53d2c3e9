//! Storage commitment: a study is done only when its destination says that it keeps it.

use std::net::TcpStream;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::job_store::rows;
use super::support::node::destination;
use super::support::objects::{Fixture, fixtures, root};
use super::support::power::Power;
use super::support::process::{Running, free_port, run, text};
use super::support::{Node, Orthanc, Settings, dcmtk, modality, wait_for, wait_until};

fn radiograph() -> &'static Fixture {
    fixtures().iter().find(|f| f.drafted && f.transfer_syntax == "1.2.840.10008.1.2.1").unwrap()
}

/// pynetdicom as a PACS; see `pacs.py`.
struct Pacs {
    folder: TempDir,
    port: u16,
    _running: Running,
}

impl Pacs {
    fn start(mode: &str) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut command = modality::python();
        command.arg(root().join("tests/all/commitment/pacs.py"));
        command.args([&port.to_string(), mode]).arg(folder.path());
        let running = Running(command.stdin(Stdio::null()).spawn().unwrap());
        wait_until("the PACS listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { folder, port, _running: running }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn asked(&self) -> Vec<Value> {
        self.lines("asked").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn destination(&self) -> String {
        let table = destination("pacs", "PACS", self.port, &["report", "images"]);
        format!("{table}commitment = true\n")
    }

    /// A node that sends here, and has been given one radiograph.
    fn node(&self, environment: &[(&'static str, &str)], max_attempts: u32) -> Node {
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let node = Node::start(&Settings {
            tables: self.destination(),
            environment: environment.collect(),
            max_attempts,
            ..Settings::default()
        });
        assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph().path()]), 1);
        node
    }
}

fn states(job: &Value) -> Vec<&str> {
    let deliveries = job["deliveries"].as_array().unwrap();
    deliveries.iter().map(|delivery| delivery["state"].as_str().unwrap()).collect()
}

/// A report on an association of its own: the status of the node.
fn report(node: &Node, asked: &Value, object: usize) -> String {
    let mut command = modality::python();
    command.arg(root().join("tests/all/commitment/report.py"));
    command.args([&node.port().to_string(), asked["transaction"].as_str().unwrap()]);
    let object = &asked["objects"][object];
    let output = run(command.args([object[0].as_str().unwrap(), object[1].as_str().unwrap()]));
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn orthanc_commits_on_an_association_of_its_own() {
    let orthanc = Orthanc::start();
    let table = format!("{}commitment = true\n", orthanc.destination("pacs"));
    let node = Node::start(&Settings::to(&[table]));
    orthanc.knows("THORASCRIBE", node.port());
    let study = &radiograph().study;
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph().path()]), 1);
    let job = node.wait_for_state(study, "delivered");
    assert_eq!(states(&job), ["committed"], "{job:#}\n{}", node.log());
    assert_eq!(orthanc.reports_of(study).len(), 1);
    node.assert_log_names_no_patient();
}

#[test]
fn a_pacs_may_report_on_the_association_that_asked() {
    let pacs = Pacs::start("same");
    let node = pacs.node(&[], 0);
    let job = node.wait_for_state(&radiograph().study, "delivered");
    assert_eq!(states(&job), ["committed", "committed"]);
    assert_eq!(pacs.asked().len(), 1, "one request for the whole study");
    assert_eq!(pacs.asked()[0]["objects"].as_array().unwrap().len(), 2);
    wait_until("the report is answered", || pacs.lines("answered") == ["0"]);
    let metrics = String::from_utf8(
        super::support::http::request(node.http.port(), "GET", "/metrics", &[]).unwrap().1,
    );
    let line = "thorascribe_deliveries_total{destination=\"pacs\",outcome=\"committed\"} 2";
    assert!(metrics.unwrap().contains(line));
}

#[test]
fn what_a_pacs_lost_goes_out_again() {
    let pacs = Pacs::start("loses");
    let node = pacs.node(&[], 0);
    let study = &radiograph().study;
    let job = node.wait_for_job(study, "the loss", |job| {
        job["deliveries"].to_string().contains("not committed by the destination: no such object")
    });
    assert_eq!(job["state"], "drafted", "{job:#}");
    let job = node.wait_for_state(study, "delivered");
    assert_eq!(states(&job), ["committed", "committed"]);
    assert_eq!(pacs.lines("stored").len(), 4, "both objects twice");
    assert!(node.log().contains("the destination lost what it had acknowledged"));
    node.assert_log_names_no_patient();
}

#[test]
fn a_pacs_that_never_reports_is_asked_again_and_then_given_up() {
    let pacs = Pacs::start("silent");
    let wait = [("THORASCRIBE_DELIVER__COMMITMENT_WAIT", "1s")];
    let node = pacs.node(&wait, 2);
    let study = &radiograph().study;
    let waiting = node.wait_for_job(study, "the request", |job| {
        job["deliveries"].to_string().contains("its storage commitment is awaited")
    });
    assert_eq!(
        (waiting["state"].as_str(), states(&waiting)),
        (Some("drafted"), vec!["sent", "sent"])
    );
    let failed = node.wait_for_state(study, "failed");
    assert!(failed["reason"].as_str().unwrap().contains("no storage commitment after 2 requests"));
    assert_eq!(pacs.asked().len(), 2);
    assert_eq!(pacs.lines("stored").len(), 2, "nothing is sent twice for it");
    // Late, and on the first of the requests: it counts all the same.
    for object in 0..2 {
        assert_eq!(report(&node, &pacs.asked()[0], object), "0");
    }
    node.wait_for_state(study, "delivered");
    // `queue retry` sends again what was given up; nothing was.
    assert_eq!(pacs.lines("stored").len(), 2);
}

#[test]
fn a_restart_between_request_and_report_loses_neither() {
    let pacs = Pacs::start("silent");
    let mut node = pacs.node(&[], 0);
    let study = &radiograph().study;
    let asked = wait_for("the request", || pacs.asked().pop());
    node.wait_for_job(study, "the request is noted", |job| {
        job["deliveries"].to_string().contains("awaited")
    });
    node.kill();
    node.restart();
    let mut stranger = asked.clone();
    stranger["transaction"] = Value::from("2.25.4711");
    assert_eq!(report(&node, &stranger, 0), 0x0110.to_string(), "nobody asked for this");
    assert_eq!(report(&node, &asked, 0), "0");
    assert_eq!(report(&node, &asked, 0), "0", "twice does no harm");
    let half = node.wait_for_job(study, "one of two", |job| states(job).contains(&"committed"));
    assert_eq!(half["state"], "drafted");
    assert_eq!(report(&node, &asked, 1), "0");
    let done = node.wait_for_state(study, "delivered");
    assert_eq!(states(&done), ["committed", "committed"]);
    assert_eq!(pacs.lines("stored").len(), 2);
    assert_eq!(pacs.asked().len(), 1, "it was not asked again");
}

#[test]
fn a_pacs_that_cannot_commit_is_a_failure_that_says_so() {
    for (mode, why) in [("refuses", "0x0122"), ("ignorant", "1.2.840.10008.1.20.1")] {
        let pacs = Pacs::start(mode);
        let node = pacs.node(&[], 0);
        let failed = node.wait_for_state(&radiograph().study, "failed");
        let reason = failed["reason"].as_str().unwrap();
        assert!(reason.contains("storage commitment") && reason.contains(why), "{reason}");
    }
}

#[test]
fn a_disk_that_fails_while_commitments_are_asked_for_ends_nothing() {
    let pacs = Pacs::start("silent");
    let power = Power::new();
    let mut environment = power.environment();
    environment.push(("THORASCRIBE_DELIVER__COMMITMENT_WAIT", "3s".to_owned()));
    let tables = pacs.destination();
    let mut node = Node::start(&Settings { tables, environment, ..Settings::default() });
    let study = &radiograph().study;
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph().path()]), 1);
    wait_until("the first request", || !pacs.asked().is_empty());
    node.wait_for_job(study, "the request is noted", |job| {
        job["deliveries"].to_string().contains("awaited")
    });
    // EIO: no transaction is kept.
    power.set_sync_error(5);
    wait_until("the request that cannot be noted", || {
        let log = node.whole_log();
        log.lines().any(|line| line.contains("storage commitment") && line.contains("trying again"))
    });
    assert!(node.is_alive(), "{}", node.log());
    power.set_sync_error(0);
    let before = pacs.asked().len();
    wait_until("it goes on asking", || pacs.asked().len() > before);
    let asked = pacs.asked().pop().unwrap();
    for object in 0..2 {
        assert_eq!(report(&node, &asked, object), "0");
    }
    let done = node.wait_for_state(study, "delivered");
    assert_eq!(states(&done), ["committed", "committed"]);
}

#[test]
fn nothing_waits_for_a_commitment_that_nobody_asks_for_any_more() {
    let pacs = Pacs::start("silent");
    let node = pacs.node(&[], 0);
    let study = &radiograph().study;
    wait_for("the request", || pacs.asked().pop());
    node.wait_for_job(study, "the request is noted", |job| {
        job["deliveries"].to_string().contains("awaited")
    });
    // The destination gets another name, so nobody asks on behalf of the old one.
    let renamed = node.configuration().replace("name = \"pacs\"", "name = \"archive\"");
    node.configure(&renamed);
    node.signal(rustix::process::Signal::HUP);
    let done = node.wait_for_state(study, "delivered");
    assert_eq!(states(&done), ["sent", "sent"]);
    assert!(node.log().contains("no longer asked to commit"), "{}", node.log());
}

#[test]
fn deliveries_that_wait_for_a_name_that_is_gone_are_said() {
    let pacs = Pacs::start("silent");
    let table = pacs.destination().replace(&pacs.port.to_string(), &free_port().to_string());
    let mut node = Node::start(&Settings::to(&[table]));
    let study = &radiograph().study;
    assert_eq!(dcmtk::dcmsend(node.port(), &[&radiograph().path()]), 1);
    node.wait_for_job(study, "an attempt", |job| {
        job["deliveries"][0]["attempts"].as_u64() >= Some(1)
    });
    node.configure(&node.configuration().replace("name = \"pacs\"", "name = \"archive\""));
    node.signal(rustix::process::Signal::HUP);
    let said = |node: &Node| {
        let log = node.whole_log();
        log.lines()
            .filter(|line| line.contains("a destination that is not configured"))
            .filter(|line| line.contains("pacs"))
            .count()
    };
    wait_until("it is said at the reload", || said(&node) == 1);
    node.wait_for_job(study, "the queue says it", |job| {
        job["deliveries"][0]["reason"] == "the destination is not configured"
    });
    node.restart();
    wait_until("it is said at the start", || said(&node) == 2);
    assert_eq!(node.jobs(study)[0]["state"], "drafted");
}

#[test]
fn a_node_killed_where_a_commitment_is_asked_for_or_given_goes_on_from_there() {
    let pacs = Pacs::start("silent");
    let mut node = pacs.node(&[], 0);
    let study = &radiograph().study;
    // The request is in the store, and may be with the destination or not.
    wait_until("a request", || !rows(&node.spool(), "SELECT uid FROM commitment").is_empty());
    node.kill();
    let transaction = rows(&node.spool(), "SELECT uid FROM commitment").remove(0).remove(0);
    let objects = rows(&node.spool(), "SELECT sent_class, sent_instance FROM delivery");
    assert_eq!(objects.len(), 2);
    node.restart();
    let asked = json!({"transaction": transaction, "objects": objects});
    for object in 0..2 {
        assert_eq!(report(&node, &asked, object), "0");
    }
    wait_until("it is committed", || {
        let committed = "SELECT state FROM delivery WHERE state = 'committed'";
        rows(&node.spool(), committed).len() == 2
    });
    node.kill();
    node.restart();
    let done = node.wait_for_state(study, "delivered");
    assert_eq!(states(&done), ["committed", "committed"]);
    // Nothing goes again, and nothing more is asked.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(pacs.lines("stored").len(), 2);
    assert!(pacs.asked().len() <= 1);
}
