//! The command line of Thorascribe.

use std::process::ExitCode;

fn main() -> ExitCode {
    thorascribe::cli::main()
}
