//! `thorascribe evaluate --images DIR --labels FILE.csv`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

use super::{figure, output};
use crate::cli::{Outcome, draft};
use crate::evaluate::figures::{Auroc, Figures, figures};
use crate::evaluate::look::{self, Seen};
use crate::evaluate::table::{self, Choice, Study, Table};
use crate::evaluate::{EvaluateError, changes, page};
use crate::model::Model;
use crate::observe::chain;
use crate::radiograph::GreyImage;

/// The labelled images and the model.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Measure "abnormal" within each value of this column too (repeatable; else `view`, where the
    /// table has it).
    #[arg(long, value_name = "COLUMN")]
    by: Vec<String>,
    /// Write a page a study: image, labels or reference text, draft, scores.
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// Measure how far the score of "abnormal" moves when the same images are shown in another way.
    #[arg(long)]
    changes: bool,
}

/// What every measurement on images is told.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Data {
    /// The model directory; else the embedded model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where the images lie: PNG, JPEG or DICOM.
    #[arg(long, value_name = "DIR", requires = "labels")]
    images: Option<PathBuf>,
    /// A CSV table: `image`, observations or NIH's columns as 1 and 0; optional `abnormal`,
    /// `patient`, `split`, `view`.
    #[arg(long, value_name = "FILE.csv", requires = "images")]
    labels: Option<PathBuf>,
    /// Only rows of this split (repeatable).
    #[arg(long, value_name = "NAME")]
    split: Vec<String>,
    /// Pass over rows whose image is not there, cannot be read or is no chest radiograph; stderr
    /// names the latter.
    #[arg(long)]
    skip_missing: bool,
    /// Of the resampling.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

impl Data {
    /// The table.
    pub(super) fn table(&self) -> anyhow::Result<Table> {
        let (Some(images), Some(labels)) = (&self.images, &self.labels) else {
            bail!(
                "give --images DIR and --labels FILE.csv, or --hypotheses FILE and --references FILE"
            );
        };
        let choice = Choice { splits: self.split.clone(), skip_missing: self.skip_missing };
        Ok(table::read(labels, images, &choice)?)
    }

    /// The model.
    pub(super) fn model(&self) -> anyhow::Result<Model> {
        Ok(match &self.model {
            Some(folder) => Model::open(folder)?,
            None => Model::embedded()?,
        })
    }

    /// Does something with each study, with a progress bar on stderr. Where such rows are to be
    /// passed over, a study whose image cannot be measured leaves the table.
    pub(super) fn each<T: Send>(
        &self,
        table: &mut Table,
        work: impl Fn(&Study) -> Result<T, EvaluateError> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let bar = progress(table)?;
        let one = |study: &Study| match work(study) {
            Err(EvaluateError::Image { source, .. }) if self.skip_missing => Ok(Err(source)),
            result => result.map(Ok),
        };
        let results = look::each(&table.studies, one, || bar.inc(1));
        bar.finish_and_clear();
        let (mut found, mut passed) = (Vec::new(), 0);
        for (study, result) in std::mem::take(&mut table.studies).into_iter().zip(results?) {
            match result {
                Ok(value) => {
                    found.push(value);
                    table.studies.push(study);
                }
                Err(reason) => {
                    let reason = chain(reason.as_ref());
                    writeln!(std::io::stderr(), "passed over: {}: {reason}", study.name)?;
                    passed += 1;
                }
            }
        }
        if passed > 0 {
            writeln!(std::io::stderr(), "images passed over: {passed}")?;
            if found.is_empty() {
                bail!("no image of the table can be measured on; see to --images and the table");
            }
        }
        table.skipped += passed;
        Ok(found)
    }

    /// What the model says of each study.
    pub(super) fn look(
        &self,
        model: &Model,
        table: &mut Table,
        drafts: bool,
    ) -> anyhow::Result<Vec<Seen>> {
        self.each(table, |study| look::look(model, study, drafts, &read))
    }
}

/// Reads an image for a measurement.
pub(super) fn read(file: &Path) -> Result<GreyImage, Box<dyn std::error::Error + Send + Sync>> {
    Ok(draft::read_image(file)?)
}

/// On stderr, a step a study.
fn progress(table: &Table) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(table.studies.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} images, {eta} left")?);
    Ok(bar)
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Outcome {
    let started = Instant::now();
    let mut table = arguments.data.table()?;
    let by = columns(&arguments.by, &table)?;
    if let Some(folder) = &arguments.html {
        page::prepare(folder)?;
    }
    let model = arguments.data.model()?;
    let seen = arguments.data.look(&model, &mut table, true)?;
    let mut figures = figures(&model, &table, &seen, &by, arguments.data.seed);
    if arguments.changes {
        let bar = progress(&table)?;
        let moved = changes::measure(&model, &table.studies, &read, || bar.inc(1));
        bar.finish_and_clear();
        figures.changes = Some(moved?);
    }
    if let Some(folder) = &arguments.html {
        page::write(folder, model.name(), &table, &seen, &read)?;
    }
    figures.seconds.total = started.elapsed().as_secs_f64();
    output(json, || &figures, |out| markdown(out, &figures))
}

