//! The worklist: the most urgent studies first, of those the newest first.

use std::cmp::Reverse;
use std::collections::HashSet;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};

use super::access::Viewer;
use super::api::Wanted;
use super::caption::{Caption, caption};
use super::failure::Failure;
use super::page::{self, Refresh, tag, time};
use super::{WorklistState, blocking};
use crate::spool::{JobDetail, JobState, JobView, Spool};
use crate::vocabulary::{PatientText, Priority};

/// The most studies on the page.
const MOST: usize = 100;
/// Seconds between two looks.
const REFRESH: u32 = 10;
/// Characters of a draft in the list.
const EXCERPT: usize = 280;

/// `GET /`
pub(super) async fn page(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Failure> {
    let filter = wanted.filter(MOST)?;
    let spool = state.spool.clone();
    let studies = blocking(move || {
        let jobs = spool.jobs(&filter)?;
        studies(&spool, jobs)
    })
    .await?;
    let body = html! {
        h1 { "Worklist" }
        (form(&wanted))
        @if studies.is_empty() {
            p.empty { "No study. Send a chest radiograph to this node, and it stands here." }
        } @else {
            (table(&studies))
        }
    };
    Ok(page::page("Thorascribe worklist", &Refresh::Seconds(REFRESH), &viewer, &body))
}

/// The newest version of each study, as the page orders them.
fn studies(spool: &Spool, jobs: Vec<JobView>) -> Result<Vec<(JobDetail, Caption)>, Failure> {
    let mut seen = HashSet::new();
    let mut studies = Vec::new();
    for job in jobs {
        if seen.insert(job.study.clone())
            && let Some(detail) = spool.job(&job.study)?
        {
            let caption = caption(&detail);
            studies.push((detail, caption));
        }
    }
    studies.sort_by_key(|(job, _)| Reverse((job.row.priority, job.row.received_at)));
    Ok(studies)
}

fn form(wanted: &Wanted) -> Markup {
    html! {
        form method="get" action="/" {
            input type="search" name="q" value=(wanted.q) placeholder="Study UID, sender or model"
                aria-label="Search";
            (select("state", "any state", JobState::ALL.iter().map(ToString::to_string), wanted.state()))
            (select(
                "priority",
                "any priority",
                [Priority::Stat, Priority::Urgent, Priority::Routine].iter().map(ToString::to_string),
                wanted.priority(),
            ))
            button type="submit" { "Show" }
        }
    }
}

fn select(name: &str, all: &str, options: impl Iterator<Item = String>, chosen: &str) -> Markup {
    html! {
        select name=(name) aria-label=(name) {
            option value="" { (all) }
            @for option in options.filter(|option| option != "merged") {
                option value=(option) selected[option == chosen] { (option) }
            }
        }
    }
}

fn table(studies: &[(JobDetail, Caption)]) -> Markup {
    html! {
        table {
            thead { tr {
                th { "Priority" } th { "Patient" } th { "Study" } th { "Draft (not verified)" }
                th { "State" } th { "Received" }
            } }
            tbody { @for (job, caption) in studies { (row(job, caption)) } }
        }
    }
}

fn row(job: &JobDetail, caption: &Caption) -> Markup {
    let patient = caption.patient.reveal();
    html! {
        tr {
            td { (tag(&job.row.priority.to_string())) }
            td {
                a href={ "/studies/" (job.row.study) } {
                    @if patient.is_empty() { "unnamed" } @else { (patient) }
                }
                div.small { (caption.patient_id.reveal()) }
            }
            td {
                (caption.modality) " " span.num { (caption.date) }
                div.small { (caption.description.reveal()) }
            }
            td.draft {
                @match (&job.text, &job.row.reason) {
                    (Some(text), _) => p { (excerpt(text)) },
                    (None, Some(reason)) => p.small { (reason) },
                    (None, None) => p.small { "waiting" },
                }
            }
            td {
                (tag(job.row.state.as_str()))
                @for delivery in job.row.deliveries.iter().filter(|d| d.object == "report") {
                    div.small { (delivery.destination) ": " (delivery.state) }
                }
            }
            td.num { (time(job.row.received_at)) }
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
