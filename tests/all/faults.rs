//! Disks that are full, read-only or damaged, and destinations that answer oddly or not at all:
//! nothing that was acknowledged is lost, nothing goes twice, and the queue says what is.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::support::gate::{Gate, Mode};
use super::support::job_store::{self, Phase, phases};
use super::support::node::{destination, program};
use super::support::objects::fixture;
use super::support::pacs::{CT, ENHANCED, Pacs};
use super::support::{Copy, Node, Orthanc, Settings, modality, process, wait_until};

mod lost;

/// A small file system of its own, unmounted when dropped.
struct Disk {
    _folder: TempDir,
    place: PathBuf,
}

impl Disk {
    fn mount(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("disk");
        std::fs::create_dir(&place).unwrap();
        let disk = Self { _folder: folder, place };
        disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]);
        disk
    }

    fn remount(&self, options: &str) {
        self.run("mount", &["-o", &format!("remount,{options}")]);
    }

    /// As root, or by sudo: mounting is nobody else's.
    fn run(&self, program: &str, arguments: &[&str]) {
        let path = process::find(program, "mount", |_| true);
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new(path)
        } else {
            let mut sudo = Command::new("sudo");
            sudo.arg("-n").arg(path);
            sudo
        };
        let output = process::run(command.args(arguments).arg(&self.place));
        assert!(
            output.status.success(),
            "the test needs to mount a tmpfs, as root or by sudo (in a container: with the \
             capability SYS_ADMIN): {}",
            process::text(&output)
        );
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let path = self.place.join("spool").to_str().unwrap().to_owned();
        vec![("THORASCRIBE_SPOOL__PATH", path), ("THORASCRIBE_SPOOL__MIN_FREE", "0 B".to_owned())]
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmount = || self.run("umount", &["-l"]);
        // A test that has failed already says why.
        if std::thread::panicking() {
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(unmount)));
        } else {
            unmount();
        }
    }
}

fn short_drafts(destinations: &str) -> String {
    format!("[model]\nmax_tokens = 16\n{destinations}")
}

fn status_of(node: &Node, copy: &Copy) -> u64 {
    let answers = modality::send(node.port(), 1, &[&copy.path]);
    answers[&copy.instance].unwrap_or_else(|| panic!("no answer\n{}", node.log()))
}

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost_and_all_goes_on_when_there_is_space() {
    let folder = TempDir::new().unwrap();
    let orthanc = Orthanc::start();
    let disk = Disk::mount("size=4m,mode=0700");
    let tables = short_drafts(&orthanc.destination("pacs"));
    let environment = disk.environment();
    // Studies are complete only once the disk is full.
    let mut node =
        Node::start(&Settings { tables, environment, quiet: "4s", ..Settings::default() });
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), &format!("{number:03}"));
        match status_of(&node, &copy) {
            0 => acknowledged.push(copy),
            0xA700 => refused += 1,
            other => panic!("0x{other:04X}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert!(refused == 3 && !acknowledged.is_empty(), "{refused} of {}", acknowledged.len());
    // Drafting finds no space: it waits, and says so.
    wait_until("the node meets the full disk", || node.log().contains("trying again in"));
    disk.remount("size=64m");
    for copy in &acknowledged {
        node.wait_for_state(&copy.study, "delivered");
        assert_eq!(orthanc.reports_of(&copy.study).len(), 1, "{}", node.log());
    }
    node.kill();
    node.restart();
    assert!(node.jobs(&acknowledged[0].study).iter().all(|row| row["state"] == "delivered"));
    drop(node);
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    let disk = Disk::mount("size=4m,mode=0700");
    disk.remount("ro");
    let home = TempDir::new().unwrap();
    let mut serve = program(home.path());
    serve.envs(disk.environment()).env("THORASCRIBE_NODE__BIND", "127.0.0.1:0").arg("serve");
    let output = process::run(serve.env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0"));
    let text = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let path = disk.place.display().to_string();
    assert!(text.contains(&path) && text.contains("Read-only file system"), "{text}");
}

fn delivery(row: &Value) -> &Value {
    &row["deliveries"][0]
}

#[test]
fn a_pacs_that_stores_with_a_warning_has_the_report_and_the_queue_says_what_it_said() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "B000");
    let node = Node::start(&Settings::to(&[short_drafts(&pacs.destination("pacs"))]));
    for (status, word) in [("B000", "coercion"), ("B006", "discarded"), ("B007", "match")] {
        pacs.answer(status);
        let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), status);
        assert_eq!(status_of(&node, &copy), 0);
        let row = node.wait_for_state(&copy.study, "delivered");
        assert_eq!(delivery(&row)["state"], "sent", "{row:#}");
        let reason = delivery(&row)["reason"].as_str().unwrap();
        assert!(reason.contains(status) && reason.contains(word), "{reason}");
        assert_eq!(pacs.sent(&copy.study).1, 1);
    }
}

