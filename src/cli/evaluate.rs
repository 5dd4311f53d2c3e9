//! `thorascribe evaluate`: measurements against what is held for true, a file a kind.

use super::Outcome;

mod findings;

/// What may be asked of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_required = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// F1 of the findings' rules on labelled sentences or reports, by observation.
    Findings(findings::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.what {
        Some(What::Findings(arguments)) => findings::run(arguments),
        None => anyhow::bail!("say what to evaluate: see `thorascribe evaluate --help`"),
    }
}
