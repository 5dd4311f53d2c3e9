//! The image of a study as a picture: small in the list, larger and in any window on its page.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use dicom_dictionary_std::tags;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::told::{Visitor, study_of};
use super::{WorklistState, api, blocking, overlay};
use crate::object::StoredObject;
use crate::radiograph::{Decoder, GreyImage, resize};
use crate::report::picture::caption;
use crate::spool::{JobDetail, SpooledObject};

/// Images that are decoded at the same time: each takes some memory.
static DECODING: Semaphore = Semaphore::const_new(2);
/// The longest side on the page of a study.
const PAGE: u32 = 1024;
/// The longest side of a picture in the list, and so of those that are kept.
const SMALL: u32 = 160;
/// Small pictures that are kept: some 3 MB.
const KEPT: usize = 256;

/// How an image is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Look {
    #[serde(default)]
    size: String,
    /// The middle of the values shown.
    #[serde(default)]
    center: String,
    /// From black to white.
    #[serde(default)]
    width: String,
    /// Whether it is shown where the model looked; empty: no.
    #[serde(default)]
    overlay: String,
}

impl Look {
    fn size(&self) -> Result<u32, Failure> {
        if self.size.is_empty() {
            return Ok(PAGE);
        }
        let size = self.size.parse::<u32>().map_err(|e| Failure::Query(format!("size: {e}")))?;
        Ok(size.clamp(16, 4096))
    }

    /// Center and width, if both are there.
    fn window(&self) -> Result<Option<(f64, f64)>, Failure> {
        if self.center.trim().is_empty() || self.width.trim().is_empty() {
            return Ok(None);
        }
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        match (number(&self.center), number(&self.width)) {
            (Some(center), Some(width)) if width > 0.0 => Ok(Some((center, width))),
            _ => Err(Failure::Query("center and width: two numbers, the width above 0".to_owned())),
        }
    }
}

/// A picture that was made already.
struct Picture {
    of: PathBuf,
    size: u32,
    png: Arc<Vec<u8>>,
}

/// Small pictures, the oldest first.
#[derive(Default)]
pub(super) struct Kept(Mutex<VecDeque<Picture>>);

impl Kept {
    fn find(&self, path: &std::path::Path, size: u32) -> Option<Arc<Vec<u8>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|picture| picture.of == path && picture.size == size);
        found.map(|picture| Arc::clone(&picture.png))
    }

    fn keep(&self, picture: Picture) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(picture);
    }
}

/// `GET /studies/{study uid}/image.png?size= &center= &width=`
pub(super) async fn png(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Query(look): Query<Look>,
) -> Result<Response, Failure> {
    let (size, window) = (look.size()?, look.window()?);
    let study = api::uid(&study)?;
    let spool = state.spool.clone();
    let (path, about) = blocking(move || {
        let job = spool.job(&study)?.ok_or(Failure::NoStudy)?;
        let object = picture(&job).ok_or(Failure::NoImage)?;
        Ok((object.path.clone(), study_of(&job)))
    })
    .await?;
    let kind = [(CONTENT_TYPE, "image/png")];
    let small = size <= SMALL && window.is_none();
    if small && let Some(png) = state.kept.find(&path, size) {
        return Ok((kind, png.to_vec()).into_response());
    }
    let decoding = DECODING.acquire().await;
    let file = path.clone();
    let decoder = state.decoder.clone();
    let png = blocking(move || {
        let png = draw(&decoder, &file, size, window);
        // A browser that went away must not free the place before the work is done.
        drop(decoding);
        png
    });
    let png = png.await?;
    if small {
        // Part of a list, which was told of.
        state.kept.keep(Picture { of: path, size, png: Arc::new(png.clone()) });
    } else {
        state.glanced(&Visitor::of(&viewer, arrival), about);
    }
    Ok((kind, png).into_response())
}

