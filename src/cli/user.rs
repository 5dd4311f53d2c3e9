//! `thorascribe user`: lines for the `[[user]]` tables of the configuration.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin, stdout};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Outcome;
use crate::vocabulary::Credential;

/// What may be asked of `user`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Read a password from stdin and print its argon2 line, for the key `hash` of a `[[user]]`.
    Hash,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Action::Hash = arguments.action;
    let password = if stdin().is_terminal() {
        let password = unseen("Password: ")?;
        ensure!(password == unseen("Again: ")?, "the two passwords differ; nothing was printed");
        password
    } else {
        line()?
    };
    writeln!(stdout(), "{}", Credential::of(&password)?.reveal())?;
    Ok(ExitCode::SUCCESS)
}

/// The next line of stdin, without its end.
fn line() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = stdin().lock().read_line(&mut text).context("cannot read a password from stdin")?;
    ensure!(read > 0, "no password on stdin: type one, or pipe one in");
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal without showing what is typed.
fn unseen(question: &str) -> anyhow::Result<String> {
    let mut out = stderr();
    write!(out, "{question}")?;
    out.flush()?;
    let terminal = stdin();
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let typed = line();
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    writeln!(out)?;
    typed
}
