//! `thorascribe evaluate boxes`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use clap::ArgGroup;
use serde::Serialize;

use super::images::{self, Data};
use super::{figure, output};
use crate::cli::Outcome;
use crate::evaluate::boxes::{Case, Pointing, cases, pointing};
use crate::evaluate::table::Study;

/// What may be asked of `evaluate boxes`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("measured").args(["images"]).required(true))]
pub(super) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    model: BTreeMap<&'static str, String>,
    images: usize,
    all: Pointing,
    findings: BTreeMap<&'static str, Pointing>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let (mut table, model) = (arguments.data.table()?, arguments.data.model()?);
    table.studies.retain(|study| study.column("boxes").is_some());
    let one = |study: &Study| cases(&model, study, &images::read);
    let found = arguments.data.each(&mut table, one)?;
    let found: Vec<Case> = found.into_iter().flatten().collect();
    let seed = arguments.data.seed;
    let Some(all) = pointing(&found.iter().collect::<Vec<_>>(), seed) else {
        bail!(
            "no boxes: the table needs a column `boxes` with findings that the model scores, and \
             the model an encoder of patches"
        );
    };
    let mut by: BTreeMap<&'static str, Vec<&Case>> = BTreeMap::new();
    for case in &found {
        by.entry(case.observation.name()).or_default().push(case);
    }
    let findings = by.iter().filter_map(|(name, cases)| Some((*name, pointing(cases, seed)?)));
    let figures = Figures {
        model: [("name", model.name().to_owned()), ("digest", model.digest().to_owned())].into(),
        images: table.studies.len(),
        all,
        findings: findings.collect(),
    };
    output(arguments.json, || &figures, |out| markdown(out, &figures))
}

fn markdown(out: &mut dyn Write, figures: &Figures) -> std::io::Result<()> {
    let name = figures.model.get("name").map_or("", String::as_str);
    writeln!(out, "# {name}\n\n{} images with boxes.\n", figures.images)?;
    writeln!(
        out,
        "| finding | boxes hit | rate | 95% interval | touched | chance | usual place | hit where the \
         score is above the threshold |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    let all = std::iter::once(("all", &figures.all));
    for (name, row) in all.chain(figures.findings.iter().map(|(name, row)| (*name, row))) {
        let [rate, touches, chance] =
            [row.rate, row.touches, row.chance].map(|value| figure(Some(value)));
        let range = row
            .interval
            .map_or_else(|| "-".to_owned(), |i| format!("{:.3} to {:.3}", i.low, i.high));
        let usual = figure(row.usual_place);
        writeln!(
            out,
            "| {name} | {} of {} | {rate} | {range} | {touches} | {chance} | {usual} | {} of {} |",
            row.hits, row.cases, row.called_hits, row.called
        )?;
    }
    writeln!(
        out,
        "\nA box is hit when the middle of the patch that gives the score the most lies in it, touched \
         when that patch and the box have a place in common. Chance: a point anywhere on the image. \
         Usual place: the mean middle of the finding's boxes in the other images."
    )
}
