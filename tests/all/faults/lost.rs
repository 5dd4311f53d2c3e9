//! A job store that is gone, emptied, or without the end of its log: the node takes in anew what
//! lies there, and no destination gets a second report or another content under the same UID.

use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::TempDir;

use super::{short_drafts, status_of};
use crate::support::gate::{Gate, Mode};
use crate::support::node::destination;
use crate::support::objects::fixture;
use crate::support::pacs::{ENHANCED, Pacs};
use crate::support::{Copy, Node, Settings};

/// A node, two studies delivered and two drafted whose destination is down; killed.
struct Killed {
    folder: TempDir,
    pacs: Pacs,
    gate: Gate,
    node: Node,
    studies: Vec<Copy>,
}

impl Killed {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let pacs = Pacs::start(ENHANCED, "0000");
        let gate = Gate::before(pacs.port(), Mode::Open);
        let to_gate = destination("pacs", "PACS", gate.port(), &["report"]);
        let mut node = Node::start(&Settings::to(&[short_drafts(&to_gate)]));
        let mut studies = Vec::new();
        for (salt, state) in [("a", "delivered"), ("b", "delivered"), ("c", "drafted")] {
            if state == "drafted" {
                gate.set(Mode::Closed);
            }
            let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), salt);
            assert_eq!(status_of(&node, &copy), 0);
            node.wait_for_state(&copy.study, state);
            studies.push(copy);
        }
        // One is acknowledged a moment before the end.
        let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), "d");
        assert_eq!(status_of(&node, &copy), 0);
        studies.push(copy);
        node.kill();
        Self { folder, pacs, gate, node, studies }
    }

    /// The store is as it is now: it starts, and every study ends with one report.
    #[track_caller]
    fn check(&mut self, what: &str) {
        self.gate.set(Mode::Open);
        self.node.restart();
        for copy in &self.studies {
            let row = self.node.wait_for_state(&copy.study, "delivered");
            assert_eq!(row["version"], 1, "{what}: {row:#}");
            let contents = self.pacs.contents(&copy.study);
            assert_eq!(contents.len(), 1, "{what}: of {}: {contents:?}", copy.study);
        }
        // What comes now is taken as ever.
        let salt = format!("{}", self.studies.len());
        let copy = fixture("cr-ap-jpeg-extended").copy(self.folder.path(), &salt);
        assert_eq!(status_of(&self.node, &copy), 0, "{what}");
        self.node.wait_for_state(&copy.study, "delivered");
        self.studies.push(copy);
        self.node.kill();
    }
}

fn store(spool: &Path, suffix: &str) -> std::path::PathBuf {
    spool.join(format!("jobs.sqlite{suffix}"))
}

fn remove(spool: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(store(spool, suffix)));
    }
}

#[test]
fn a_missing_or_empty_job_store_loses_no_study_and_reports_none_twice() {
    let mut killed = Killed::new();
    let spool = killed.node.spool();
    remove(&spool);
    killed.check("a missing store");
    assert!(killed.node.log().contains("taken in anew"), "{}", killed.node.log());
    remove(&spool);
    std::fs::write(store(&spool, ""), b"").unwrap();
    killed.check("an empty store");
}

#[test]
fn a_log_of_the_job_store_that_is_lost_or_damaged_loses_no_study_and_reports_none_twice() {
    let mut killed = Killed::new();
    let spool = killed.node.spool();
    let log = store(&spool, "-wal");
    let length = std::fs::metadata(&log).unwrap().len();
    assert!(length > 50_000, "the log holds what happened: {length} bytes");
    // A bit flips a good way into it; all from there on is void.
    let file = std::fs::File::options().read(true).write(true).open(&log).unwrap();
    let at = length * 2 / 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    drop(file);
    killed.check("a damaged log");
    // And all of it is lost.
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    std::fs::remove_file(&log).unwrap();
    killed.check("a lost log");
}
