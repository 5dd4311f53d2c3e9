//! The node under test: the real program, with a configuration and a spool of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::process::{self, Running};
use super::wait::{PATIENCE, wait_for};

/// What a test sets; everything else is the node's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `[[destination]]` tables and whatever else, after the tables below.
    pub(crate) tables: String,
    /// `study.quiet`; empty: half a second.
    pub(crate) quiet: &'static str,
    /// `deliver.max_attempts`; 0: the default.
    pub(crate) max_attempts: u32,
    /// Further environment, for example `THORASCRIBE_DELIVER__…`.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Settings {
    /// Reports go to these destinations.
    pub(crate) fn to(destinations: &[String]) -> Self {
        Self { tables: destinations.concat(), ..Self::default() }
    }
}

/// A `[[destination]]` table for reports to a port of the loopback.
pub(crate) fn destination(name: &str, ae_title: &str, port: u16, receives: &[&str]) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nae_title = \"{ae_title}\"\nhost = \"127.0.0.1\"\n\
         port = {port}\nreceives = {receives:?}\n"
    )
}

/// A program call with no trace of the user's own configuration.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THORASCRIBE_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).stdin(Stdio::null()).current_dir(home);
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env(name, home.join(name));
    }
    command
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    running: Running,
    stdout: Option<BufReader<ChildStdout>>,
    pub(crate) dicom: SocketAddr,
    pub(crate) http: SocketAddr,
    tls: Option<SocketAddr>,
}

impl Node {
    /// Starts a node on free ports and an empty spool, and waits until it is ready.
    pub(crate) fn start(settings: &Settings) -> Self {
        let folder = TempDir::new().unwrap();
        let quiet = if settings.quiet.is_empty() { "500ms" } else { settings.quiet };
        let mut toml = format!(
            "[node]\nbind = \"127.0.0.1:0\"\n[http]\nbind = \"127.0.0.1:0\"\n\
             [spool]\npath = {:?}\nmin_free = \"1 MiB\"\n[study]\nquiet = \"{quiet}\"\n",
            folder.path().join("spool")
        );
        if settings.max_attempts > 0 {
            write!(toml, "[deliver]\nmax_attempts = {}\n", settings.max_attempts).unwrap();
        }
        toml.push_str(&settings.tables);
        std::fs::write(folder.path().join("thorascribe.toml"), toml).unwrap();
        let environment = settings.environment.clone();
        let (running, stdout, Addresses { dicom, http, tls }) = launch(folder.path(), &environment);
        Self { folder, environment, running, stdout: Some(stdout), dicom, http, tls }
    }