#[test]
fn what_a_pacs_says_of_a_report_is_in_the_queue_and_in_no_log() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "A900 no room for DOE^JANE");
    let node = Node::start(&Settings::to(&[pacs.destination("pacs")]));
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let row = node.wait_for_state(&copy.study, "failed");
    let reason = delivery(&row)["reason"].as_str().unwrap();
    assert!(reason.contains("A900") && reason.ends_with(": no room for DOE^JANE"), "{reason}");
    let log = node.whole_log();
    assert!(log.contains("delivery dead") && !log.contains("DOE^JANE"), "{log}");
}

#[test]
fn a_pacs_that_has_the_report_already_is_done() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0111");
    let node = Node::start(&Settings::to(&[short_drafts(&pacs.destination("pacs"))]));
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let row = node.wait_for_state(&copy.study, "delivered");
    assert!(delivery(&row)["reason"].as_str().unwrap().contains("there already"), "{row:#}");
}

#[test]
fn a_pacs_that_refuses_reports_makes_a_dead_letter_that_goes_out_once_it_takes_them() {
    let folder = TempDir::new().unwrap();
    let (refusing, taking) = (Pacs::start(CT, "0000"), Pacs::start(ENHANCED, "0000"));
    let gate = Gate::before(refusing.port(), Mode::Open);
    let to_gate = destination("pacs", "PACS", gate.port(), &["report"]);
    let node = Node::start(&Settings::to(&[short_drafts(&to_gate)]));
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let row = node.wait_for_state(&copy.study, "failed");
    let reason = delivery(&row)["reason"].as_str().unwrap();
    assert!(reason.contains("Enhanced SR"), "{reason}");
    assert_eq!(delivery(&row)["attempts"], 1, "what cannot work is not tried again");
    gate.lead_to(taking.port());
    let retry = node.command(&["queue", "retry", &copy.study]);
    assert!(retry.status.success(), "{}", process::text(&retry));
    node.wait_for_state(&copy.study, "delivered");
    assert_eq!(taking.sent(&copy.study).1, 1);
}

#[test]
fn a_pacs_that_hangs_delays_no_other_and_gets_the_same_report_once_it_answers() {
    let folder = TempDir::new().unwrap();
    let (hanging, sound) = (Pacs::start(ENHANCED, "hang"), Pacs::start(ENHANCED, "0000"));
    let tables = [hanging.destination("hanging"), sound.destination("sound")].concat();
    let tables = format!("[receive]\ntimeout = \"1s\"\n{}", short_drafts(&tables));
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let to = |row: &Value, name: &str| {
        let all = row["deliveries"].as_array().unwrap();
        all.iter().find(|delivery| delivery["destination"] == name).unwrap().clone()
    };
    let row = node.wait_for_job(&copy.study, "two attempts in vain", |row| {
        row["deliveries"].as_array().is_some_and(|all| !all.is_empty())
            && to(row, "hanging")["attempts"].as_u64() >= Some(2)
    });
    assert_eq!(to(&row, "sound")["state"], "sent", "{row:#}");
    let reason = to(&row, "hanging")["reason"].clone();
    assert!(reason.as_str().unwrap().contains("waiting for a response"), "{reason}");
    hanging.answer("0000");
    node.wait_for_state(&copy.study, "delivered");
    let (instances, times) = hanging.sent(&copy.study);
    assert!(times >= 2 && instances.len() == 1, "{times} times: {instances:?}");
    assert_eq!(instances, sound.sent(&copy.study).0, "the same object for all");
}

/// Overwrites a part of a file, as a broken disk does.
fn damage(file: &Path, offset: u64) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(&[0xA5; 4096], offset).unwrap();
}

