//! `thorascribe evaluate calibrate`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgGroup;
use serde::Serialize;

use super::images::Data;
use crate::cli::Outcome;
use crate::evaluate::calibration::{Calibrated, HOTTEST, bins, calibrate};
use crate::evaluate::figures::{Item, known, scored};
use crate::evaluate::plot::{check_place, reliability};
use crate::model::{ABNORMAL, Manifest, tempered};

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

/// What calibration found, by score.
type Found = BTreeMap<&'static str, Calibrated>;

/// What a manifest says of scores: a model with heads gives them as they are, and takes no
/// temperature.
#[derive(Debug, Serialize)]
struct Settings {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    temperatures: BTreeMap<String, f64>,
    thresholds: BTreeMap<String, f32>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    if let Some(path) = &arguments.plot {
        check_place(path)?;
    }
    let (mut table, model) = (arguments.data.table()?, arguments.data.model()?);
    let seen = arguments.data.look(&model, &mut table, false)?;
    let scored = scored(&table, &seen);
    let each = scored.iter().filter_map(|(name, items)| Some((*name, calibrate(&known(items))?)));
    let found: Found = each.collect();
    if found.is_empty() {
        anyhow::bail!("no score to calibrate: the model gives none that the table has both ways");
    }
    if let Some(path) = &arguments.plot {
        let curves = curves(&scored, &found);
        let drawn = curves.iter().filter(|(_, items)| !items.is_empty());
        let drawn: Vec<_> = drawn.map(|(name, items)| ((*name).to_owned(), bins(items))).collect();
        reliability(&drawn, path)?;
    }
    let manifest = model.manifest();
    if manifest.scores.is_none() {
        warn(&found)?;
    }
    let settings = settings(manifest, &found);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let all = serde_json::json!({
            "images": table.studies.len(),
            "temperatures": settings.temperatures,
            "thresholds": settings.thresholds,
            "scores": found,
        });
        writeln!(out, "{all}")?;
    } else {
        print(&mut out, manifest, &found, settings)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The items of each curve of the plot.
fn curves(
    scored: &[(&'static str, Vec<Item>)],
    found: &Found,
) -> [(&'static str, Vec<(f32, bool)>); 4] {
    let mut curves = [
        ("abnormal", vec![]),
        ("abnormal, calibrated", vec![]),
        ("findings", vec![]),
        ("findings, calibrated", vec![]),
    ];
    for (name, items) in scored {
        let Some(calibrated) = found.get(name) else { continue };
        let items = known(items);
        let after = items.iter().map(|(p, truth)| (tempered(*p, calibrated.temperature), *truth));
        let [abnormal, abnormal_after, findings, findings_after] = &mut curves;
        if *name == ABNORMAL {
            abnormal_after.1.extend(after);
            abnormal.1.extend(items);
        } else {
            findings_after.1.extend(after);
            findings.1.extend(items);
        }
    }
    curves
}

/// On stderr, the scores whose temperature the studies do not settle.
fn warn(found: &Found) -> std::io::Result<()> {
    for (name, calibrated) in found.iter().filter(|(_, c)| c.temperature_at_bound) {
        writeln!(
            std::io::stderr(),
            "warning: {name}: its temperature is at an end of the range that is searched, {} to \
             {HOTTEST}; {} studies with {} positives do not settle it",
            1.0 / HOTTEST,
            calibrated.items,
            calibrated.positives
        )?;
    }
    Ok(())
}

/// What the manifest is to say: of scores that were not calibrated, what it says already.
fn settings(manifest: &Manifest, found: &Found) -> Settings {
    let of = |threshold: fn(&Calibrated) -> f32| {
        found.iter().map(move |(name, c)| ((*name).to_owned(), threshold(c)))
    };
    if let Some(scores) = &manifest.scores {
        let mut thresholds = scores.thresholds.clone();
        thresholds.extend(of(|c| c.threshold_as_given));
        return Settings { temperatures: BTreeMap::new(), thresholds };
    }
    let (mut temperatures, mut thresholds) = (BTreeMap::new(), BTreeMap::new());
    if let Some(questions) = &manifest.questions {
        temperatures.clone_from(&questions.temperatures);
        thresholds.clone_from(&questions.thresholds);
    }
    // The model's own have been at work in the scores.
    for (name, calibrated) in found {
        *temperatures.entry((*name).to_owned()).or_insert(1.0) *= calibrated.temperature;
    }
    thresholds.extend(of(|c| c.threshold));
    Settings { temperatures, thresholds }
}

/// The lines for `manifest.toml`.
fn print(
    out: &mut dyn Write,
    manifest: &Manifest,
    found: &Found,
    settings: Settings,
) -> anyhow::Result<()> {
    let heads = manifest.scores.is_some();
    let part = if heads {
        writeln!(
            out,
            "# In manifest.toml, in the place of [scores.thresholds]: for the scores as the model \
             gives them.\n# A model with scoring heads takes no temperatures."
        )?;
        "scores"
    } else {
        writeln!(
            out,
            "# In manifest.toml, in the place of [questions.temperatures] and \
             [questions.thresholds]:\n# for the scores after their temperatures."
        )?;
        "questions"
    };
    let before = settings.thresholds.keys().filter(|name| !found.contains_key(name.as_str()));
    let before: Vec<&str> = before.map(String::as_str).collect();
    if !before.is_empty() {
        let names = before.join(", ");
        writeln!(out, "# As before, since the table does not have them both ways: {names}")?;
    }
    for (name, calibrated) in found {
        let (given, after) = (calibrated.ece_before, calibrated.ece_after);
        write!(out, "# {name}: expected calibration error {given:.3}")?;
        if !heads {
            write!(out, ", after its temperature {after:.3}")?;
        }
        writeln!(out)?;
    }
    write!(out, "{}", toml::to_string(&BTreeMap::from([(part, settings)]))?)?;
    Ok(())
}
