//! Orthanc as the PACS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::node::destination;
use super::process::{Running, find, free_port};
use super::wait::{wait_for, wait_until};
use super::{http, process};

/// A structured report that Orthanc holds.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    id: String,
    pub(crate) study: String,
    pub(crate) instance: String,
    /// All of its elements, by Orthanc's names.
    pub(crate) tags: Value,
}

/// An Orthanc with an empty storage of its own, AE title ORTHANC.
#[derive(Debug)]
pub(crate) struct Orthanc {
    folder: TempDir,
    running: Option<Running>,
    dicom: u16,
    http: u16,
}

impl Orthanc {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let mut orthanc = Self::stopped();
        orthanc.restart();
        orthanc
    }

    /// One that does not run yet; its ports are set.
    pub(crate) fn stopped() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            running: None,
            dicom: free_port(),
            http: free_port(),
        }
    }

    /// The port of its storage SCP.
    pub(crate) fn port(&self) -> u16 {
        self.dicom
    }

    /// A `[[destination]]` table that sends reports to it.
    pub(crate) fn destination(&self, name: &str) -> String {
        destination(name, "ORTHANC", self.dicom, &["report"])
    }

    /// Ends it; its storage stays.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it (again) on the same storage and ports.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let program = find("Orthanc", "orthanc (Debian)", Path::is_file);
        let storage = self.folder.path().join("storage");
        let configuration = json!({
            "Name": "the tests' PACS", "StorageDirectory": storage, "IndexDirectory": storage,
            "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
            "DicomCheckCalledAet": true, "DicomAlwaysAllowStore": true, "Plugins": [],
            "OverwriteInstances": false, "StableAge": 1, "LimitFindResults": 0,
        });
        let file = self.folder.path().join("orthanc.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = self.running.insert(Running(child));
        wait_until("Orthanc answers", || {
            assert!(running.is_alive(), "Orthanc ended: see its log");
            http::json(self.http, "/system").is_some()
        });
    }

    /// Tells it where an AE is, so that it can report to it.
    pub(crate) fn knows(&self, ae_title: &str, port: u16) {
        let modality = json!({"AET": ae_title, "Host": "127.0.0.1", "Port": port,
            "AllowStorageCommitment": true, "Manufacturer": "Generic"});
        let body = modality.to_string();
        let answer = http::request(self.http, "PUT", "/modalities/node", body.as_bytes()).unwrap();
        assert_eq!(answer.0, 200);
    }

    fn get(&self, path: &str) -> Value {
        http::json(self.http, path).unwrap_or_else(|| panic!("Orthanc does not answer {path}"))
    }

    /// Every structured report it holds.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for series in self.get("/series?expand").as_array().unwrap() {
            if series["MainDicomTags"]["Modality"] != "SR" {
                continue;
            }
            for instance in series["Instances"].as_array().unwrap() {
                let id = instance.as_str().unwrap().to_owned();
                let tags = self.get(&format!("/instances/{id}/simplified-tags"));
                let uid = |name: &str| tags[name].as_str().unwrap().to_owned();
                let (study, instance) = (uid("StudyInstanceUID"), uid("SOPInstanceUID"));
                reports.push(Report { id, study, instance, tags });
            }
        }
        reports
    }

    /// The study of each object it took, in the order in which they came.
    pub(crate) fn arrivals(&self) -> Vec<String> {
        let changes = self.get("/changes?limit=1000");
        let changes = changes["Changes"].as_array().unwrap().iter();
        let new = changes.filter(|change| change["ChangeType"] == "NewInstance");
        new.map(|change| {
            let path = format!("{}/simplified-tags", change["Path"].as_str().unwrap());
            self.get(&path)["StudyInstanceUID"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    /// The reports of a study.
    pub(crate) fn reports_of(&self, study: &str) -> Vec<Report> {
        let mut reports = self.reports();
        reports.retain(|report| report.study == study);
        reports
    }

    /// How many reports each study has.
    pub(crate) fn report_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for series in self.get("/series?expand").as_array().unwrap() {
            if series["MainDicomTags"]["Modality"] == "SR" {
                let study =
                    self.get(&format!("/studies/{}", series["ParentStudy"].as_str().unwrap()));
                let uid = study["MainDicomTags"]["StudyInstanceUID"].as_str().unwrap().to_owned();
                *counts.entry(uid).or_default() += series["Instances"].as_array().unwrap().len();
            }
        }
        counts
    }

    /// Waits for the first report of a study.
    #[track_caller]
    pub(crate) fn wait_for_report(&self, study: &str) -> Report {
        wait_for(&format!("a report of {study} in Orthanc"), || self.reports_of(study).pop())
    }

    /// Writes a report as a DICOM file.
    pub(crate) fn download(&self, report: &Report, folder: &Path) -> PathBuf {
        let (status, bytes) =
            http::request(self.http, "GET", &format!("/instances/{}/file", report.id), &[])
                .unwrap();
        assert_eq!(status, 200);
        let path = folder.join(format!("{}.dcm", report.instance));
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Runs dciodvfy (dicom3tools) on an object: its lines that say "Error".
pub(crate) fn standard_errors(file: &Path) -> Vec<String> {
    let program = find("dciodvfy", "dicom3tools (Debian)", Path::is_file);
    let output = process::run(Command::new(program).arg(file));
    process::text(&output).lines().filter(|l| l.starts_with("Error")).map(str::to_owned).collect()
}
