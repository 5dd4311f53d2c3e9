//! For programs: the rows of `queue list --json` and `queue show --json`.

use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::{Extension, Json};
use serde::Deserialize;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::told::{Visitor, study_of};
use super::{WorklistState, blocking};
use crate::spool::{JobDetail, JobFilter, JobView};
use crate::vocabulary::StudyUid;

/// The most rows that one answer holds.
const MOST: usize = 1000;

/// What may stand behind the question mark.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    state: String,
    #[serde(default)]
    priority: String,
    #[serde(default)]
    pub(super) q: String,
    #[serde(default)]
    signed: String,
    #[serde(default)]
    limit: String,
    /// Of the worklist, from 1.
    #[serde(default)]
    page: String,
}

impl Wanted {
    /// The filter; an empty value asks for nothing, as an empty field of a form does.
    pub(super) fn filter(&self, most: usize) -> Result<JobFilter, Failure> {
        let limit = some(&self.limit, "limit")?.unwrap_or(most).min(most);
        Ok(JobFilter {
            state: some(&self.state, "state")?,
            priority: some(&self.priority, "priority")?,
            signed: match self.signed.as_str() {
                "" => None,
                "yes" => Some(true),
                "no" => Some(false),
                other => return Err(Failure::Query(format!("signed is yes or no, not {other:?}"))),
            },
            q: Some(self.q.trim().to_owned()).filter(|q| !q.is_empty()),
            limit: Some(limit),
        })
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }

    pub(super) fn priority(&self) -> &str {
        &self.priority
    }

    pub(super) fn signed(&self) -> &str {
        &self.signed
    }

    /// The page of the worklist, from 1.
    pub(super) fn page(&self) -> Result<usize, Failure> {
        Ok(some::<usize>(&self.page, "page")?.unwrap_or(1).max(1))
    }

    /// The same list on another page.
    pub(super) fn address(&self, page: usize) -> String {
        let number = page.to_string();
        let fields = [
            ("q", self.q.as_str()),
            ("priority", &self.priority),
            ("state", &self.state),
            ("signed", &self.signed),
            ("page", &number),
        ];
        let given = fields.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        format!("/?{}", pairs.join("&"))
    }
}

/// A value for the query of an address.
fn escaped(value: &str) -> String {
    use std::fmt::Write;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(text, "%{byte:02X}").unwrap_or_default();
        }
        text
    })
}

fn some<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
    name: &str,
) -> Result<Option<T>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Failure::Query(format!("{name}: {error}")))
}

/// `GET /api/studies`
pub(super) async fn studies(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    address: Uri,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<JobView>>, Failure> {
    let filter = wanted.filter(MOST)?;
    state.listed(&Visitor::of(&viewer, arrival), &address.to_string());
    let spool = state.spool.clone();
    Ok(Json(blocking(move || Ok(spool.jobs(&filter)?)).await?))
}

/// `GET /api/studies/{study uid}`
pub(super) async fn study(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
) -> Result<Json<JobDetail>, Failure> {
    let job = find(&state, &study).await?;
    state.viewed(&Visitor::of(&viewer, arrival), study_of(&job));
    Ok(Json(job))
}

/// A Study Instance UID of an address.
pub(super) fn uid(study: &str) -> Result<StudyUid, Failure> {
    study.parse().map_err(|error| Failure::Query(format!("study: {error}")))
}

/// The newest job of a study.
pub(super) async fn find(state: &WorklistState, study: &str) -> Result<JobDetail, Failure> {
    let study = uid(study)?;
    let spool = state.spool.clone();
    blocking(move || spool.job(&study)?.ok_or(Failure::NoStudy)).await
}
