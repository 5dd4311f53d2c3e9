//! Plots as PNG, with a font of our own, so that no machine needs one.

use std::fs::Permissions;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image::{ExtendedColorType, ImageFormat};
use plotters::coord::Shift;
use plotters::prelude::*;
use tempfile::NamedTempFile;

use super::EvaluateError;
use super::calibration::Bin;
use crate::report::font;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 600;
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(0, 0, 0),
];

/// A named line of points.
#[derive(Debug, Clone)]
pub struct Series {
    /// What the legend calls it; ASCII.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// Draws losses over steps or epochs. Points that are not finite are left out.
///
/// # Errors
/// When there is no point, or the file cannot be written.
pub fn loss_curve(series: &[Series], across: &str, path: &Path) -> Result<(), EvaluateError> {
    let finite = || series.iter().flat_map(|s| &s.points).filter(|p| is_finite(p));
    let range = |get: fn(&(f64, f64)) -> f64| {
        let (low, high) = finite()
            .map(get)
            .fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let margin = if high > low { (high - low) * 0.03 } else { 0.5 };
        low - margin..high + margin
    };
    if finite().next().is_none() {
        return Err(failed(path, "there is no point to draw"));
    }
    let frame = Frame { across, up: "loss", x: range(|p| p.0), y: range(|p| p.1) };
    draw(series, &frame, false, path)
}

/// Draws how often it was so over the probability that was said; the diagonal is perfect.
///
/// # Errors
/// When the file cannot be written.
pub fn reliability(curves: &[(String, Vec<Bin>)], path: &Path) -> Result<(), EvaluateError> {
    let line = |(name, bins): &(String, Vec<Bin>)| Series {
        name: name.clone(),
        points: bins.iter().map(|bin| (bin.said, bin.so)).collect(),
    };
    let mut series = vec![Series { name: "perfect".to_owned(), points: vec![(0., 0.), (1., 1.)] }];
    series.extend(curves.iter().map(line));
    let frame = Frame { across: "probability said", up: "how often so", x: 0.0..1.0, y: 0.0..1.0 };
    draw(&series, &frame, true, path)
}

struct Frame<'a> {
    across: &'a str,
    up: &'a str,
    x: std::ops::Range<f64>,
    y: std::ops::Range<f64>,
}

fn draw(
    series: &[Series],
    frame: &Frame<'_>,
    dots: bool,
    path: &Path,
) -> Result<(), EvaluateError> {
    font::register().map_err(|reason| failed(path, &reason))?;
    let mut pixels = vec![255_u8; (WIDTH * HEIGHT * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (WIDTH, HEIGHT)).into_drawing_area();
        on(&area, series, frame, dots).map_err(|error| failed(path, &error.to_string()))?;
    }
    save(&pixels, path)
}

/// Whether a plot can be written there, before what it shows is measured.
///
/// # Errors
/// A name that ends like no picture's, or a folder that is not there or cannot be written.
pub fn check_place(path: &Path) -> Result<(), EvaluateError> {
    format(path)?;
    beside(path).map(drop)
}

/// Whole, or not there: a disk that is full leaves what was there before.
fn save(pixels: &[u8], path: &Path) -> Result<(), EvaluateError> {
    let mut bytes = Cursor::new(Vec::new());
    let colour = ExtendedColorType::Rgb8;
    image::write_buffer_with_format(&mut bytes, pixels, WIDTH, HEIGHT, colour, format(path)?)
        .map_err(|error| failed(path, &error.to_string()))?;
    let mut file = beside(path)?;
    let written = file.write_all(bytes.get_ref());
    written.map_err(|error| failed(path, &error.to_string()))?;
    file.persist(path).map_err(|error| failed(path, &error.error.to_string()))?;
    Ok(())
}

fn format(path: &Path) -> Result<ImageFormat, EvaluateError> {
    ImageFormat::from_path(path)
        .map_err(|error| failed(path, &format!("{error}; name it for example plot.png")))
}

/// A file in the making in the folder of another one.
fn beside(path: &Path) -> Result<NamedTempFile, EvaluateError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new()
        .prefix(".plot-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|error| failed(path, &error.to_string()))
}

fn on(
    area: &DrawingArea<BitMapBackend<'_>, Shift>,
    series: &[Series],
    frame: &Frame<'_>,
    dots: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(frame.x.clone(), frame.y.clone())
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .x_desc(frame.across)
        .y_desc(frame.up)
        .draw()
        .map_err(|e| e.to_string())?;
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        let points = || line.points.iter().copied().filter(is_finite);
        chart
            .draw_series(LineSeries::new(points(), style))
            .map_err(|e| e.to_string())?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        if dots {
            let dot = |point| Circle::new(point, 4, colour.filled());
            chart.draw_series(points().map(dot)).map_err(|e| e.to_string())?;
        }
    }
    chart
        .configure_series_labels()
        .position(if dots {
            SeriesLabelPosition::UpperLeft
        } else {
            SeriesLabelPosition::UpperRight
        })
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 16))
        .draw()
        .map_err(|e| e.to_string())?;
    area.present().map_err(|e| e.to_string())?;
    Ok(())
}

fn is_finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn failed(path: &Path, reason: &str) -> EvaluateError {
    EvaluateError::Plot { path: path.to_owned(), reason: reason.to_owned() }
}
