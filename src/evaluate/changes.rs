//! How far scores move when the same images are shown in another way.

use std::collections::BTreeMap;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use serde::Serialize;

use super::EvaluateError;
use super::bootstrap::Ranked;
use super::look::{self, Read};
use super::table::Study;
use crate::model::{ABNORMAL, Model};
use crate::object::StoredObject;
use crate::radiograph::{GreyImage, render, resize};

/// A way to change an image.
type Make = fn(&GreyImage) -> Result<GreyImage, EvaluateError>;

/// The changes, each with its name in the table. The last two should move the score least and most:
/// a MONOCHROME1 object is the same image stored the other way round, which reading undoes; a
/// picture whose pixels are inverted says nothing of it.
pub const CHANGES: [(&str, Make); 14] = [
    ("half size", |image| Ok(scaled(image, 0.5))),
    ("double size", |image| Ok(scaled(image, 2.0))),
    ("rotated by 5 degrees", |image| rotated(image, 5.0)),
    ("rotated by -5 degrees", |image| rotated(image, -5.0)),
    ("gamma 0.8", |image| mapped(image, |v| v.powf(0.8))),
    ("gamma 1.25", |image| mapped(image, |v| v.powf(1.25))),
    ("window 10% narrower", |image| mapped(image, |v| (v - 0.05) / 0.9)),
    ("window 10% wider", |image| mapped(image, |v| 0.05 + v * 0.9)),
    ("darker by 10%", |image| mapped(image, |v| v - 0.1)),
    ("black border of 10%", |image| bordered(image, 0)),
    ("white border of 10%", |image| bordered(image, 255)),
    ("letter burned into a corner", lettered),
    ("stored as MONOCHROME1", monochrome1),
    ("pixels inverted", |image| mapped(image, |v| 1.0 - v)),
];

/// What one change does.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// The change.
    pub change: &'static str,
    /// The mean distance of the score of "abnormal" from that of the image as it is.
    pub mean_difference: f64,
    /// The largest.
    pub largest_difference: f64,
    /// The AUROC of "abnormal" on the changed images.
    pub auroc: Option<f64>,
}

/// How far the score of "abnormal" moves under each change; the first row is no change. `done` is
/// called after each study.
pub fn measure(
    model: &Model,
    studies: &[Study],
    read: Read<'_>,
    done: impl Fn() + Sync,
) -> Result<Vec<Moved>, EvaluateError> {
    let scores = |study: &Study| {
        let image = look::open(study, read)?;
        let score = |image: &GreyImage| -> Result<Option<f32>, EvaluateError> {
            let failed = |source| EvaluateError::Model { path: study.image.clone(), source };
            let scores: BTreeMap<String, f32> = look::scores(model, image).map_err(failed)?;
            Ok(scores.get(ABNORMAL).copied())
        };
        let mut all = vec![score(&image)?];
        for (_, make) in CHANGES {
            all.push(score(&make(&image)?)?);
        }
        Ok(all)
    };
    let by_study = look::each(studies, scores, done)?;
    let names = std::iter::once("none").chain(CHANGES.iter().map(|(name, _)| *name));
    let row = |(at, change): (usize, &'static str)| {
        let of = |scores: &Vec<Option<f32>>, at: usize| scores.get(at).copied().flatten();
        let distance =
            |scores: &Vec<Option<f32>>| Some(f64::from((of(scores, at)? - of(scores, 0)?).abs()));
        let distances: Vec<f64> = by_study.iter().filter_map(distance).collect();
        let truth = studies.iter().map(|study| study.abnormal);
        let ranked = Ranked::new(by_study.iter().map(|s| of(s, at)).zip(truth));
        Moved {
            change,
            mean_difference: distances.iter().sum::<f64>() / distances.len().max(1) as f64,
            largest_difference: distances.iter().copied().fold(0.0, f64::max),
            auroc: ranked.auroc(&vec![1; studies.len()]),
        }
    };
    Ok(names.enumerate().map(row).collect())
}

fn scaled(image: &GreyImage, factor: f64) -> GreyImage {
    let side = |length: u32| (f64::from(length) * factor).round() as u32;
    resize::bicubic(image, side(image.width()), side(image.height()))
}

/// An image of the same size whose pixels come from a function of column and row.
fn drawn(
    width: u32,
    height: u32,
    pixel: impl Fn(u32, u32) -> u8,
) -> Result<GreyImage, EvaluateError> {
    let rows = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let pixels = rows.map(|(x, y)| pixel(x, y)).collect();
    GreyImage::new(width, height, pixels)
        .ok_or_else(|| EvaluateError::Change("it has no pixels".to_owned()))
}