#[test]
fn a_damaged_job_store_is_made_anew_with_every_acknowledged_study() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0000");
    let gate = Gate::before(pacs.port(), Mode::Open);
    let to_gate = destination("pacs", "PACS", gate.port(), &["report"]);
    let mut node = Node::start(&Settings::to(&[short_drafts(&to_gate)]));
    let copies: Vec<Copy> = ["a", "b", "c", "d"]
        .map(|salt| fixture("cr-ap-jpeg-extended").copy(folder.path(), salt))
        .into();
    for copy in &copies[..2] {
        assert_eq!(status_of(&node, copy), 0);
        node.wait_for_state(&copy.study, "delivered");
    }
    gate.set(Mode::Closed);
    for (page, copy) in [(0, &copies[2]), (3, &copies[3])] {
        assert_eq!(status_of(&node, copy), 0);
        node.wait_for_state(&copy.study, "drafted");
        node.signal(rustix::process::Signal::TERM);
        assert!(node.wait_for_end().success(), "{}", node.log());
        damage(&node.spool().join("jobs.sqlite"), page * 4096);
        node.restart();
        assert!(node.log().contains("the job store was made anew"), "{}", node.log());
    }
    gate.set(Mode::Open);
    for copy in &copies {
        let row = node.wait_for_state(&copy.study, "delivered");
        assert_eq!(row["version"], 1, "{row:#}");
        let (instances, _) = pacs.sent(&copy.study);
        assert_eq!(instances.len(), 1, "no second report of {}", copy.study);
    }
    let names = std::fs::read_dir(node.spool()).unwrap().map(|e| e.unwrap().file_name());
    let kept = names.filter(|name| name.to_string_lossy().contains("damaged")).count();
    assert!(kept >= 2, "the damaged ones are kept");
}

/// DX images for presentation.
const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";

#[test]
fn the_images_of_a_study_that_cannot_be_drafted_are_forwarded_all_the_same() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(&format!("{ENHANCED},{DX}"), "0000");
    let gate = Gate::before(pacs.port(), Mode::Closed);
    let table = destination("archive", "PACS", gate.port(), &["report", "images"]);
    let tables = format!("[limits]\nside = 64\n{table}");
    let mut node = Node::start(&Settings { tables, ..Settings::default() });
    let copy = fixture("dx-pa-explicit").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let row = node.wait_for_state(&copy.study, "failed");
    assert!(row["reason"].as_str().unwrap().contains("64 each way"), "{row:#}");
    node.wait_for_job(&copy.study, "its image on the way", |row| {
        row["deliveries"].as_array().is_some_and(|all| all.len() == 1)
    });
    // Neither is forgotten with the node.
    node.kill();
    gate.set(Mode::Open);
    node.restart();
    let row = node.wait_for_job(&copy.study, "its image there", |row| {
        row["deliveries"][0]["state"] == "sent"
    });
    assert_eq!(row["deliveries"].as_array().unwrap().len(), 1, "{row:#}");
    assert_eq!((row["state"].as_str(), pacs.sent(&copy.study).1), (Some("failed"), 1));
    assert!(pacs.sent(&copy.study).0.contains(&copy.instance));
}

#[test]
fn a_file_that_cannot_be_read_at_present_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0000");
    let tables = short_drafts(&pacs.destination("pacs"));
    let node = Node::start(&Settings { tables, quiet: "3s", ..Settings::default() });
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    let object = objects(&node.spool().join("studies")).pop().expect("the object");
    let away = folder.path().join("away");
    std::fs::rename(&object, &away).unwrap();
    // What cannot be read is a folder here: the error is none of the object's.
    std::fs::create_dir(&object).unwrap();
    let row = node.wait_for_job(&copy.study, "two attempts in vain", |row| {
        row["attempts"].as_u64() >= Some(2)
    });
    assert_ne!(row["state"], "skipped", "{row:#}");
    node.wait_for_job(&copy.study, "a reason", |row| {
        row["reason"].as_str().is_some_and(|why| why.contains("cannot be read at present"))
    });
    std::fs::remove_dir(&object).unwrap();
    std::fs::copy(&away, &object).unwrap();
    let retry = node.command(&["queue", "retry", &copy.study]);
    assert!(retry.status.success(), "{}", process::text(&retry));
    node.wait_for_state(&copy.study, "delivered");
}

/// The objects below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dcm") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn what_a_destination_acknowledged_counts_though_the_audit_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0000");
    let gate = Gate::before(pacs.port(), Mode::Closed);
    let to_gate = destination("pacs", "PACS", gate.port(), &["report"]);
    let node = Node::start(&Settings::to(&[short_drafts(&to_gate)]));
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(status_of(&node, &copy), 0);
    node.wait_for_state(&copy.study, "drafted");
    // Who the patient is cannot be read.
    job_store::execute(&node.spool(), "ALTER TABLE caption RENAME TO hidden");
    gate.set(Mode::Open);
    wait_until("the report arrives", || pacs.sent(&copy.study).1 > 0);
    wait_until("the node knows", || phases(&node.spool()).get(&copy.study) == Some(&Phase::Ended));
    job_store::execute(&node.spool(), "ALTER TABLE hidden RENAME TO caption");
    let row = node.wait_for_state(&copy.study, "delivered");
    assert_eq!(row["deliveries"][0]["state"], "sent", "{row:#}");
    assert_eq!(pacs.sent(&copy.study).1, 1, "it went once\n{}", node.log());
    assert!(node.log().contains("lacks a patient's ID"), "{}", node.log());
}
