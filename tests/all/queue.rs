//! `thorascribe queue`: the real program beside an open spool, as beside a running node.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;
use thorascribe::spool::{Clock, JobState, Spool, SpoolSettings};
use thorascribe::vocabulary::Priority;

use super::spool::bench::{
    Bench, QUIET, draft, finish, image, instance_uid, report, send, settings, study_uid,
};
use super::support::node::program;
use super::support::process;

/// An open spool, and the program that looks at it.
struct Desk {
    bench: Bench,
    home: TempDir,
}

impl Desk {
    /// Study 1 is delivered, study 2 failed, study 3 is skipped, study 4 received.
    fn new() -> Self {
        let bench = Bench::new();
        bench.store(1, 1, b"one");
        finish(bench.lease(), vec![report("pacs"), image("pacs", 1, 1)]);
        while send(&bench.spool, "pacs").is_some() {}
        bench.store(2, 1, b"one");
        finish(bench.lease(), vec![report("dead")]);
        let lease = bench.spool.lease_delivery("dead").unwrap().unwrap();
        lease.dead("refused by \u{1b}[31mthe PACS").unwrap();
        bench.store(3, 1, b"hand");
        bench.lease().skipped("body part HAND", Priority::Routine, &[]).unwrap();
        bench.store(4, 1, b"one");
        Self { bench, home: TempDir::new().unwrap() }
    }

