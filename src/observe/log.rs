//! The log: lines on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts the log as configured. A second call changes nothing.
pub fn init(log: &Log) {
    start(filter(&log.level), log.format);
}

/// Starts the log for commands whose stderr is for their user: warnings and errors only.
pub fn init_quiet() {
    start(filter("warn"), LogFormat::Text);
}

/// What is not wanted of a library: dicom-rs warns of each empty sequence that it reads.
const LIBRARIES: &str = "dicom_parser=error";

/// The configuration has parsed the directives before; what fails all the same is left out. What
/// they say of a library comes after, and so replaces, what is said here.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(format!("{LIBRARIES},{directives}"))
}

fn start(filter: EnvFilter, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only the first log of a process counts: tests start several nodes in one.
    drop(started);
}
