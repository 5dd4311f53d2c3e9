//! `thorascribe dataset`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::dataset::build::{MANIFEST, PAIRS, Progress};
use crate::dataset::keep::Drop;
use crate::dataset::rewrite::{Endpoint, Local, Rewriter};
use crate::dataset::split::Shares;
use crate::dataset::{Manifest, Settings, build};

/// What may be asked of `dataset`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Clean an archive's reports into summaries and pair them with their images.
    ///
    /// SOURCE is MIMIC-CXR (files/p10/p10000032/s50414267.txt with the images of MIMIC-CXR-JPG in
    /// the folder of the same name), Open-i (XML or the two indiana CSV tables, with PNG images), or
    /// a folder of DICOM images with SR objects or text files named by study UID or accession
    /// number. Reports without findings or impression, with findings under 10 words or an impression
    /// under 2 are dropped; comparison with earlier studies, marks of de-identification and
    /// statements about views are taken out. Writes OUT/dataset.jsonl, a pair a line, and
    /// OUT/dataset.json, which counts what was dropped and why.
    Build(BuildArguments),
}

#[derive(Debug, clap::Args)]
struct BuildArguments {
    /// The archive.
    source: PathBuf,
    /// The folder to write into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where the images are, when they lie apart from the reports.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Keep reports whose images are named but not there.
    #[arg(long)]
    text_only: bool,
    /// The share of patients kept back to choose by.
    #[arg(long, value_name = "F", default_value_t = 0.1)]
    development: f64,
    /// The share of patients kept back to quote.
    #[arg(long, value_name = "F", default_value_t = 0.1)]
    test: f64,
    /// Have a language model reword each summary: the base of an OpenAI-compatible endpoint, such as
    /// http://127.0.0.1:8000/v1. Reports are sent there. A key is taken from OPENAI_API_KEY.
    #[arg(long, value_name = "URL", requires = "endpoint_model", conflicts_with = "model")]
    endpoint: Option<String>,
    /// The model's name at the endpoint.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    endpoint_model: Option<String>,
    /// The most calls a minute.
    #[arg(long, value_name = "N", default_value_t = 60)]
    per_minute: u32,
    /// Have the language model of this model directory reword each summary.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Print dataset.json.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Part::Build(arguments) = &arguments.part;
    let shares = Shares { development: arguments.development, test: arguments.test };
    let parts = [shares.development, shares.test];
    if parts.iter().any(|share| !(0.0..1.0).contains(share)) || parts.iter().sum::<f64>() >= 1.0 {
        bail!("--development and --test: shares of at least 0 that leave something to train on");
    }
    let settings = Settings {
        source: arguments.source.clone(),
        images: arguments.images.clone(),
        text_only: arguments.text_only,
        out: arguments.out.clone(),
        shares,
    };
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")?);
    let progress = |what: Progress| match what {
        Progress::Found(many) => {
            bar.set_message("reports");
            bar.set_length(many as u64);
        }
        Progress::Rewording(many) => {
            bar.set_message("rewording");
            bar.set_position(0);
            bar.set_length(many as u64);
        }
        Progress::Read | Progress::Reworded => bar.inc(1),
    };
    let manifest = build(&settings, &rewriter(arguments)?, &progress)?;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&manifest)?)?;
    } else {
        table(&mut out, &manifest)?;
        let out = arguments.out.display();
        writeln!(std::io::stderr(), "pairs in {out}/{PAIRS}, counts in {out}/{MANIFEST}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rewriter(arguments: &BuildArguments) -> anyhow::Result<Rewriter> {
    if let (Some(url), Some(model)) = (&arguments.endpoint, &arguments.endpoint_model) {
        let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
        return Ok(Rewriter::Endpoint(Endpoint::new(url, model, key, arguments.per_minute)));
    }
    let Some(dir) = &arguments.model else { return Ok(Rewriter::Rules) };
    let local = Local::open(dir).with_context(|| dir.display().to_string())?;
    Ok(Rewriter::Local(Box::new(local)))
}

fn table(out: &mut impl Write, manifest: &Manifest) -> std::io::Result<()> {
    writeln!(out, "{:<52} {:>8}", "reports", manifest.reports)?;
    for (reason, many) in &manifest.dropped {
        writeln!(out, "{:<52} {many:>8}", format!("  dropped: {}", words(*reason)))?;
    }
    writeln!(out, "{:<52} {:>8}", "kept", manifest.kept)?;
    if let Some(paper) = manifest.paper_kept {
        writeln!(out, "{:<52} {paper:>8}", "  the paper kept of this archive")?;
    }
    for (split, many) in &manifest.splits {
        writeln!(out, "{:<52} {many:>8}", format!("  {split:?}").to_lowercase())?;
    }
    writeln!(out, "{:<52} {:>8}", "images of the kept", manifest.images)?;
    if manifest.not_reworded > 0 {
        let what = "not reworded: an empty answer, or one cut off";
        writeln!(out, "{what:<52} {:>8}", manifest.not_reworded)?;
    }
    let removed = manifest.removed;
    for (what, many) in [
        ("sentences changed for a comparison", removed.comparisons),
        ("sentences changed for a mark of de-identification", removed.marks),
        ("sentences changed for views or who was told", removed.views),
    ] {
        writeln!(out, "{what:<52} {many:>8}")?;
    }
    writeln!(out, "sha256 {}", manifest.digest)
}

fn words(reason: Drop) -> &'static str {
    match reason {
        Drop::NoFindings => "no findings",
        Drop::NoImpression => "no impression",
        Drop::ShortFindings => "findings under 10 words",
        Drop::ShortImpression => "impression under 2 words",
        Drop::NoImage => "no image",
        Drop::NothingLeft => "nothing left of the findings",
    }
}
