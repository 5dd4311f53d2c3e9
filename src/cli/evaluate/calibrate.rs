//! `thorascribe evaluate calibrate`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;

use super::images::{self, Data};
use crate::cli::Outcome;
use crate::evaluate::calibration::{Calibrated, bins, calibrate};
use crate::evaluate::figures::{known, scored};
use crate::evaluate::plot::reliability;
use crate::model::{ABNORMAL, tempered};

/// What may be asked of `evaluate calibrate`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("measured").args(["images"]).required(true))]
pub(super) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Draw the reliability of "abnormal" and of all findings together, before and after.
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
    /// Print one JSON object, not TOML.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let (model, table) = arguments.data.open()?;
    let seen = images::look(&model, &table, false)?;
    let scored = scored(&table, &seen);
    let mut scores = BTreeMap::new();
    let mut curves = [
        ("abnormal", vec![]),
        ("abnormal, calibrated", vec![]),
        ("findings", vec![]),
        ("findings, calibrated", vec![]),
    ];
    for (name, items) in &scored {
        let items = known(items);
        let Some(calibrated) = calibrate(&items) else { continue };
        let after = items.iter().map(|(p, truth)| (tempered(*p, calibrated.temperature), *truth));
        let [abnormal, abnormal_after, findings, findings_after] = &mut curves;
        if *name == ABNORMAL {
            abnormal_after.1.extend(after);
            abnormal.1.extend(items);
        } else {
            findings_after.1.extend(after);
            findings.1.extend(items);
        }
        scores.insert(*name, calibrated);
    }
    if scores.is_empty() {
        anyhow::bail!("no score to calibrate: the model gives none that the table has both ways");
    }
    if let Some(path) = &arguments.plot {
        let drawn = curves.iter().filter(|(_, items)| !items.is_empty());
        let drawn: Vec<_> = drawn.map(|(name, items)| ((*name).to_owned(), bins(items))).collect();
        reliability(&drawn, path)?;
    }
    let of = |get: fn(&Calibrated) -> f64| -> BTreeMap<&str, f64> {
        scores.iter().map(|(name, calibrated)| (*name, get(calibrated))).collect()
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let all = serde_json::json!({
            "images": table.studies.len(),
            "temperatures": of(|c| c.temperature),
            "thresholds": of(|c| f64::from(c.threshold)),
            "scores": scores,
        });
        writeln!(out, "{all}")?;
    } else {
        let tables = BTreeMap::from([
            ("temperatures", of(|c| c.temperature)),
            ("thresholds", of(|c| f64::from(c.threshold))),
            ("ece_before", of(|c| c.ece_before)),
            ("ece_after", of(|c| c.ece_after)),
        ]);
        write!(out, "{}", toml::to_string(&tables)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
