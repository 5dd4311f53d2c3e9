//! `thorascribe audit`: does the chain of the audit log hold?

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::Outcome;
use crate::config::Config;
use crate::observe::audit;

/// What may be asked of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Follow the chain of the audit log; names the first line that was tampered with, exit code 1.
    Verify {
        /// One JSON object: `ok`, `files`, `messages`, `broken`.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, file: Option<&Path>) -> Outcome {
    let Action::Verify { json } = arguments.action;
    let folder = Config::load(file)?.spool.path.join(audit::FOLDER);
    let found = audit::verify(&folder)
        .with_context(|| format!("cannot read the audit log in {}", folder.display()))?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else {
        match &found.broken {
            None => writeln!(out, "ok: {} messages in {} files", found.messages, found.files)?,
            Some(broken) => {
                writeln!(out, "broken: {}:{}: {}", broken.file, broken.line, broken.reason)?;
            }
        }
    }
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
