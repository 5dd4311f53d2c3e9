//! `thorascribe findings`: what a report's text says of the 21 observations.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::Outcome;
use crate::findings::{self, Finding, Laterality, Severity};

/// What may be asked of `findings`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The text of one report; `-`, or nothing, is standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print `{"findings": [...]}`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let findings = findings::label(&read(arguments.file.as_deref())?);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&findings)?)?;
    } else {
        for finding in &findings.findings {
            writeln!(out, "{}", line(finding))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of a file or of standard input; bytes that are no UTF-8 become replacement characters,
/// but what no text holds is refused.
fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let bytes = match file {
        Some(path) if path != Path::new("-") => {
            std::fs::read(path).with_context(|| refused(path))?
        }
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            bytes
        }
    };
    if bytes.contains(&0) {
        let name = file.map_or("standard input".into(), |path| path.display().to_string());
        bail!(
            "{name} is no text: it holds bytes of 0, as pictures, DICOM objects and UTF-16 do; give \
             the report's text in UTF-8"
        );
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn refused(path: &Path) -> String {
    let name = path.display();
    if path.exists() {
        return format!("cannot read {name}");
    }
    format!("cannot read {name}: FILE is a file's name; a text itself goes to standard input")
}

fn line(finding: &Finding) -> String {
    let said = [finding.laterality.map(Laterality::name), finding.severity.map(Severity::name)];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let name = finding.observation.display_name();
    format!("{name:<27} {:<10} {said:<18} {}", finding.state.name(), finding.text)
        .trim_end()
        .to_owned()
}
