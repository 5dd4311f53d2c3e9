//! The worklist: what nobody signed yet before the rest, the most urgent first, of those the
//! newest.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header::{ETAG, HeaderMap, IF_NONE_MATCH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use sha2::{Digest, Sha256};

use super::access::{Arrival, Viewer};
use super::api::Wanted;
use super::chips::chips;
use super::failure::Failure;
use super::page::{self, Notice, Refresh, tag, time};
use super::told::Visitor;
use super::{WorklistState, blocking};
use crate::spool::{JobState, Listed};
use crate::vocabulary::{PatientText, Priority, hexadecimal};

/// Studies on a page.
const MOST: usize = 50;
/// Seconds between two looks, where no script looks more often.
const REFRESH: u32 = 10;
/// Characters of a text in the list.
const EXCERPT: usize = 320;

/// `GET /`
pub(super) async fn page(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Failure> {
    let number = wanted.page()?;
    let studies = studies(&state, &wanted).await?;
    state.listed(&Visitor::of(&viewer, arrival), &wanted.address(number));
    let body = html! {
        h1 { "Worklist" }
        (form(&wanted))
        p #news.unseen role="status" aria-live="polite" {}
        (rows(&studies))
        nav.pages aria-label="Pages" {
            @if number > 1 { a rel="prev" href=(wanted.address(number - 1)) { "Newer and more urgent" } }
            @if studies.len() > MOST { a rel="next" href=(wanted.address(number + 1)) { "More" } }
        }
        p.keys { kbd { "j" } " " kbd { "k" } " next, previous · " kbd { "Enter" } " open · " kbd { "/" } " search" }
    };
    Ok(page::page("Worklist", &Refresh::Seconds(REFRESH), &Notice::Drafts, &viewer, &body))
}

/// `GET /rows`: the list alone, for the page's script; nothing when it is as the script knows it.
pub(super) async fn part(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let number = wanted.page()?;
    state.listed(&Visitor::of(&viewer, arrival), &wanted.address(number));
    let rows = rows(&studies(&state, &wanted).await?).into_string();
    let mark = format!("\"{}\"", mark(&rows));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known == mark.as_str()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let mut answer = Html(rows).into_response();
    if let Ok(mark) = HeaderValue::from_str(&mark) {
        answer.headers_mut().insert(ETAG, mark);
    }
    Ok(answer)
}

/// One more than a page holds, so that it knows whether another follows.
async fn studies(state: &WorklistState, wanted: &Wanted) -> Result<Vec<Listed>, Failure> {
    let filter = wanted.filter(MOST + 1)?;
    let skip = (wanted.page()? - 1).saturating_mul(MOST);
    let spool = state.spool.clone();
    blocking(move || Ok(spool.worklist(&filter, skip)?)).await
}

/// A short name for a text: the same for the same text.
fn mark(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hexadecimal(digest.get(..8).unwrap_or_default())
}

fn form(wanted: &Wanted) -> Markup {
    let priorities = [Priority::Stat, Priority::Urgent, Priority::Routine];
    html! {
        form.filter method="get" action="/" role="search" {
            label { span.unseen { "Search" }
                input #search type="search" name="q" value=(wanted.q)
                    placeholder="Patient, ID, accession, text, sender";
            }
            (select("priority", "any priority", priorities.iter().map(ToString::to_string), wanted.priority()))
            (select("state", "any state", JobState::ALL.iter().map(ToString::to_string), wanted.state()))
            (select("signed", "signed or not", ["no", "yes"].map(str::to_owned).into_iter(), wanted.signed()))
            button type="submit" { "Show" }
        }
    }
}

fn select(name: &str, all: &str, options: impl Iterator<Item = String>, chosen: &str) -> Markup {
    html! {
        select name=(name) aria-label=(name) {
            option value="" { (all) }
            @for option in options.filter(|option| option != "merged") {
                option value=(option) selected[option == chosen] {
                    @match (name, option.as_str()) {
                        ("signed", "no") => "not signed",
                        ("signed", _) => "signed",
                        _ => (option),
                    }
                }
            }
        }
    }
}

fn rows(studies: &[Listed]) -> Markup {
    html! {
        table #worklist {
            caption.unseen { "Studies, the most urgent first" }
            thead { tr {
                th scope="col" { "Priority" } th scope="col" { span.unseen { "Image" } }
                th scope="col" { "Patient and study" } th scope="col" { "Draft, not verified" }
                th scope="col" { "Stages" } th scope="col" { "Destinations" }
            } }
            tbody {
                @for study in studies.iter().take(MOST) {
                    @let row = row(study);
                    tr data-study=(study.row.study) data-priority=(study.row.priority)
                        data-mark=(mark(&row.0)) { (row) }
                }
                @if studies.is_empty() {
                    tr.nothing { td.empty colspan="6" {
                        "No study. Send a chest radiograph to this node, and it stands here."
                    } }
                }
            }
        }
    }
}

fn row(study: &Listed) -> Markup {
    let (row, caption) = (&study.row, &study.caption);
    let patient = caption.patient.reveal();
    let address = format!("/studies/{}", row.study);
    html! {
        td.first { (tag(&row.priority.to_string())) div.small.num { (time(row.received_at)) } }
        td.thumb {
            img loading="lazy" alt="" width="72" height="72"
                src={ (address) "/image.png?size=144&version=" (row.version) };
        }
        th scope="row" {
            a.study href=(address) { @if patient.is_empty() { "unnamed" } @else { (patient) } }
            div.small { (caption.patient_id.reveal()) " " span.num { (caption.birth_date.reveal()) } }
            div.small { (caption.modality) " " span.num { (caption.date) } " " (caption.description.reveal()) }
        }
        td.draft {
            @match (&study.text, &row.reason) {
                (Some(text), _) => { (chips(text.reveal(), &study.draft)) p { (excerpt(text)) } }
                (None, Some(reason)) => p.small { (reason) },
                (None, None) => p.small { "waiting for its draft" },
            }
        }
        td.stages {
            @if let Some(signed) = &row.signed {
                span.tag.signed { "signed" } div.small { (signed.by) }
            } @else { (tag(row.state.as_str())) }
            (stages(study))
        }
        td.small {
            @for delivery in row.deliveries.iter().filter(|d| d.object == "report") {
                div title=[delivery.reason.as_deref()] {
                    (delivery.destination) " " (tag(delivery.state.as_str()))
                }
            }
        }
    }
}

/// How long the draft took, in all and step by step.
fn stages(study: &Listed) -> Markup {
    let steps: Vec<(&String, f64)> = study.seconds.as_object().map_or_else(Vec::new, |steps| {
        steps.iter().filter_map(|(step, value)| Some((step, value.as_f64()?))).collect()
    });
    let all: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
    let each: Vec<String> = steps.iter().map(|(step, s)| format!("{step} {s:.2} s")).collect();
    html! {
        @if !steps.is_empty() {
            details.small { summary { (format!("{all:.1} s")) } (each.join(", ")) }
        }
    }
}

fn excerpt(text: &PatientText) -> String {
    let mut short: String = text.reveal().chars().take(EXCERPT).collect();
    if short.len() < text.reveal().len() {
        short.push('…');
    }
    short
}
