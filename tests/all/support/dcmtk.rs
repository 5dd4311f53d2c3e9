//! DCMTK: `storescu` and `dcmsend` as modalities, `storescp` as a PACS.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::node::destination;
use super::process::{self, Running, find, free_port};
use super::wait::{wait_for, wait_until};

/// A program of DCMTK (not pynetdicom's of the same name).
pub(crate) fn program(name: &str) -> PathBuf {
    find(name, "dcmtk (Debian)", |path| {
        let version = Command::new(path).arg("--version").stdin(Stdio::null()).output();
        version.is_ok_and(|output| process::text(&output).contains("$dcmtk"))
    })
}

/// `storescu` on one association, which sends uncompressed objects alone: how many were
/// acknowledged with Success.
#[track_caller]
pub(crate) fn storescu(port: u16, files: &[&Path]) -> usize {
    let mut command = Command::new(program("storescu"));
    command.args(["-v", "-aet", "STORESCU", "-aec", "THORASCRIBE"]);
    let output = process::run(command.arg("127.0.0.1").arg(port.to_string()).args(files));
    let text = process::text(&output);
    assert!(output.status.success(), "storescu: {}\n{text}", output.status);
    text.matches("Received Store Response (Success)").count()
}

/// `dcmsend`, which sends each object in its own transfer syntax: how many were acknowledged
/// with Success.
#[track_caller]
pub(crate) fn dcmsend(port: u16, files: &[&Path]) -> usize {
    let mut command = Command::new(program("dcmsend"));
    command.args(["-v", "-dn", "-aet", "DCMSEND", "-aec", "THORASCRIBE"]);
    let output = process::run(command.arg("127.0.0.1").arg(port.to_string()).args(files));
    let text = process::text(&output);
    assert!(output.status.success(), "dcmsend: {}\n{text}", output.status);
    text.matches("Received C-STORE Response (Success)").count()
}

/// Whether `dsrdump` reads a report without complaint; its text.
#[track_caller]
pub(crate) fn dsrdump(file: &Path) -> String {
    process::succeed(Command::new(program("dsrdump")).arg(file))
}

/// `storescp`, which writes what it receives into a folder; AE title STORESCP.
#[derive(Debug)]
pub(crate) struct Storescp {
    folder: TempDir,
    running: Running,
    port: u16,
}

impl Storescp {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        Self::with(|_| vec!["+xa".into()])
    }

    /// One that takes CR images alone, in uncompressed syntaxes.
    pub(crate) fn images_only() -> Self {
        Self::with(|folder| {
            let file = folder.join("profile.cfg");
            let profile = "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n\
                TransferSyntax2 = LittleEndianImplicit\n[[PresentationContexts]]\n[Images]\n\
                PresentationContext1 = ComputedRadiographyImageStorage\\Plain\n\
                [[Profiles]]\n[ImagesOnly]\nPresentationContexts = Images\n";
            std::fs::write(&file, profile).unwrap();
            vec!["-xf".into(), file.display().to_string(), "ImagesOnly".into()]
        })
    }

    /// One with these options.
    pub(crate) fn with(options: impl Fn(&Path) -> Vec<String>) -> Self {
        let folder = TempDir::new().unwrap();
        let received = folder.path().join("received");
        std::fs::create_dir(&received).unwrap();
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program("storescp"))
            .args(["-v", "-aet", "STORESCP", "-od"])
            .arg(&received)
            .args(options(folder.path()))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut running = Running(child);
        wait_until("storescp listens", || {
            assert!(running.is_alive(), "storescp ended at once");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { folder, running, port }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A `[[destination]]` table that sends reports to it.
    pub(crate) fn destination(&self, name: &str) -> String {
        destination(name, "STORESCP", self.port, &["report"])
    }

    /// A `[[destination]]` table that sends images and reports to it.
    pub(crate) fn destination_of_everything(&self, name: &str) -> String {
        destination(name, "STORESCP", self.port, &["report", "images"])
    }

    /// The files whose names start with a modality's two letters: `CR.…`, `DX.…`, `SRe.…`.
    pub(crate) fn received(&self, modality: &str) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path().join("received"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(modality))
            .collect()
    }

    /// Waits for the first report.
    #[track_caller]
    pub(crate) fn wait_for_report(&mut self) -> PathBuf {
        wait_for("a report in storescp", || {
            assert!(self.running.is_alive(), "storescp ended");
            self.received("SR").pop()
        })
    }
}
