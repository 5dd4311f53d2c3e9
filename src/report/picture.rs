//! The picture of where a model looked: the radiograph in grey, the places that speak for the
//! finding in orange, and bars above and below with the mark and what is shown.

use plotters::prelude::*;
use plotters::style::FontStyle as Style;

use super::ReportError;
use crate::model::Saliency;
use crate::radiograph::GreyImage;
use crate::radiograph::resize::bicubic;
use crate::vocabulary::Observation;

/// Burned into every picture.
pub(crate) const MARK: &str = "NOT FOR DIAGNOSIS - AI DRAFT, NOT VERIFIED";

/// The longest side of the radiograph, pixels.
const LONGEST: u32 = 1024;
/// The least width and the least longest side, so that the words can be read.
const LEAST: u32 = 512;
/// How much of a place's colour is orange where it speaks for the finding the most.
pub(crate) const STRONGEST: f32 = 0.5;
/// Red, green, blue.
pub(crate) const ORANGE: [f32; 3] = [255.0, 140.0, 0.0];
const FONT: &str = "sans-serif";

/// Pixels of three bytes each: red, green, blue; row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) pixels: Vec<u8>,
}

/// What a map shows, in words.
pub(crate) fn caption(looked: &Saliency) -> String {
    let finding = looked.label.parse::<Observation>().map(Observation::display_name);
    let finding = finding.unwrap_or("Abnormal");
    format!("Where the model looked for: {finding} (probability {:.2})", looked.score)
}

/// Draws the picture. `model` names who looked.
///
/// # Errors
/// The words cannot be drawn.
pub(crate) fn draw(
    image: &GreyImage,
    looked: &Saliency,
    model: &str,
) -> Result<Picture, ReportError> {
    let (width, height) = scaled(image.width(), image.height());
    let image = bicubic(image, width, height);
    let columns = width.max(LEAST);
    let line = columns / 24;
    let (above, below) = (line * 2, line * 3);
    let rows = above + height + below;
    let mut pixels = vec![0; columns as usize * rows as usize * 3];
    let left = (columns - width) / 2;
    overlay(&image, looked, &mut pixels, columns, (left, above));
    words(
        &mut pixels,
        (columns, rows),
        &[
            (MARK, line / 2, line),
            (&caption(looked), above + height + line / 4, line * 3 / 4),
            (model, above + height + line * 3 / 2, line * 3 / 4),
        ],
    )?;
    Ok(Picture { columns, rows, pixels })
}

/// The size at which a radiograph is shown.
fn scaled(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height).max(1);
    let wanted = longest.clamp(LEAST, LONGEST);
    let of = |side: u32| {
        let scaled = u64::from(side) * u64::from(wanted) / u64::from(longest);
        u32::try_from(scaled).unwrap_or(LONGEST).max(1)
    };
    (of(width), of(height))
}

/// Puts the radiograph with its coloured places at `corner` of the picture.
fn overlay(
    image: &GreyImage,
    looked: &Saliency,
    pixels: &mut [u8],
    columns: u32,
    corner: (u32, u32),
) {
    let heat = looked.heat();
    let (width, height) = (image.width(), image.height());
    let lines = pixels.chunks_exact_mut(columns as usize * 3).skip(corner.1 as usize);
    let greys = image.pixels().chunks_exact(width.max(1) as usize);
    for ((row, line), greys) in (0..height).zip(lines).zip(greys) {
        let places = line.chunks_exact_mut(3).skip(corner.0 as usize);
        for ((column, place), grey) in (0..width).zip(places).zip(greys) {
            let middle = |at: u32, of: u32| (f64::from(at) + 0.5) / f64::from(of);
            let part = STRONGEST * heat(middle(column, width), middle(row, height));
            for (value, orange) in place.iter_mut().zip(ORANGE) {
                *value = (f32::from(*grey) * (1.0 - part) + orange * part).round() as u8;
            }
        }
    }
}

/// Writes lines of white, each with the height of its top and of its letters, in the middle.
fn words(
    pixels: &mut [u8],
    (columns, rows): (u32, u32),
    lines: &[(&str, u32, u32)],
) -> Result<(), ReportError> {
    let failed = |reason: String| ReportError::Encoding(format!("the picture's words: {reason}"));
    super::font::register().map_err(failed)?;
    let area = BitMapBackend::with_buffer(pixels, (columns, rows)).into_drawing_area();
    for (text, top, size) in lines {
        let style = |size: u32| (FONT, size, Style::Normal, &WHITE).into_text_style(&area);
        let (wide, _) = area
            .estimate_text_size(text, &style(*size))
            .map_err(|error| failed(error.to_string()))?;
        // A long name of a model is made to fit.
        let room = columns * 19 / 20;
        let size = if wide > room { (size * room / wide).max(6) } else { *size };
        let (wide, _) = area
            .estimate_text_size(text, &style(size))
            .map_err(|error| failed(error.to_string()))?;
        let left = (columns.saturating_sub(wide) / 2) as i32;
        area.draw_text(text, &style(size), (left, *top as i32))
            .map_err(|error| failed(error.to_string()))?;
    }
    area.present().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_proportions_within_the_limits() {
        assert_eq!(scaled(3000, 2000), (1024, 682));
        assert_eq!(scaled(200, 256), (400, 512));
        assert_eq!(scaled(800, 600), (800, 600));
        assert_eq!(scaled(16_384, 1), (1024, 1));
    }
}
