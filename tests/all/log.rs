//! A log that cannot be written, or that nobody reads, holds nothing up.

use std::io::BufReader;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::support::dcmtk;
use super::support::node::{program, ready};
use super::support::process::{self, Running};
use super::support::wait_for;

/// A node whose stderr goes there, asked so many times whether it is there, and told to stop.
#[track_caller]
fn runs_with(stderr: Stdio, level: &str, echoes: usize) {
    let home = TempDir::new().unwrap();
    let mut child = program(home.path())
        .env("THORASCRIBE_NODE__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_HTTP__BIND", "127.0.0.1:0")
        .env("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB")
        .env("THORASCRIBE_LOG__LEVEL", level)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let pid = Pid::from_child(&child);
    let mut running = Running(child);
    let port = ready(&mut stdout).unwrap().dicom.port().to_string();
    for _ in 0..echoes {
        let mut echo = Command::new(dcmtk::program("echoscu"));
        process::succeed(echo.args(["-to", "10", "-aec", "THORASCRIBE", "127.0.0.1", &port]));
    }
    kill_process(pid, Signal::TERM).unwrap();
    let ended = wait_for("the node's end", || running.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_full_disk_under_the_log_does_not_end_the_node() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    runs_with(full.into(), "info", 3);
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_the_node_up() {
    // More than the 64 KiB of a pipe.
    runs_with(Stdio::piped(), "trace", 40);
}
