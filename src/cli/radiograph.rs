//! `thorascribe radiograph`: what the node makes of an object.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use super::Outcome;
use super::outputs::Outputs;
use crate::object::StoredObject;
use crate::observe::chain;
use crate::radiograph::{self, GreyImage, View, Window};

/// What may be asked of `radiograph`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// DICOM files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the full-size grey image, after all look-up tables, as DIR/<file name>.png; those of
    /// one name are numbered.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print a JSON object a file.
    #[arg(long)]
    json: bool,
}

/// A line of the answer.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    eligible: bool,
    /// Why not; null for an eligible object.
    reason: Option<String>,
    /// Null for an object that is not eligible.
    view: Option<View>,
    columns: Option<i64>,
    rows: Option<i64>,
    /// Null when the pixels cannot be shown.
    window: Option<Window>,
    /// Why they cannot.
    pixels: Option<String>,
}

#[derive(Debug, Serialize)]
struct Failure {
    file: String,
    error: String,
}

pub(super) fn run(arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let assume_chest = super::config::of_user(config)?.study.assume_chest;
    if let Some(folder) = &arguments.out {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let (mut code, mut outputs) = (ExitCode::SUCCESS, Outputs::of(&arguments.files));
    let mut out = std::io::stdout().lock();
    for path in &arguments.files {
        let file = path.display().to_string();
        let write = |image: &GreyImage| match &arguments.out {
            Some(folder) => {
                let name = path.file_name().unwrap_or_default();
                write_png(image, &outputs.place(folder, name, ".png"))
            }
            None => Ok(()),
        };
        match look(path, assume_chest, write) {
            Ok(row) if arguments.json => writeln!(out, "{}", serde_json::to_string(&row)?)?,
            Ok(row) => describe(&mut out, &row)?,
            Err(error) => {
                code = ExitCode::FAILURE;
                let error = chain(error.as_ref());
                if arguments.json {
                    writeln!(out, "{}", serde_json::to_string(&Failure { file, error })?)?;
                } else {
                    writeln!(std::io::stderr(), "error: {file}: {error}")?;
                }
            }
        }
    }
    Ok(code)
}

fn look(
    path: &Path,
    assume_chest: bool,
    write: impl FnOnce(&GreyImage) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let object = StoredObject::open(path)?;
    let judged = radiograph::eligibility(&object, assume_chest);
    let rendered = radiograph::render(&object);
    if let Ok(rendered) = &rendered {
        write(&rendered.image)?;
    }
    Ok(Row {
        file: path.display().to_string(),
        eligible: judged.is_ok(),
        reason: judged.as_ref().err().map(ToString::to_string),
        view: judged.ok().map(|eligible| eligible.view),
        columns: object.integer(dicom_dictionary_std::tags::COLUMNS),
        rows: object.integer(dicom_dictionary_std::tags::ROWS),
        pixels: rendered.as_ref().err().map(|error| chain(error)),
        window: rendered.ok().map(|rendered| rendered.window),
    })
}

fn write_png(image: &GreyImage, path: &Path) -> anyhow::Result<()> {
    let (pixels, width, height) = (image.pixels(), image.width(), image.height());
    image::save_buffer(path, pixels, width, height, image::ExtendedColorType::L8)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn describe(out: &mut impl Write, row: &Row) -> std::io::Result<()> {
    writeln!(out, "{}", row.file)?;
    match (&row.reason, row.view) {
        (Some(reason), _) => writeln!(out, "  not eligible  {reason}")?,
        (None, view) => {
            let view = match view {
                Some(View::Pa) => "PA",
                Some(View::Ap) => "AP",
                Some(View::Lateral) => "lateral",
                Some(View::Unknown) | None => "unknown view",
            };
            writeln!(out, "  eligible      chest, {view}")?;
        }
    }
    if let (Some(columns), Some(rows)) = (row.columns, row.rows) {
        writeln!(out, "  size          {columns} × {rows}")?;
    }
    if let Some(why) = &row.pixels {
        writeln!(out, "  no picture    {why}")?;
    }
    if let Some(Window { center, width, source, .. }) = row.window {
        let source = match source {
            radiograph::WindowSource::Object => "the object's window",
            radiograph::WindowSource::VoiLut => "the object's VOI LUT",
            radiograph::WindowSource::Percentile => "from the pixels: the object names none",
        };
        writeln!(out, "  window        center {center}, width {width} ({source})")?;
    }
    Ok(())
}
