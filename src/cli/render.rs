//! How failures are shown.

use std::io::Write;
use std::process::ExitCode;

use crate::observe::chain;

/// Prints the chain of an error on stderr; exit code 1. A closed pipe is no failure.
pub(super) fn failure(error: &anyhow::Error) -> ExitCode {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().filter_map(|e| e.downcast_ref()).any(closed) {
        return ExitCode::SUCCESS;
    }
    // Nothing is left to tell when stderr itself is closed.
    drop(writeln!(std::io::stderr(), "error: {}", chain(error.as_ref())));
    ExitCode::FAILURE
}
