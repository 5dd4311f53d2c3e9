//! `thorascribe config`: is the configuration right, and what does it say?

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use super::Outcome;
use crate::config::{self, Config, Environment, Examined, PromptSetting, Shown, Source};
use crate::dimse::tls;
use crate::model::{Model, PromptChoice};
use crate::observe::chain;
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
    let mut examined = Examined::read(file, &Environment::of_process())?;
    let (triage, tls) = (Triage::new(examined.config()), tls::load(examined.config()));
    let triage = examined.take(triage);
    let tls = examined.take(tls);
    check_model(&mut examined);
    let config = examined.passed()?;
    let (destinations, peers) = (config.destinations.len(), config.peers.len());
    let (rules, routes) = triage.map(|triage| triage.sizes()).unwrap_or_default();
    // No reason not to start: the node says so in its log, and works on.
    for expired in tls.into_iter().flat_map(|loaded| loaded.expired) {
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

/// The configuration for what touches no spool. Somebody who may not read the service's file gets the
/// defaults, with a word on stderr: only a node must not run on them unasked.
pub(super) fn of_user(named: Option<&Path>) -> anyhow::Result<Config> {
    let environment = Environment::of_process();
    let why = match config::file(named, &environment) {
        Err(hidden) => hidden.to_string(),
        Ok(Some(file)) if named.is_none() && !environment.names_file() => {
            match std::fs::File::open(&file) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    format!("{}: {error}", file.display())
                }
                _ => return Ok(Config::load_from(Some(&file), &environment)?),
            }
        }
        Ok(file) => return Ok(Config::load_from(file.as_deref(), &environment)?),
    };
    writeln!(std::io::stderr(), "warning: the defaults are used: {why}")?;
    Ok(Config::without_file(&environment)?)
}

/// What `serve` would refuse of the model, by its manifest alone.
fn check_model(examined: &mut Examined) {
    let model = examined.config().model.clone();
    let files = match Model::files(model.path.as_deref()) {
        Ok(files) => files,
        Err(error) => {
            let remedy = "name a model directory, see `thorascribe model check`; empty is the \
                          embedded model";
            return examined.complain("model", "path", &chain(&error), remedy);
        }
    };
    let (prompt, prompts) = (PromptChoice::from(&model.prompt), &files.manifest().prompts);
    if model.path.is_none()
        && let Some(warning) = prompt.unknown_to_embedded(prompts)
    {
        // Only a warning: nobody is worse off when it cannot be told.
        drop(writeln!(std::io::stderr(), "warning: model.prompt: {warning}"));
    }
    if let PromptSetting::Number(_) = model.prompt
        && let Err(error) = prompt.resolve(prompts)
    {
        let remedy =
            "write one of them, or a question in quotes; `thorascribe model info` lists them";
        examined.complain("model", "prompt", &error, remedy);
    }
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
