//! `thorascribe evaluate`: measurements against what is held for true, a file a kind.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;
use serde::Serialize;

use super::Outcome;

mod boxes;
mod calibrate;
mod findings;
mod images;
mod texts;

/// What may be asked of `evaluate`: `--images` and `--labels` measure a model, `--hypotheses` and
/// `--references` texts.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group = ArgGroup::new("measured").args(["images", "hypotheses"]).required(true).multiple(true)
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    images: images::Arguments,
    /// Texts, a report a line; with --references.
    #[arg(long, value_name = "FILE", requires = "references", conflicts_with_all = ["images", "labels"])]
    hypotheses: Option<PathBuf>,
    /// What each line should have said.
    #[arg(long, value_name = "FILE", requires = "hypotheses")]
    references: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// F1 of the findings' rules on labelled sentences or reports, by observation.
    Findings(findings::Arguments),
    /// How often the model looks where a finding is, on images with boxes (column `boxes`, as
    /// `[["Mass", [left, top, width, height]]]` in pixels).
    Boxes(boxes::Arguments),
    /// Thresholds for a model's scores on a labelled development set, as lines for its
    /// `manifest.toml`; temperatures too for a model that is asked questions.
    Calibrate(calibrate::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.what {
        Some(What::Findings(arguments)) => return findings::run(arguments),
        Some(What::Boxes(arguments)) => return boxes::run(arguments),
        Some(What::Calibrate(arguments)) => return calibrate::run(arguments),
        None => {}
    }
    if let (Some(hypotheses), Some(references)) = (&arguments.hypotheses, &arguments.references) {
        return texts::run(hypotheses, references, arguments.json);
    }
    images::run(&arguments.images, arguments.json)
}

/// Prints what was measured: one JSON object, or a table to read.
fn output<T: Serialize>(
    json: bool,
    object: impl FnOnce() -> T,
    table: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Outcome {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&object())?)?;
    } else {
        table(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A figure of a table.
fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}
