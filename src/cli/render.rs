//! How failures are shown.

use std::io::Write;
use std::process::ExitCode;

/// Prints the chain of an error on stderr; exit code 1. A closed pipe is no failure.
pub(super) fn failure(error: &anyhow::Error) -> ExitCode {
    let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().filter_map(|e| e.downcast_ref()).any(closed) {
        return ExitCode::SUCCESS;
    }
    let mut chain = error.chain().map(ToString::to_string).collect::<Vec<_>>();
    chain.dedup();
    // Nothing is left to tell when stderr itself is closed.
    drop(writeln!(std::io::stderr(), "error: {}", chain.join(": ")));
    ExitCode::FAILURE
}
