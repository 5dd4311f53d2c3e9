//! One study: its draft, what it was made from, where it went, and what happened.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use serde_json::Value;

use super::access::Viewer;
use super::caption::{Caption, caption};
use super::failure::Failure;
use super::page::{self, Refresh, tag, time};
use super::{WorklistState, api, blocking, operate};
use crate::spool::JobDetail;

/// `GET /studies/{study uid}`
pub(super) async fn page(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Path(study): Path<String>,
) -> Result<Html<String>, Failure> {
    let job = api::find(&state, &study).await?;
    let (job, caption) = blocking(move || {
        let caption = caption(&job);
        Ok((job, caption))
    })
    .await?;
    let body = html! {
        (head(&job, &caption))
        h2 { "Draft, not verified" }
        @match (&job.text, &job.row.reason) {
            (Some(text), _) => div.report { (text.reveal()) },
            (None, Some(reason)) => p { "No draft: " (reason) },
            (None, None) => p { "No draft yet." },
        }
        (made_by(&job))
        (deliveries(&job))
        (events(&job))
        (operate::forms(&viewer, &job))
    };
    Ok(page::page("Thorascribe study", &Refresh::Never, &viewer, &body))
}

fn head(job: &JobDetail, caption: &Caption) -> Markup {
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
        dl { @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            dt { (name) } dd { (value) }
        } }
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
        h2 { "Deliveries" }
        @if job.row.deliveries.is_empty() {
            p.small { "None: no destination receives anything of this study." }
        } @else {
            table {
                thead { tr { th { "Destination" } th { "Object" } th { "State" } th { "Attempts" } th { "Reason" } } }
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

fn events(job: &JobDetail) -> Markup {
    html! {
        h2 { "What happened" }
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
