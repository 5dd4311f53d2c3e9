//! A page a study: image, labels or reference text, draft, scores; nothing from outside.

use std::io::Cursor;
use std::path::Path;

use image::{GrayImage, ImageFormat};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::EvaluateError;
use super::look::{self, Read, Seen};
use super::table::{Study, Table};
use crate::radiograph::{GreyImage, resize};

/// The longest side of an image on a page, pixels.
const LONGEST: u32 = 512;
const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
img{max-width:100%}main{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:2rem}\
td,th{text-align:left;padding:.1rem .8rem .1rem 0}";
const DISCLAIMER: &str = "Draft, not verified. No diagnosis.";

/// Makes the folder of the pages, and tries whether it can be written: before what the pages show
/// is measured.
///
/// # Errors
/// A folder that cannot be made, or written into.
pub fn prepare(folder: &Path) -> Result<(), EvaluateError> {
    let made = std::fs::create_dir_all(folder);
    made.map_err(|source| file("make the folder", folder, source))?;
    let tried = tempfile::NamedTempFile::new_in(folder);
    tried.map(drop).map_err(|source| file("write into the folder", folder, source))
}

/// Writes `index.html` and a page a study into a folder that [`prepare`] made, in the table's order.
///
/// # Errors
/// An image that cannot be read, or a file that cannot be written.
pub fn write(
    folder: &Path,
    model: &str,
    table: &Table,
    seen: &[Seen],
    read: Read<'_>,
) -> Result<(), EvaluateError> {
    let name = |at: usize| format!("{:05}.html", at + 1);
    for (at, (study, seen)) in table.studies.iter().zip(seen).enumerate() {
        let page = page(model, study, seen, &look::open(study, read)?)?;
        save(&folder.join(name(at)), page)?;
    }
    let index = framed(
        "Drafts",
        &html! {
            h1 { "Drafts by " (model) }
            p { (DISCLAIMER) }
            table {
                tr { th { "study" } th { "abnormal" } th { "score" } th { "draft" } }
                @for (at, (study, seen)) in table.studies.iter().zip(seen).enumerate() {
                    tr {
                        td { a href=(name(at)) { (study.name) } }
                        td { (label(study.abnormal)) }
                        td { (percent(seen.abnormal())) }
                        td { (seen.text) }
                    }
                }
            }
        },
    );
    save(&folder.join("index.html"), index)
}

fn page(
    model: &str,
    study: &Study,
    seen: &Seen,
    image: &GreyImage,
) -> Result<Markup, EvaluateError> {
    let source = format!("data:image/png;base64,{}", base64(&png(image)?));
    Ok(framed(
        &study.name,
        &html! {
            p { a href="index.html" { "all studies" } }
            h1 { (study.name) }
            main {
                img src=(source) alt="radiograph";
                div {
                    h2 { "Draft" }
                    p { (seen.text) }
                    p { (DISCLAIMER) " Written by " (model) "." }
                    @if let Some(report) = study.column("report") {
                        h2 { "Reference" }
                        p { (report) }
                    }
                    h2 { "Labels and scores" }
                    table {
                        tr { th { "observation" } th { "label" } th { "score" } th { "draft" } }
                        tr { td { "abnormal" } td { (label(study.abnormal)) }
                            td { (percent(seen.abnormal())) } td {} }
                        @for (observation, truth) in &study.truth {
                            tr {
                                td { (observation.display_name()) }
                                td { (label(Some(*truth))) }
                                td { (percent(seen.score(*observation))) }
                                td { @if seen.said.contains(observation) { "stated" } }
                            }
                        }
                    }
                }
            }
        },
    ))
}

fn framed(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}

fn label(truth: Option<bool>) -> &'static str {
    match truth {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    }
}

fn percent(score: Option<f32>) -> String {
    score.map_or_else(String::new, |score| format!("{:.0}%", score * 100.0))
}

fn png(image: &GreyImage) -> Result<Vec<u8>, EvaluateError> {
    let longest = image.width().max(image.height());
    let smaller = (longest > LONGEST).then(|| {
        let side = |length: u32| length * LONGEST / longest;
        resize::bicubic(image, side(image.width()), side(image.height()))
    });
    let image = smaller.as_ref().unwrap_or(image);
    let raw = GrayImage::from_raw(image.width(), image.height(), image.pixels().to_vec());
    let raw = raw.ok_or_else(|| EvaluateError::Change("it has no pixels".to_owned()))?;
    let mut out = Cursor::new(Vec::new());
    raw.write_to(&mut out, ImageFormat::Png)
        .map_err(|error| EvaluateError::Change(error.to_string()))?;
    Ok(out.into_inner())
}

/// RFC 4648, for images inside of pages.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let six = bits >> (18 - 6 * place) & 63;
            let letter = ALPHABET.get(six as usize).map_or('=', |letter| char::from(*letter));
            text.push(if place > three.len() { '=' } else { letter });
        }
    }
    text
}

fn save(path: &Path, page: Markup) -> Result<(), EvaluateError> {
    std::fs::write(path, page.into_string()).map_err(|source| file("write it", path, source))
}

fn file(action: &'static str, path: &Path, source: std::io::Error) -> EvaluateError {
    EvaluateError::File { action, path: path.to_owned(), source }
}