/// The columns to measure within, by name in lower case.
fn columns(asked: &[String], table: &Table) -> anyhow::Result<Vec<String>> {
    let by = asked.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>();
    let known = |name: &str| table.studies.iter().any(|study| study.column(name).is_some());
    if let Some(unknown) = by.iter().find(|name| !known(name)) {
        bail!("--by {unknown}: the table has no such column, or it is empty");
    }
    Ok(if by.is_empty() && known("view") { vec!["view".to_owned()] } else { by })
}

fn interval(auroc: &Auroc) -> String {
    format!("{} to {}", figure(auroc.low), figure(auroc.high))
}

fn markdown(out: &mut dyn Write, figures: &Figures) -> std::io::Result<()> {
    let name = figures.model.get("name").map_or("", String::as_str);
    writeln!(out, "# {name}\n")?;
    write!(out, "{} images", figures.images)?;
    if figures.skipped > 0 {
        write!(out, ", {} rows passed over for their image", figures.skipped)?;
    }
    writeln!(out, "; 95% intervals by resampling each {}.\n", figures.resampled_by)?;
    writeln!(
        out,
        "| score | AUROC | 95% interval | positives | ECE | by chance | F1 of the text |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for (name, auroc) in &figures.auroc {
        let ece = figure(figures.ece.get(name).copied());
        let chance = figure(figures.ece_by_chance.get(name).copied());
        let f1 = figure(figures.f1.get(name).copied().flatten());
        let (value, range) = (figure(auroc.value), interval(auroc));
        let positives = auroc.positives;
        writeln!(out, "| {name} | {value} | {range} | {positives} | {ece} | {chance} | {f1} |")?;
    }
    writeln!(out, "\n| figure | value | 95% interval |\n| --- | --- | --- |")?;
    if let Some(mean) = &figures.mean_auroc {
        let many = mean.findings.len();
        let range = format!("{} to {}", figure(mean.low), figure(mean.high));
        let value = figure(Some(mean.value));
        writeln!(
            out,
            "| mean AUROC, {many} findings with 10 positives or more | {value} | {range} |"
        )?;
    }
    for (column, values) in &figures.within {
        for (value, auroc) in values {
            let (area, range) = (figure(auroc.value), interval(auroc));
            let many = auroc.images;
            writeln!(
                out,
                "| AUROC abnormal, {column} {value}, {many} images | {area} | {range} |"
            )?;
        }
    }
    for kind in ["micro", "macro"] {
        let value = figure(figures.f1.get(kind).copied().flatten());
        let range = figures.f1_interval.get(kind).copied().flatten();
        let range =
            range.map_or_else(|| "-".to_owned(), |i| format!("{:.3} to {:.3}", i.low, i.high));
        writeln!(out, "| F1 of the text's findings, {kind} | {value} | {range} |")?;
    }
    if let Some(text) = &figures.constant_text {
        let (micro, findings) = (figure(Some(text.micro)), text.findings.join(", "));
        writeln!(out, "| micro-F1 of the best constant text ({findings}) | {micro} | |")?;
    }
    let agreement = figure(figures.agreement.all);
    writeln!(out, "| text and scores at the thresholds agree, by finding | {agreement} | |")?;
    writeln!(out, "| different texts | {} | |", figures.different_texts)?;
    writeln!(out, "| seconds a study on one core, median | {:.2} | |", figures.seconds.study)?;
    writeln!(out, "| seconds in all | {:.1} | |", figures.seconds.total)?;
    if let Some(rows) = &figures.changes {
        writeln!(
            out,
            "\n| change of the images | mean difference of abnormal | largest | AUROC |"
        )?;
        writeln!(out, "| --- | --- | --- | --- |")?;
        for row in rows {
            let (mean, largest) = (row.mean_difference, row.largest_difference);
            let area = figure(row.auroc);
            writeln!(out, "| {} | {mean:.3} | {largest:.3} | {area} |", row.change)?;
        }
    }
    writeln!(
        out,
        "\nECE: expected calibration error in ten bins of equally many studies. F1: positive findings \
         that the drafts state, by the rules of `findings`; macro over those with a positive; \
         \"no finding\" counts in neither."
    )
}