/// The image drafted from, else the first radiograph.
pub(super) fn picture(job: &JobDetail) -> Option<&SpooledObject> {
    let chosen = job.objects.iter().find(|object| Some(&object.instance) == job.image.as_ref());
    chosen.or_else(|| job.objects.iter().find(|object| object.is_image()))
}

fn draw(
    decoder: &Decoder,
    path: &std::path::Path,
    size: u32,
    window: Option<(f64, f64)>,
) -> Result<Vec<u8>, Failure> {
    let image = decoder.develop(path, window, |rendered| fitted(rendered.image, size));
    let image = image.map_err(|error| unreadable(&error))?;
    encode(image.pixels(), (image.width(), image.height()), ExtendedColorType::L8)
}

/// Why a picture cannot be shown.
pub(super) fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::Unreadable(error.to_string())
}

/// A PNG of columns and rows of pixels.
pub(super) fn encode(
    pixels: &[u8],
    (columns, rows): (u32, u32),
    kind: ExtendedColorType,
) -> Result<Vec<u8>, Failure> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(pixels, columns, rows, kind)
        .map_err(|error| unreadable(&error))?;
    Ok(png)
}

/// No side longer than `size`; never enlarged.
fn fitted(image: GreyImage, size: u32) -> GreyImage {
    let longest = image.width().max(image.height()).max(1);
    if longest <= size {
        return image;
    }
    let side = |side: u32| (u64::from(side) * u64::from(size) / u64::from(longest)) as u32;
    resize::bicubic(&image, side(image.width()), side(image.height()))
}

/// The image on the page of a study, with its window to change.
pub(super) fn figure(job: &JobDetail, look: &Look) -> Markup {
    let Some(spooled) = picture(job) else {
        return html! { p.film.small { "The image is no longer on this node." } };
    };
    let object = StoredObject::open(&spooled.path).ok();
    let stated = |tag| object.as_ref().and_then(|object| object.decimals(tag).first().copied());
    let bits = object.as_ref().and_then(|object| object.integer(tags::BITS_STORED)).unwrap_or(12);
    let range = f64::from(1_u32 << bits.clamp(1, 16));
    let or = |typed: &str, value: f64| {
        if typed.is_empty() { format!("{value}") } else { typed.to_owned() }
    };
    let center = or(&look.center, stated(tags::WINDOW_CENTER).unwrap_or(range / 2.0));
    let width = or(&look.width, stated(tags::WINDOW_WIDTH).unwrap_or(range));
    let address = format!("/studies/{}", job.row.study);
    let source = format!("{address}/image.png?size={PAGE}&version={}", job.row.version);
    let chosen = match look.window() {
        Ok(Some((center, width))) => format!("{source}&center={center}&width={width}"),
        _ => source.clone(),
    };
    let looked = overlay::of(job);
    let view = job.draft.get("view").and_then(serde_json::Value::as_str).unwrap_or("unknown view");
    html! {
        figure.film {
            @if looked.is_some() {
                input #overlay type="checkbox" form="window" name="overlay" value="on"
                    checked[!look.overlay.is_empty()];
                label for="overlay" { "Where the model looked " kbd { "o" } }
            }
            div.layers {
                img #film src=(chosen) data-source=(source) alt={ "Chest radiograph, " (view) };
                @if let Some(looked) = &looked {
                    img.overlay src={ (address) "/overlay.png?version=" (job.row.version) }
                        alt=(caption(looked));
                }
            }
            figcaption {
                @if let Some(looked) = &looked { p.overlay.small { "Orange: " (caption(looked)) "." } }
                form #window method="get" action=(address) {
                    label { "Level " input name="center" inputmode="decimal" value=(center) size="7"; }
                    label { "Window " input name="width" inputmode="decimal" value=(width) size="7"; }
                    button type="submit" { "Apply" }
                    a href=(address) { "As stored" }
                }
                span.small { "Drag on the image: across for the window, up and down for the level." }
            }
        }
    }
}
