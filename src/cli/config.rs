//! `thorascribe config`: is the configuration right, and what does it say?

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::Outcome;
use crate::config::{self, Config, Environment, Shown, Source};
use crate::dimse::tls;
use crate::model::{Model, PromptChoice};
use crate::triage::Triage;

/// What may be asked of `config`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check the file and the environment; every error at once, exit code 1. A certificate that
    /// expired is a warning.
    Check,
    /// Show every value and where it came from: default, file or variable.
    Show {
        /// One JSON object a value.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, file: Option<&Path>) -> Outcome {
    match arguments.action {
        Action::Check => check(file),
        Action::Show { json } => show(file, json),
    }
}

fn check(file: Option<&Path>) -> Outcome {
    let config = Config::load(file)?;
    let (destinations, peers) = (config.destinations.len(), config.peers.len());
    let (rules, routes) = Triage::new(&config)?.sizes();
    check_model(&config)?;
    // No reason not to start: the node says so in its log, and works on.
    for expired in tls::load(&config)?.expired {
        writeln!(std::io::stderr(), "warning: {expired}")?;
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "ok: destinations {destinations}, peers {peers}, rules {rules}, routes {routes}, spool {}",
        config.spool.path.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What `serve` would refuse of the model, by its manifest alone.
fn check_model(config: &Config) -> anyhow::Result<()> {
    let files = Model::files(config.model.path.as_deref()).context("model.path")?;
    let (prompt, prompts) = (PromptChoice::from(&config.model.prompt), &files.manifest().prompts);
    prompt.resolve(prompts).context("model.prompt")?;
    if config.model.path.is_none()
        && let Some(warning) = prompt.unknown_to_embedded(prompts)
    {
        writeln!(std::io::stderr(), "warning: model.prompt: {warning}")?;
    }
    Ok(())
}

fn show(file: Option<&Path>, json: bool) -> Outcome {
    let (_, values) = config::show(file, &Environment::of_process())?;
    let mut out = std::io::stdout().lock();
    for value in &values {
        if json {
            writeln!(out, "{}", serde_json::to_string(value)?)?;
        } else {
            writeln!(out, "{}", line(value))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn line(shown: &Shown) -> String {
    let setting = format!("{} = {}", shown.key, shown.value);
    let source = match &shown.source {
        Source::Default { override_by: None } => "default".to_owned(),
        Source::Default { override_by: Some(variable) } => format!("default; {variable}"),
        Source::File { file, line } => format!("{file}:{line}"),
        Source::Variable { variable } => format!("variable {variable}"),
    };
    match &shown.means {
        Some(means) => format!("{setting:<44} # {source} ({means})"),
        None => format!("{setting:<44} # {source}"),
    }
}
