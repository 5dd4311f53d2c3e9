//! What an administrator does to a study: retry and drop.

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::response::Redirect;
use maud::{Markup, html};
use serde::Deserialize;
use tracing::info;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::page::csrf;
use super::told::{self, Visitor};
use super::{WorklistState, api, blocking};
use crate::observe::audit::Event;
use crate::spool::JobDetail;
use crate::vocabulary::StudyUid;

/// What both forms send.
#[derive(Debug, Deserialize)]
pub(super) struct Order {
    csrf: String,
}

/// Lets an administrator's own form through, and gives the study that it is about.
fn allowed(viewer: &Viewer, order: &Order, study: &str) -> Result<StudyUid, Failure> {
    viewer.sent(&order.csrf)?;
    if !viewer.administers() {
        return Err(Failure::Role("admin"));
    }
    api::uid(study)
}

fn who(viewer: &Viewer) -> &str {
    viewer.user.as_ref().map(|user| user.name.as_str()).unwrap_or_default()
}

/// `POST /studies/{study uid}/retry`
pub(super) async fn retry(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Form(order): Form<Order>,
) -> Result<Redirect, Failure> {
    let study = allowed(&viewer, &order, &study)?;
    let (spool, page) = (state.spool.clone(), format!("/studies/{study}"));
    info!(user = who(&viewer), %study, "retry");
    let about = blocking(move || {
        spool.retry_study(&study)?;
        Ok(told::study(&spool, &study)?)
    });
    let (who, study) = (Visitor::of(&viewer, arrival).person(), about.await?);
    state.audit.record(&Event::Retried { who, study });
    Ok(Redirect::to(&page))
}

/// `POST /studies/{study uid}/drop`
pub(super) async fn forget(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Form(order): Form<Order>,
) -> Result<Redirect, Failure> {
    let study = allowed(&viewer, &order, &study)?;
    let spool = state.spool.clone();
    info!(user = who(&viewer), %study, "drop");
    let about = blocking(move || {
        // Nothing about the patient is left afterwards.
        let about = told::study(&spool, &study)?;
        spool.drop_study(&study)?;
        Ok(about)
    });
    let (who, study) = (Some(Visitor::of(&viewer, arrival).person()), about.await?);
    state.audit.record(&Event::Deleted { who, study });
    Ok(Redirect::to("/"))
}

/// The two forms, where the viewer may use them.
pub(super) fn forms(viewer: &Viewer, job: &JobDetail) -> Markup {
    let study = &job.row.study;
    html! {
        @if viewer.administers() {
            section.operate aria-labelledby="operate" {
                h2 #operate { "Administration" }
                form method="post" action={ "/studies/" (study) "/retry" } {
                    (csrf(viewer))
                    button type="submit" { "Retry what failed or waits" }
                }
                details {
                    summary { "Drop this study" }
                    form method="post" action={ "/studies/" (study) "/drop" } {
                        (csrf(viewer))
                        p { "Its images, drafts and history are deleted from this node for good. \
                             What was delivered stays where it is." }
                        button.danger type="submit" { "Drop it for good" }
                    }
                }
            }
        }
    }
}