/// The pixel at a place; `None` outside.
fn at(image: &GreyImage, x: i64, y: i64) -> Option<u8> {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let inside = (0..width).contains(&x) && (0..height).contains(&y);
    let place = inside.then(|| usize::try_from(y * width + x).ok()).flatten()?;
    image.pixels().get(place).copied()
}

/// Grey values, 0 to 1, through a function.
fn mapped(image: &GreyImage, curve: fn(f64) -> f64) -> Result<GreyImage, EvaluateError> {
    let map = |x: u32, y: u32| {
        let value = at(image, x.into(), y.into()).unwrap_or_default();
        (curve(f64::from(value) / 255.0).clamp(0.0, 1.0) * 255.0).round() as u8
    };
    drawn(image.width(), image.height(), map)
}

/// Turned about its middle, bilinear, black outside.
fn rotated(image: &GreyImage, degrees: f64) -> Result<GreyImage, EvaluateError> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = (f64::from(image.width() - 1) / 2.0, f64::from(image.height() - 1) / 2.0);
    let turn = |x: u32, y: u32| {
        let (dx, dy) = (f64::from(x) - middle.0, f64::from(y) - middle.1);
        let (u, v) = (middle.0 + cos * dx + sin * dy, middle.1 - sin * dx + cos * dy);
        let (left, top) = (u.floor(), v.floor());
        let pixel = |dx: i64, dy: i64| {
            f64::from(at(image, left as i64 + dx, top as i64 + dy).unwrap_or_default())
        };
        let (right, low) = (u - left, v - top);
        let upper = pixel(0, 0) * (1.0 - right) + pixel(1, 0) * right;
        let lower = pixel(0, 1) * (1.0 - right) + pixel(1, 1) * right;
        (upper * (1.0 - low) + lower * low).round() as u8
    };
    drawn(image.width(), image.height(), turn)
}

/// A border of a tenth of each side added all around.
fn bordered(image: &GreyImage, grey: u8) -> Result<GreyImage, EvaluateError> {
    let (wide, high) = (image.width() / 10, image.height() / 10);
    let pixel = |x: u32, y: u32| {
        at(image, i64::from(x) - i64::from(wide), i64::from(y) - i64::from(high)).unwrap_or(grey)
    };
    drawn(image.width() + 2 * wide, image.height() + 2 * high, pixel)
}

/// A white "R" in the upper left corner, a tenth of the image high.
fn lettered(image: &GreyImage) -> Result<GreyImage, EvaluateError> {
    const LETTER: [u8; 7] = [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001];
    let dot = (image.height() / 70).max(1);
    let pixel = |x: u32, y: u32| {
        let (column, row) = ((x / dot).checked_sub(3), (y / dot).checked_sub(3));
        let bits = row.and_then(|row| LETTER.get(row as usize)).copied().unwrap_or_default();
        let set = column.is_some_and(|column| column < 5 && bits >> (4 - column) & 1 == 1);
        if set { 255 } else { at(image, x.into(), y.into()).unwrap_or_default() }
    };
    drawn(image.width(), image.height(), pixel)
}

/// The image as a MONOCHROME1 object holds it, read back as the node reads objects.
fn monochrome1(image: &GreyImage) -> Result<GreyImage, EvaluateError> {
    let failed = |error: &dyn std::fmt::Display| EvaluateError::Change(error.to_string());
    let side = |length: u32| u16::try_from(length).map_err(|error| failed(&error));
    let (columns, rows) = (side(image.width())?, side(image.height())?);
    let mut pixels: Vec<u8> = image.pixels().iter().map(|value| 255 - value).collect();
    pixels.resize(pixels.len().next_multiple_of(2), 0);
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let class = "1.2.840.10008.5.1.4.1.1.1";
    let object = InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, class),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1"),
        text(tags::MODALITY, VR::CS, "CR"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.2"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "2.25.3"),
        number(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1"),
        number(tags::ROWS, rows),
        number(tags::COLUMNS, columns),
        number(tags::BITS_ALLOCATED, 8),
        number(tags::BITS_STORED, 8),
        number(tags::HIGH_BIT, 7),
        number(tags::PIXEL_REPRESENTATION, 0),
        text(tags::WINDOW_CENTER, VR::DS, "128"),
        text(tags::WINDOW_WIDTH, VR::DS, "256"),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(pixels)),
    ]);
    let meta = FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let object = object.with_meta(meta).map_err(|error| failed(&error))?;
    let file = tempfile::NamedTempFile::new().map_err(|error| failed(&error))?;
    object.write_to_file(file.path()).map_err(|error| failed(&error))?;
    let stored = StoredObject::open(file.path()).map_err(|error| failed(&error))?;
    Ok(render(&stored).map_err(|error| failed(&error))?.image)
}
