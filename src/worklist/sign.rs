//! A radiologist edits a draft and signs it: a verified report in its place.

use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use tracing::info;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::image::Look;
use super::page::csrf;
use super::told::study_of;
use super::{WorklistState, api, blocking, study};
use crate::config::{Receives, User};
use crate::drafting::reports::{predecessors, reports};
use crate::findings;
use crate::object::StoredObject;
use crate::observe::audit::{Event, Person};
use crate::report::{CodedFinding, Created, Draft, ModelIdentity, Verification};
use crate::spool::{JobDetail, Signed, SpoolError};
use crate::vocabulary::PatientText;

/// The longest text that is signed, in characters.
const LONGEST: usize = 32 << 10;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Order {
    csrf: String,
    /// The version that was read.
    version: u32,
    text: String,
}

/// `POST /studies/{study uid}/sign`: answers once the report is on the disk.
pub(super) async fn sign(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Form(order): Form<Order>,
) -> Result<Response, Failure> {
    viewer.sent(&order.csrf)?;
    let Some(user) = viewer.user.clone().filter(|user| user.role.signs()) else {
        return Err(Failure::Role("radiologist"));
    };
    let job = api::find(&state, &study).await?;
    let text = order.text.replace("\r\n", "\n").trim().to_owned();
    let refused = match objection(&job, &order, &text) {
        None => keep(&state, (user, arrival), &job, &text).await?,
        objection => objection,
    };
    let Some(why) = refused else {
        return Ok(Redirect::to(&format!("/studies/{}", job.row.study)).into_response());
    };
    let job = api::find(&state, &study).await?;
    let page = study::show(&state, &viewer, job, &Look::default(), Some((text, why))).await?;
    Ok((StatusCode::CONFLICT, page).into_response())
}

/// Why a text cannot be signed as the report of a study.
fn objection(job: &JobDetail, order: &Order, text: &str) -> Option<String> {
    if job.row.version != order.version {
        Some("Meanwhile the study has another version: read it, then sign.".to_owned())
    } else if text.is_empty() {
        Some("A report needs a text.".to_owned())
    } else if text.chars().count() > LONGEST {
        Some(format!("A report has at most {LONGEST} characters."))
    } else {
        None
    }
}

/// Keeps the signed report, or says why that cannot be.
async fn keep(
    state: &WorklistState,
    (user, arrival): (User, Arrival),
    job: &JobDetail,
    text: &str,
) -> Result<Option<String>, Failure> {
    let name = user.name.clone();
    let who = Person::at(&name, arrival.client);
    let keeper = Keeper { state: state.clone(), user, job: job.clone(), text: text.to_owned() };
    match blocking(move || keeper.keep()).await {
        Ok(()) => {
            info!(user = name, study = %job.row.study, version = job.next_version, "signed");
            state.audit.record(&Event::Signed { who, study: study_of(job) });
            Ok(None)
        }
        Err(Failure::Spool(SpoolError::Changed { .. })) => {
            Ok(Some("Meanwhile the study has changed: read it again, then sign.".to_owned()))
        }
        Err(Failure::Unsigned(why)) => Ok(Some(why)),
        Err(other) => Err(other),
    }
}

/// All that a signed report is made from.
struct Keeper {
    state: WorklistState,
    user: User,
    job: JobDetail,
    text: String,
}

impl Keeper {
    fn keep(self) -> Result<(), Failure> {
        let Self { state, user, job, text } = self;
        let unsigned = |error: &dyn std::error::Error| Failure::Unsigned(error.to_string());
        let source = job.images.iter().find(|image| Some(&image.instance) == job.image.as_ref());
        let Some(source) = source else {
            return Err(Failure::Unsigned(
                "The image is no longer on this node, so no report can refer to it.".to_owned(),
            ));
        };
        let source = StoredObject::open(&source.path).map_err(|error| unsigned(&error))?;
        let edited = job.text.as_ref().is_none_or(|drafted| drafted.reveal().trim() != text);
        let draft = report(&user, &job, &text, edited);
        let artefacts =
            reports(&source, &job.images, &draft, &state.node).map_err(|error| unsigned(&error))?;
        let signed = Signed {
            seen: job.row.version,
            version: job.next_version,
            signer: user.spoken_name(),
            text: PatientText::new(text),
            draft: job.draft.clone(),
            artefacts,
            destinations: destinations(&state, &job),
        };
        Ok(state.spool.sign(&job.row.study, &signed)?)
    }
}

fn report(user: &User, job: &JobDetail, text: &str, edited: bool) -> Draft {
    let kept = |pointer: &str| {
        job.draft.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Draft {
        text: PatientText::new(text),
        model: ModelIdentity { name: kept("/model/name"), digest: kept("/model/digest") },
        prompt: kept("/prompt"),
        sampling: String::new(),
        version: job.next_version,
        created: Created::now(),
        predecessors: predecessors(&job.artefacts, &job.row.study),
        findings: coded(text),
        priority: job.row.priority,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        verification: Some(Verification {
            name: user.display_name.clone(),
            organization: user.organization.clone(),
            at: Created::now(),
            edited,
        }),
    }
}

/// What the signed text states: the reader has outranked the model's scores.
fn coded(text: &str) -> Vec<CodedFinding> {
    let found = findings::assess(&findings::label(text), &[]);
    found.iter().filter_map(CodedFinding::of).collect()
}

/// Whoever gets reports now, and whoever of the known destinations got the draft.
fn destinations(state: &WorklistState, job: &JobDetail) -> Vec<String> {
    let got = |name: &str| {
        job.row.deliveries.iter().any(|d| d.object == "report" && d.destination == name)
    };
    let recipients = state.recipients.borrow();
    let wanted = recipients
        .iter()
        .filter(|recipient| recipient.receives.contains(&Receives::Report) || got(&recipient.name));
    wanted.map(|recipient| recipient.name.clone()).collect()
}

/// The form, where the viewer signs and there is something to sign; with the text that was not
/// taken, and why.
pub(super) fn form(viewer: &Viewer, job: &JobDetail, refused: Option<(String, String)>) -> Markup {
    let Some(drafted) = job.text.as_ref().filter(|_| viewer.signs()) else { return html! {} };
    let (text, why) = match refused {
        Some((text, why)) => (text, Some(why)),
        None => (drafted.reveal().to_owned(), None),
    };
    let open = job.row.signed.is_none() || why.is_some();
    html! {
        details.sign open[open] {
            summary { @if job.row.signed.is_some() { "Correct and sign again" } @else { "Edit and sign" } }
            form method="post" action={ "/studies/" (job.row.study) "/sign" } {
                (csrf(viewer))
                input type="hidden" name="version" value=(job.row.version);
                @if let Some(why) = why { p.wrong role="alert" { (why) } }
                label for="edit" { "Report" }
                textarea #edit name="text" rows="9" required spellcheck="true" lang="en" { (text) }
                p.small { "Signing makes a verified report in your name, which replaces the draft at every \
                           destination." }
                button type="submit" { "Sign as verified" }
            }
        }
    }
}
