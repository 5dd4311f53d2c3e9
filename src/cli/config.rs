//! `thorascribe config`.

use std::path::Path;

use super::Outcome;

/// What may be asked of `config`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    anyhow::bail!("not there yet")
}
