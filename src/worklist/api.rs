//! For programs: the rows of `queue list --json` and `queue show --json`.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::failure::Failure;
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
    limit: String,
}

impl Wanted {
    /// The filter; an empty value asks for nothing, as an empty field of a form does.
    pub(super) fn filter(&self, most: usize) -> Result<JobFilter, Failure> {
        let limit = some(&self.limit, "limit")?.unwrap_or(most).min(most);
        Ok(JobFilter {
            state: some(&self.state, "state")?,
            priority: some(&self.priority, "priority")?,
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
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<JobView>>, Failure> {
    let filter = wanted.filter(MOST)?;
    let spool = state.spool.clone();
    Ok(Json(blocking(move || Ok(spool.jobs(&filter)?)).await?))
}

/// `GET /api/studies/{study uid}`
pub(super) async fn study(
    State(state): State<WorklistState>,
    Path(study): Path<String>,
) -> Result<Json<JobDetail>, Failure> {
    find(&state, &study).await.map(Json)
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
