//! A service manager's ends: the socket that it is told on, sockets that it hands over, and a
//! thread that hangs.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::modality::python;
use super::node::{Addresses, program, ready};
use super::objects::root;
use super::process::Running;
use super::wait::PATIENCE;

/// What a service says, line by line.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    /// For `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next message, its lines; none within `patience`.
    pub(crate) fn message(&self, patience: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(count) => {
                let text = std::str::from_utf8(&buffer[..count]).unwrap();
                Some(text.lines().map(str::to_owned).collect())
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                None
            }
        }
    }

    /// Waits for a message with a line that begins so, and gives all of its lines.
    #[track_caller]
    pub(crate) fn wait_for(&self, beginning: &str) -> Vec<String> {
        let started = Instant::now();
        let mut said = Vec::new();
        while started.elapsed() < PATIENCE {
            let Some(lines) = self.message(Duration::from_millis(200)) else { continue };
            if lines.iter().any(|line| line.starts_with(beginning)) {
                return lines;
            }
            said.push(lines);
        }
        panic!("waited {PATIENCE:?} in vain for {beginning}; said were {said:?}");
    }

    /// Everything that is said within a time.
    pub(crate) fn said_within(&self, span: Duration) -> Vec<String> {
        let until = Instant::now() + span;
        let mut said = Vec::new();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            said.extend(self.message(left.max(Duration::from_millis(1))).unwrap_or_default());
        }
        said
    }
}

/// A node that was handed its sockets; or what it said on stderr when it ended instead.
pub(crate) fn activated(
    folder: &Path,
    sockets: &str,
    environment: &[(&str, &str)],
) -> Result<(Running, SocketAddr, SocketAddr), String> {
    let own = program(folder);
    let mut command = python();
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let child = command
        .arg(root().join("tests/all/support/activated.py"))
        .args([sockets, own.get_program().to_str().unwrap(), "serve"])
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("stderr")).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    if let Ok(Addresses { dicom, http, .. }) = ready(&mut stdout) {
        return Ok((running, dicom, http));
    }
    let status = running.0.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    Err(std::fs::read_to_string(folder.join("stderr")).unwrap())
}

/// A thread that stands still until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    holder: Child,
    stdin: Option<ChildStdin>,
}

impl Held {
    /// The thread of that name.
    pub(crate) fn new(process: u32, thread: &str) -> Self {
        let script: PathBuf = root().join("tests/all/support/hold_thread.py");
        let mut command: Command = python();
        command.arg(script).args([&process.to_string(), thread]);
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n", "ptrace must be allowed here (CAP_SYS_PTRACE)");
        let stdin = holder.stdin.take();
        Self { holder, stdin }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.holder.wait());
    }
}
