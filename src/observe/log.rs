//! The log: lines on stderr.
//!
//! A thread of its own writes them. Where nobody reads them, or the disk that they go to is full,
//! lines are lost and the node goes on.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Lines that wait for a slow reader, at most; more are lost.
const WAITING: usize = 10_000;

/// Writes, when it is dropped, the lines that still wait.
#[must_use = "dropped, it ends the log"]
pub struct Logging(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// Starts the log as configured. A second call changes nothing.
pub fn init(log: &Log) -> Logging {
    start(filter(&log.level), log.format)
}

/// Starts the log for commands whose stderr is for their user: warnings and errors only.
pub fn init_quiet() -> Logging {
    start(filter("warn"), LogFormat::Text)
}

/// What is not wanted of a library: dicom-rs warns of each empty sequence that it reads.
const LIBRARIES: &str = "dicom_parser=error";

/// The configuration has parsed the directives before; what fails all the same is left out. What
/// they say of a library comes after, and so replaces, what is said here.
fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(format!("{LIBRARIES},{directives}"))
}

fn start(filter: EnvFilter, format: LogFormat) -> Logging {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say on stderr that stderr cannot be written, and panic when that fails too.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only the first log of a process counts: tests start several nodes in one.
    drop(started);
    Logging(guard)
}
