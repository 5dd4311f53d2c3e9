//! `thorascribe evaluate --hypotheses FILE --references FILE`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

use super::{figure, output};
use crate::cli::Outcome;
use crate::evaluate::text::{TextFigures, compare};

/// The F1s of the paper's table (Thawakar et al., BioNLP 2024): ROUGE-1, ROUGE-2, ROUGE-L.
const PAPER: [(&str, [f64; 3]); 2] =
    [("MiniGPT-4", [0.1313, 0.0221, 0.0896]), ("XrayGPT", [0.3213, 0.0912, 0.1997])];
const SEED: u64 = 0;

pub(super) fn run(hypotheses: &Path, references: &Path, json: bool) -> Outcome {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let (said, so) = (read(hypotheses)?, read(references)?);
    if so.is_empty() && said.is_empty() {
        let (said, so) = (hypotheses.display(), references.display());
        bail!("{said} and {so} are empty: nothing to compare; write a report a line");
    }
    let figures = compare(&lines(&said), &lines(&so), SEED)?;
    output(json, || &figures, |out| markdown(out, &figures))
}

/// A report a line; an empty line is an empty report.
fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn markdown(out: &mut dyn Write, figures: &TextFigures) -> std::io::Result<()> {
    writeln!(out, "{} pairs.\n", figures.pairs)?;
    writeln!(out, "| | precision | recall | F1 | 95% interval |\n| --- | --- | --- | --- | --- |")?;
    let range = |name: &str| {
        let interval = figures.intervals.get(name).copied().flatten();
        interval.map_or_else(|| "-".to_owned(), |i| format!("{:.4} to {:.4}", i.low, i.high))
    };
    let rows = [
        ("ROUGE-1", "rouge1", figures.rouge1),
        ("ROUGE-2", "rouge2", figures.rouge2),
        ("ROUGE-L", "rougeL", figures.rouge_l),
    ];
    for (name, key, o) in rows {
        let range = range(key);
        writeln!(out, "| {name} | {:.4} | {:.4} | {:.4} | {range} |", o.precision, o.recall, o.f1)?;
    }
    writeln!(out, "| BLEU-4 | | | {:.4} | {} |", figures.bleu4, range("bleu4"))?;
    let of_findings = [
        ("micro", figures.findings_f1.micro, "findings_micro"),
        ("macro", figures.findings_f1.macro_, "findings_macro"),
    ];
    for (kind, value, key) in of_findings {
        writeln!(out, "| findings, {kind} | | | {} | {} |", figure(value), range(key))?;
    }
    writeln!(out, "\nThe paper's table, on its own test set:\n")?;
    writeln!(out, "| | R-1 | R-2 | R-L |\n| --- | --- | --- | --- |")?;
    let own = [figures.rouge1.f1, figures.rouge2.f1, figures.rouge_l.f1];
    for (name, [one, two, long]) in PAPER.into_iter().chain([("these texts", own)]) {
        writeln!(out, "| {name} | {one:.4} | {two:.4} | {long:.4} |")?;
    }
    writeln!(
        out,
        "\nROUGE as the Python package rouge-score (no stemmer); BLEU-4 the mean of sentences, \
         smoothed as sacreBLEU does."
    )
}
