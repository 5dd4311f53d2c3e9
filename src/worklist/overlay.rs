//! Where the model looked, as a layer to lay over the image: orange where a place speaks for the
//! finding, clear elsewhere.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dicom_dictionary_std::tags;
use image::ExtendedColorType;
use serde::Deserialize;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::image::{encode, picture, unreadable};
use super::told::{Visitor, study_of};
use super::{WorklistState, api, blocking};
use crate::model::Saliency;
use crate::object::StoredObject;
use crate::report::picture::{ORANGE, STRONGEST};
use crate::spool::JobDetail;

/// The longest side of the layer: a map has some ten patches a side, and a browser enlarges.
const SIDE: u32 = 256;

/// The map that was kept with a draft.
pub(super) fn of(job: &JobDetail) -> Option<Saliency> {
    Saliency::deserialize(job.draft.get("looked")?).ok()
}

/// `GET /studies/{study uid}/overlay.png`
pub(super) async fn png(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
) -> Result<Response, Failure> {
    let study = api::uid(&study)?;
    let spool = state.spool.clone();
    let (png, about) = blocking(move || {
        let job = spool.job(&study)?.ok_or(Failure::NoStudy)?;
        let (looked, object) = of(&job).zip(picture(&job)).ok_or(Failure::NoImage)?;
        let object = StoredObject::open(&object.path).map_err(|error| unreadable(&error))?;
        let side = |tag| object.integer(tag).and_then(|side| u32::try_from(side).ok());
        let sides = side(tags::COLUMNS).zip(side(tags::ROWS)).ok_or(Failure::NoImage)?;
        let (columns, rows) = fitted(sides);
        let layer = layer(&looked, columns, rows);
        Ok((encode(&layer, (columns, rows), ExtendedColorType::Rgba8)?, study_of(&job)))
    })
    .await?;
    state.glanced(&Visitor::of(&viewer, arrival), about);
    Ok(([(CONTENT_TYPE, "image/png")], png).into_response())
}

/// The layer's size for an image of `columns` and `rows`: of the same shape.
fn fitted((columns, rows): (u32, u32)) -> (u32, u32) {
    let longest = u64::from(columns.max(rows).max(1));
    let side = |side: u32| (u64::from(side) * u64::from(SIDE) / longest).max(1) as u32;
    (side(columns), side(rows))
}

/// Red, green, blue and opacity of each pixel, row after row.
fn layer(looked: &Saliency, columns: u32, rows: u32) -> Vec<u8> {
    let heat = looked.heat();
    let [red, green, blue] = ORANGE.map(|value| value as u8);
    let middle = |at: u32, of: u32| (f64::from(at) + 0.5) / f64::from(of);
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
    let pixels = places.flat_map(|(column, row)| {
        let part = STRONGEST * heat(middle(column, columns), middle(row, rows));
        [red, green, blue, (part * 255.0).round() as u8]
    });
    pixels.collect()
}