    fn queue(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = program(self.home.path())
            .env("THORASCRIBE_SPOOL__PATH", self.bench.folder.path())
            .arg("queue")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it reads, when nothing is asked.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.queue(arguments, "");
        assert_eq!(output.status.code(), Some(0), "{}", process::text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fail(&self, arguments: &[&str], code: i32) -> String {
        let output = self.queue(arguments, "");
        assert_eq!(output.status.code(), Some(code), "{}", process::text(&output));
        assert!(output.stdout.is_empty(), "{}", process::text(&output));
        String::from_utf8(output.stderr).unwrap()
    }
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn list_gives_a_job_a_line() {
    let desk = Desk::new();
    let rows = rows(&desk.succeed(&["list", "--json"]));
    let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["delivered", "failed", "skipped", "received"]);
    let mut first = rows[0].clone();
    for delivery in first["deliveries"].as_array_mut().unwrap() {
        assert!(delivery.as_object_mut().unwrap().remove("sent_at").unwrap().is_string());
    }
    for extra in ["received_at", "drafted_at"] {
        assert!(first.as_object_mut().unwrap().remove(extra).unwrap().is_string());
    }
    let delivery = |object: &str| {
        json!({
            "destination": "pacs", "object": object, "state": "sent", "attempts": 1,
            "reason": null
        })
    };
    let expected = json!({
        "study": study_uid(1).as_str(), "state": "delivered", "version": 1, "priority": "routine",
        "attempts": 1, "reason": null,
        "deliveries": [delivery("report"), delivery(instance_uid(1, 1).as_str())]
    });
    assert_eq!(first, expected);
    assert_eq!(rows[1]["deliveries"][0]["state"], "failed");
    assert_eq!(rows[2]["reason"], "body part HAND");

    let text = desk.succeed(&["list"]);
    assert_eq!(text.lines().count(), 4);
    assert!(text.contains("body part HAND") && !text.contains('\u{1b}'), "{text}");
    let failed = desk.succeed(&["list", "--json", "--state", "failed"]);
    assert_eq!(failed.lines().count(), 1);
    assert_eq!(desk.succeed(&["list", "--json", "--limit", "2"]).lines().count(), 2);
    desk.fail(&["list", "--state", "lost"], 2);
}

#[test]
fn show_gives_the_row_the_text_and_every_event() {
    let desk = Desk::new();
    let study = study_uid(1);
    let text = desk.succeed(&["show", study.as_str(), "--json"]);
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["study"], study.as_str());
    assert_eq!(shown["state"], "delivered");
    assert_eq!(shown["text"], "No acute disease.");
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 2);
    let events = shown["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap()["to"], "delivered");
    assert!(events.iter().all(|event| event["at"].as_str().unwrap().ends_with('Z')));

    let text = desk.succeed(&["show", study.as_str()]);
    for part in ["No acute disease.", "not verified", "delivered", "drafting → drafted"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let failed = desk.succeed(&["show", study_uid(2).as_str()]);
    assert!(failed.contains("the PACS") && !failed.contains('\u{1b}'), "{failed}");
    let error = desk.fail(&["show", "1.2.3.99"], 1);
    assert!(error.contains("1.2.3.99"), "{error}");
    desk.fail(&["show", "../../etc"], 2);
}

#[test]
fn retry_makes_the_node_try_again() {
    let desk = Desk::new();
    let (failed, skipped) = (study_uid(2), study_uid(3));
    assert!(desk.bench.spool.lease_delivery("dead").unwrap().is_none());
    let answer = desk.succeed(&["retry", failed.as_str(), "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"study": failed.as_str(), "jobs": 0, "deliveries": 1}));
    assert_eq!(desk.bench.row(2).state, JobState::Drafted);
    // The program's clock is the system's, ahead of the bench's.
    desk.bench.clock.advance(QUIET * 100_000_000);
    assert!(send(&desk.bench.spool, "dead").is_some());
    desk.succeed(&["retry", skipped.as_str()]);
    let lease = desk.bench.spool.lease_draft().unwrap().unwrap();
    assert_eq!((&lease.study, lease.attempts), (&skipped, 1));
    desk.fail(&["retry", "1.2.3.99"], 1);
}

#[test]
fn retry_says_what_waits_for_nobody() {
    let desk = Desk::new();
    let failed = study_uid(2);
    for tried in ["trying again: drafts 0, deliveries 1\n", ""] {
        let output = desk.queue(&["retry", failed.as_str()], "");
        let told = String::from_utf8(output.stderr).unwrap();
        let waits = "deliveries that wait for \"dead\", which is not configured: 1; name it again, \
                     or drop the study with `thorascribe queue drop`\n";
        assert_eq!(told, format!("{tried}{waits}"));
    }
    let unclaimed = desk.bench.spool.unclaimed_deliveries(&["pacs".to_owned()]).unwrap();
    assert_eq!(unclaimed, [("dead".to_owned(), 1)]);
    let shown = desk.succeed(&["show", failed.as_str()]);
    assert!(shown.contains("waiting, attempts 0: the destination is not configured"), "{shown}");
}

#[test]
fn drop_asks_and_forgets() {
    let desk = Desk::new();
    let study = study_uid(1);
    let refused = desk.queue(&["drop", study.as_str()], "n\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[y/N]"));
    // No answer is no.
    assert_eq!(desk.queue(&["drop", study.as_str()], "").status.code(), Some(1));
    assert_eq!(desk.bench.row(1).state, JobState::Delivered);
    let agreed = desk.queue(&["drop", study.as_str()], "y\n");
    assert_eq!(agreed.status.code(), Some(0), "{}", process::text(&agreed));
    assert!(desk.bench.spool.job(&study).unwrap().is_none());
    desk.succeed(&["drop", study_uid(2).as_str(), "--yes"]);
    desk.fail(&["drop", study_uid(2).as_str(), "--yes"], 1);
    desk.fail(&["show", study.as_str()], 1);
    assert_eq!(desk.bench.rows().len(), 2);
}

#[test]
fn purge_deletes_what_was_delivered_long_enough_ago() {
    // The bench's clock stands in the past, so that everything is old.
    let desk = Desk::new();
    let before = desk.bench.files().len();
    desk.succeed(&["purge"]);
    assert_eq!(before - desk.bench.files().len(), 2, "the objects of studies 1 and 3");
    let detail = desk.bench.spool.job(&study_uid(1)).unwrap().unwrap();
    assert!(detail.text.is_some() && detail.objects.is_empty());
}

#[test]
fn purge_before_its_time_asks_and_takes_only_what_is_done() {
    let now = || i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let desk = Desk::new();
    let objects = || desk.bench.files().iter().filter(|f| f.extension().unwrap() == "dcm").count();
    // Done an hour ago by the program's clock.
    let store = rusqlite::Connection::open(desk.bench.folder.path().join("jobs.sqlite")).unwrap();
    for update in [
        "UPDATE job SET drafted_at = ?1 WHERE drafted_at IS NOT NULL",
        "UPDATE delivery SET sent_at = ?1 WHERE sent_at IS NOT NULL",
        "UPDATE object SET received_at = ?1",
    ] {
        store.execute(update, [now() - 3_600_000]).unwrap();
    }
    let before = objects();
    let answer = desk.succeed(&["purge", "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"objects": 0, "older_than": "7d"}));
    desk.succeed(&["purge", "--older-than", "2h"]);
    assert_eq!(objects(), before);
    let refused = desk.queue(&["purge", "--older-than", "30m"], "n\n");
    assert_eq!(refused.status.code(), Some(1));
    let text = process::text(&refused);
    assert!(text.contains("2 objects of 2 studies") && text.contains("[y/N]"), "{text}");
    assert_eq!(objects(), before);
    let answer = desk.succeed(&["purge", "--older-than", "30m", "--yes", "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer, json!({"objects": 2, "older_than": "30m"}));
    assert_eq!(objects(), before - 2, "what failed or waits stays");
    let row = desk.bench.row(1);
    assert_eq!(row.state, JobState::Delivered);
    desk.fail(&["purge", "--older-than", "soon"], 2);
}

#[test]
fn without_a_spool_the_command_says_where_it_looked() {
    let home = TempDir::new().unwrap();
    let spool = home.path().join("nowhere");
    let output = process::run(
        program(home.path()).env("THORASCRIBE_SPOOL__PATH", &spool).args(["queue", "list"]),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(process::text(&output).contains("nowhere"), "{}", process::text(&output));
}

#[test]
fn what_the_command_does_wakes_the_node_within_a_second() {
    let folder = TempDir::new().unwrap();
    let settings = SpoolSettings { quiet: std::time::Duration::ZERO, ..settings(folder.path()) };
    let spool = Spool::open_with(settings, Clock::System).unwrap();
    super::spool::bench::store(&spool, 1, 1, b"one", false);
    spool.seal_due().unwrap();
    spool.lease_draft().unwrap().unwrap().dead("no model").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let beside = Spool::attach(folder.path()).unwrap();
    let mut changes = spool.changed();
    beside.retry_study(&study_uid(1)).unwrap();
    let started = std::time::Instant::now();
    let lease = runtime.block_on(async {
        loop {
            if let Some(lease) = spool.lease_draft().unwrap() {
                return lease;
            }
            changes.next().await;
        }
    });
    assert!(started.elapsed() <= std::time::Duration::from_secs(1));
    let drafted = draft(&lease, vec![]);
    lease.drafted(drafted).unwrap();
}
