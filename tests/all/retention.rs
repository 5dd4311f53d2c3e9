//! What the running node keeps, for how long, and who can read it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::audit::messages;
use super::support::job_store::rows;
use super::support::objects::fixture;
use super::support::pacs::{ENHANCED, Pacs};
use super::support::{Node, Settings, modality, wait_until};

/// Everything below a folder, folders too.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.clone());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn objects(node: &Node) -> usize {
    let all = everything(&node.spool());
    all.iter().filter(|path| path.extension().is_some_and(|extension| extension == "dcm")).count()
}

#[test]
fn pixels_go_after_the_last_destination_has_its_report_and_text_stays() {
    let folder = TempDir::new().unwrap();
    let (quick, slow) = (Pacs::start(ENHANCED, "0000"), Pacs::start(ENHANCED, "A700"));
    let tables = format!(
        "[model]\nmax_tokens = 16\n[retention]\nafter_delivery = \"2s\"\n{}{}",
        quick.destination("quick"),
        slow.destination("slow")
    );
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(modality::send(node.port(), 1, &[&copy.path])[&copy.instance], Some(0));
    let attempts = |row: &Value, name: &str| {
        let all = row["deliveries"].as_array().unwrap();
        all.iter().find(|one| one["destination"] == name).and_then(|one| one["attempts"].as_u64())
    };
    // Two seconds, then up to six: longer than what is kept after a delivery.
    node.wait_for_job(&copy.study, "three attempts", |row| attempts(row, "slow") >= Some(3));
    assert_eq!((quick.sent(&copy.study).1, objects(&node)), (1, 1), "one destination waits");
    slow.answer("0000");
    let retry = node.command(&["queue", "retry", &copy.study]);
    assert!(retry.status.success());
    node.wait_for_state(&copy.study, "delivered");
    wait_until("the pixels are gone", || objects(&node) == 0);
    let shown = node.command(&["queue", "show", &copy.study, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown["text"].as_str().is_some_and(|text| !text.is_empty()), "{shown:#}");
    wait_until("the deletion is noted", || {
        messages(&node)
            .iter()
            .any(|message| message.contains("DICOM Study Deleted") && message.contains(&copy.study))
    });
}

#[test]
fn a_spool_that_others_could_look_into_is_closed_to_them() {
    let mut node = Node::start(&Settings::default());
    node.kill();
    std::fs::set_permissions(node.spool(), std::fs::Permissions::from_mode(0o755)).unwrap();
    node.restart();
    let mode = node.spool().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    assert!(node.log().contains("others could look into the spool"), "{}", node.log());
}

#[test]
fn with_a_lax_umask_too_only_the_node_s_user_can_read_its_spool() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0000");
    let tables = format!("[model]\nmax_tokens = 16\n{}", pacs.destination("pacs"));
    let mut node = Node::start(&Settings { tables, ..Settings::default() });
    let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "a");
    assert_eq!(modality::send(node.port(), 1, &[&copy.path])[&copy.instance], Some(0));
    node.wait_for_state(&copy.study, "delivered");
    node.kill();
    let all = everything(&node.spool());
    let names: Vec<_> =
        all.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for name in ["jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "node.lock"] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
    for path in &all {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}", path.display());
    }
}

#[test]
fn a_node_killed_while_it_deletes_goes_on_and_keeps_what_it_should() {
    const STUDIES: usize = 3;
    let folder = TempDir::new().unwrap();
    let pacs = Pacs::start(ENHANCED, "0000");
    let tables = format!(
        "[model]\nmax_tokens = 8\n[retention]\nafter_delivery = \"5s\"\n{}",
        pacs.destination("pacs")
    );
    let mut node = Node::start(&Settings { tables, ..Settings::default() });
    let copies: Vec<_> = (0..STUDIES)
        .map(|n| fixture("cr-ap-rle").copy(folder.path(), &format!("{n:02}")))
        .collect();
    let files: Vec<&Path> = copies.iter().map(|copy| copy.path.as_path()).collect();
    let answers = modality::send(node.port(), 1, &files);
    assert!(answers.values().all(|status| *status == Some(0)), "{answers:?}");
    // One of the files cannot be deleted: the node is between rows and files when it dies.
    let object = rows(&node.spool(), "SELECT file FROM object ORDER BY file").remove(0).remove(0);
    let object = node.spool().join(object);
    for copy in &copies {
        node.wait_for_state(&copy.study, "delivered");
    }
    std::fs::remove_file(&object).unwrap();
    std::fs::create_dir(&object).unwrap();
    std::fs::write(object.join("in the way"), b"").unwrap();
    let doomed = || rows(&node.spool(), "SELECT file FROM doomed").len();
    wait_until("one is left", || doomed() == 1 && objects(&node) == 1);
    node.kill();
    node.restart();
    let doomed = || rows(&node.spool(), "SELECT file FROM doomed").len();
    assert_eq!(doomed(), 1, "it is not forgotten");
    std::fs::remove_dir_all(&object).unwrap();
    wait_until("nothing is left to delete", || doomed() == 0);
    for copy in &copies {
        node.wait_for_state(&copy.study, "delivered");
        assert_eq!(pacs.sent(&copy.study).1, 1, "nothing goes again");
    }
    let all = everything(&node.spool());
    let reports = all.iter().filter(|path| path.extension().is_some_and(|e| e == "report"));
    assert_eq!(reports.count(), 3 * STUDIES, "the reports stay, one an SR class");
}