    /// The text of its configuration file.
    pub(crate) fn configuration(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("thorascribe.toml")).unwrap()
    }

    /// Writes its configuration file anew; the node reads it when told to.
    pub(crate) fn configure(&self, toml: &str) {
        std::fs::write(self.folder.path().join("thorascribe.toml"), toml).unwrap();
    }

    /// Where modalities send to: host and port.
    pub(crate) fn port(&self) -> u16 {
        self.dicom.port()
    }

    /// Where modalities send to over TLS.
    #[track_caller]
    pub(crate) fn tls(&self) -> u16 {
        self.tls.unwrap().port()
    }

    /// Ends the node without a chance to finish anything.
    pub(crate) fn kill(&mut self) {
        self.running.kill();
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.running.is_alive()
    }

    /// Starts it again on the same spool; the ports may be others.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let (running, stdout, addresses) = launch(self.folder.path(), &self.environment);
        (self.running, self.stdout) = (running, Some(stdout));
        (self.dicom, self.http, self.tls) = (addresses.dicom, addresses.http, addresses.tls);
    }

    /// Sends a signal to the node.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running.0), signal).unwrap();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.running.0.id()
    }

    /// What of it lies in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The same without what is only a view of files, which the system takes back when it needs it.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.0.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until the node has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.running.0.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the node did not end:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What it printed on stdout after the line that says it is ready.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut rest).unwrap();
        }
        rest
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        tail(&self.folder.path().join("stderr"))
    }

    /// All of its log.
    pub(crate) fn whole_log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its log at INFO names no patient: every fixture's header says who it is in these words.
    #[track_caller]
    pub(crate) fn assert_log_names_no_patient(&self) {
        let log = self.whole_log();
        assert!(log.contains("INFO"), "{log}");
        for held in ["Fixture^", "FIX0", "ACC0"] {
            assert!(!log.contains(held), "the log holds {held}:\n{log}");
        }
    }

    /// The node's spool folder.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A subcommand with this node's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = program(self.folder.path());
        command.arg("--config").arg(self.folder.path().join("thorascribe.toml"));
        process::run(command.envs(self.environment.iter().cloned()).args(arguments))
    }

    /// The rows of `queue list --json`.
    #[track_caller]
    pub(crate) fn queue(&self) -> Vec<Value> {
        let output = self.command(&["queue", "list", "--json"]);
        assert!(output.status.success(), "{}", process::text(&output));
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The rows of one study, oldest version first.
    #[track_caller]
    pub(crate) fn jobs(&self, study: &str) -> Vec<Value> {
        let mut jobs = self.queue();
        jobs.retain(|job| job["study"] == study);
        jobs.sort_by_key(|job| job["version"].as_u64());
        jobs
    }

    /// Waits until the newest job of a study is in a state, and gives its row.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, study: &str, state: &str) -> Value {
        self.wait_for_job(study, &format!("state {state}"), |job| job["state"] == state)
    }

    /// Waits until the newest job of a study is as wanted, and gives its row.
    #[track_caller]
    pub(crate) fn wait_for_job(
        &self,
        study: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let started = Instant::now();
        wait_for(what, || {
            let newest = self.jobs(study).pop();
            assert!(
                started.elapsed() < PATIENCE,
                "waited for {what} of {study}, which is {newest:#?}\n{}",
                self.log()
            );
            newest.filter(&wanted)
        })
    }

    /// Waits until no job of so many studies is under way, and gives the newest row of each.
    /// Fails when [`PATIENCE`] passes without progress.
    #[track_caller]
    pub(crate) fn wait_until_settled(&self, studies: usize) -> BTreeMap<String, Value> {
        let (mut settled, mut since) = (0, Instant::now());
        loop {
            let mut rows = BTreeMap::new();
            for row in self.queue() {
                rows.insert(row["study"].as_str().unwrap().to_owned(), row);
            }
            let done = rows.values().filter(|row| is_settled(row)).count();
            if done == studies {
                return rows;
            }
            if done != settled {
                (settled, since) = (done, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{done} of {studies} settled:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    }
}

fn is_settled(row: &Value) -> bool {
    ["delivered", "skipped", "failed"].iter().any(|state| row["state"] == *state)
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the end of the node's log:\n{}", self.log());
        }
    }
}

fn launch(
    folder: &Path,
    environment: &[(&'static str, String)],
) -> (Running, BufReader<ChildStdout>, Addresses) {
    let log = folder.join("stderr");
    let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
    let mut child = program(folder)
        .envs(environment.iter().cloned())
        .arg("--config")
        .arg(folder.join("thorascribe.toml"))
        .arg("serve")
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let addresses = ready(&mut stdout)
        .unwrap_or_else(|line| panic!("the node said {line:?}, not ready:\n{}", tail(&log)));
    (running, stdout, addresses)
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) dicom: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
}

/// The addresses in the line that says the node is ready; else what it printed.
pub(crate) fn ready(stdout: &mut impl BufRead) -> Result<Addresses, String> {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let addresses = || {
        let mut words = line.trim_end().strip_prefix("ready ")?.split(' ');
        let dicom = words.next()?.strip_prefix("dicom=")?.parse().ok()?;
        let http = words.next()?.strip_prefix("http=")?.parse().ok()?;
        let tls = words.next().and_then(|word| word.strip_prefix("tls=")?.parse().ok());
        Some(Addresses { dicom, http, tls })
    };
    addresses().ok_or_else(|| line.clone())
}

fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
