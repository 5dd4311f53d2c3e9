//! Reports to take away.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::told::{self, Visitor};
use super::{WorklistState, api, blocking};
use crate::spool::ArtefactKind;

/// Which version.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    version: u32,
}

/// `GET /studies/{study uid}/report.dcm?version=N`
pub(super) async fn report(
    State(state): State<WorklistState>,
    Extension(viewer): Extension<Viewer>,
    Extension(arrival): Extension<Arrival>,
    Path(study): Path<String>,
    Query(which): Query<Which>,
) -> Result<Response, Failure> {
    let study = api::uid(&study)?;
    let spool = state.spool.clone();
    let (name, bytes, about) = blocking(move || {
        let files = spool.artefacts(&study, which.version)?;
        let report = files.iter().find(|file| file.kind == ArtefactKind::Report);
        let file = report.ok_or(Failure::NoReport)?;
        let bytes = std::fs::read(&file.path).map_err(|e| Failure::Unreadable(e.to_string()))?;
        Ok((file.instance.to_string(), bytes, told::study(&spool, &study)?))
    })
    .await?;
    state.viewed(&Visitor::of(&viewer, arrival), about);
    let headers = [
        (CONTENT_TYPE, "application/dicom".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.dcm\"")),
    ];
    Ok((headers, bytes).into_response())
}
