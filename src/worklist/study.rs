//! One study: image, text, what it was made from, where it went, and what happened.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde_json::Value;

use super::access::{Arrival, Viewer};
use super::chips::chips;
use super::failure::Failure;
use super::image::{Look, figure};
use super::page::{self, Notice, Refresh, tag, time};
use super::told::{Visitor, study_of};
use super::{WorklistState, api, blocking, operate, sign, tree};
use crate::spool::{JobDetail, VersionView};

/// `GET /studies/{study uid}`
pub(super) async fn page(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Query(look): Query<Look>,
) -> Result<Html<String>, Failure> {
    let job = api::find(&state, &study).await?;
    state.viewed(&Visitor::of(&viewer, arrival), study_of(&job));
    show(&state, &viewer, job, &look, None).await
}

/// The page; `refused` is a text that was not signed, and why.
pub(super) async fn show(
    state: &WorklistState,
    viewer: &Viewer,
    job: JobDetail,
    look: &Look,
    refused: Option<(String, String)>,
) -> Result<Html<String>, Failure> {
    let spool = state.spool.clone();
    let look = look.clone();
    let (job, versions, film, tree) = blocking(move || {
        let versions = spool.versions(&job.row.study)?;
        let film = figure(&job, &look);
        let tree = tree::tree(&job);
        Ok((job, versions, film, tree))
    })
    .await?;
    let notice = job.row.signed.clone().map_or(Notice::Drafts, Notice::Signed);
    let body = html! {
        (head(&job))
        div.study {
            (film)
            div {
                (text(&job))
                (sign::form(viewer, &job, refused))
                (downloads(&job))
            }
        }
        (deliveries(&job))
        (history(&job, &versions))
        (tree)
        section aria-labelledby="made" { h2 #made { "Made by" } (made_by(&job)) }
        (events(&job))
        (operate::forms(viewer, &job))
        p.keys { kbd { "u" } " worklist · " kbd { "e" } " edit" " · " kbd { "o" } " where the model looked" }
    };
    Ok(page::page("Study", &Refresh::Never, &notice, viewer, &body))
}

fn head(job: &JobDetail) -> Markup {
    let caption = &job.caption;
    let patient = caption.patient.reveal();
    let facts = [
        ("Patient ID", caption.patient_id.reveal()),
        ("Born", caption.birth_date.reveal()),
        ("Study date", &caption.date),
        ("Modality", &caption.modality),
        ("Description", caption.description.reveal()),
        ("Accession", &caption.accession),
        ("Study UID", job.row.study.as_str()),
    ];
    html! {
        h1 { @if patient.is_empty() { "Study" } @else { (patient) } }
        p {
            (tag(&job.row.priority.to_string())) " " (tag(job.row.state.as_str()))
            " version " (job.row.version) ", received " (time(job.row.received_at))
        }
        dl.facts { @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            div { dt { (name) } dd { (value) } }
        } }
    }
}

fn text(job: &JobDetail) -> Markup {
    html! {
        section aria-labelledby="text" {
            h2 #text { @if job.row.signed.is_some() { "Report, verified" } @else { "Draft, not verified" } }
            @match (&job.text, &job.row.reason) {
                (Some(text), _) => {
                    (chips(text.reveal(), &job.draft))
                    div.report { (text.reveal()) }
                }
                (None, Some(reason)) => p { "No draft: " (reason) },
                (None, None) => p { "No draft yet." },
            }
        }
    }
}

fn downloads(job: &JobDetail) -> Markup {
    let address = format!("/studies/{}", job.row.study);
    html! {
        p.downloads {
            @if !job.artefacts.is_empty() {
                a href={ (address) "/report.dcm?version=" (job.row.version) } download { "Report (DICOM SR)" }
            }
            @if job.objects.iter().any(|object| !object.own_object) {
                a href={ (address) "/image.png?size=4096" } download={ (job.row.study) ".png" } { "Image (PNG)" }
            }
        }
    }
}

/// What made the draft: shown as far as the drafting stage kept it.
fn made_by(job: &JobDetail) -> Markup {
    let text = |pointer: &str| match job.draft.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let image = job.image.as_ref().map(ToString::to_string).unwrap_or_default();
    let seconds: Vec<String> = job.seconds.as_object().map_or_else(Vec::new, |steps| {
        let each = steps.iter().filter_map(|(step, value)| Some((step, value.as_f64()?)));
        each.map(|(step, value)| format!("{step} {value:.3} s")).collect()
    });
    let facts = [
        ("Model", text("/model/name")),
        ("Digest", text("/model/digest")),
        ("Prompt", text("/prompt")),
        ("View", text("/view")),
        ("Abnormal, by the model", text("/abnormal")),
        ("From image", image),
        ("Took", seconds.join(", ")),
    ];
    html! {
        dl { @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            dt { (name) } dd { (value) }
        } }
    }
}

fn deliveries(job: &JobDetail) -> Markup {
    html! {
        section aria-labelledby="deliveries" {
            h2 #deliveries { "Deliveries" }
            @if job.row.deliveries.is_empty() {
                p.small { "None: no destination receives anything of this study." }
            } @else {
                table {
                    thead { tr {
                        th scope="col" { "Destination" } th scope="col" { "Object" } th scope="col" { "State" }
                        th scope="col" { "Attempts" } th scope="col" { "Reason" }
                    } }
                    tbody { @for delivery in &job.row.deliveries { tr {
                        td { (delivery.destination) }
                        td.small { (delivery.object) }
                        td { (tag(delivery.state.as_str())) }
                        td.num { (delivery.attempts) }
                        td.small { (delivery.reason.as_deref().unwrap_or_default()) }
                    } } }
                }
            }
        }
    }
}

fn history(job: &JobDetail, versions: &[VersionView]) -> Markup {
    html! {
        section aria-labelledby="versions" {
            h2 #versions { "Versions" }
            ol.versions reversed { @for version in versions { li value=(version.version) {
                @match &version.signed {
                    Some(signed) => { span.tag.signed { "signed" } " by " (signed.by) ", " (time(signed.at)) }
                    None => {
                        (tag(version.state.as_str()))
                        @if let Some(at) = version.at { " draft, " (time(at)) }
                    }
                }
                @if let Some(text) = &version.text {
                    details { summary { "Text" } div.report { (text.reveal()) } }
                    a href={ "/studies/" (job.row.study) "/report.dcm?version=" (version.version) } download {
                        "DICOM SR"
                    }
                }
            } } }
        }
    }
}

fn events(job: &JobDetail) -> Markup {
    html! {
        section aria-labelledby="events" {
            h2 #events { "What happened" }
            table {
                tbody { @for event in &job.events { tr {
                    td.num { (time(event.at)) }
                    td.num { @if let Some(version) = event.version { "version " (version) } }
                    td { (event.to) }
                    td.small { (event.note.as_deref().unwrap_or_default()) }
                } } }
            }
        }
    }
}
