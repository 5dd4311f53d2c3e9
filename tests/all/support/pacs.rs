//! A PACS that answers as a test tells it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::modality::python;
use super::node::destination;
use super::objects::root;
use super::process::Running;

/// Enhanced SR.
pub(crate) const ENHANCED: &str = "1.2.840.10008.5.1.4.1.1.88.22";
/// CT images: no report.
pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// A running pynetdicom.
pub(crate) struct Pacs {
    folder: TempDir,
    port: u16,
    rows: Arc<Mutex<Vec<Value>>>,
    _running: Running,
}

impl Pacs {
    /// One that takes a class and answers with a status, which words may follow, or "hang".
    pub(crate) fn start(class: &str, status: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("status"), status).unwrap();
        let mut child = python()
            .arg(root().join("tests/all/support/pacs.py"))
            .arg(folder.path())
            .arg(class)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = Running(child);
        let port = lines.next().expect("the port").unwrap().parse().unwrap();
        let rows = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&rows);
        // The thread ends with the PACS.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { folder, port, rows, _running: running }
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: &str) {
        let part = self.folder.path().join("part");
        std::fs::write(&part, status).unwrap();
        std::fs::rename(part, self.folder.path().join("status")).unwrap();
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its table in the node's configuration.
    pub(crate) fn destination(&self, name: &str) -> String {
        destination(name, "PACS", self.port, &["report"])
    }

    /// The instances that it was sent of a study, each with each of its contents.
    pub(crate) fn contents(&self, study: &str) -> BTreeSet<(String, String)> {
        let rows = self.rows.lock().unwrap();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let of_study = rows.iter().filter(|row| row["study"] == study);
        of_study.map(|row| (text(row, "instance"), text(row, "content"))).collect()
    }

    /// The instances that it was sent of a study, and how often it was sent any.
    pub(crate) fn sent(&self, study: &str) -> (BTreeSet<String>, usize) {
        let rows = self.rows.lock().unwrap();
        let of_study = || rows.iter().filter(|row| row["study"] == study);
        let instances = of_study().map(|row| row["instance"].as_str().unwrap().to_owned());
        (instances.collect(), of_study().count())
    }
}
