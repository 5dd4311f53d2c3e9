//! For machines: is it alive, may it be sent to, what has it done.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::failure::Failure;
use super::{WorklistState, blocking};
use crate::observe::chain;
use crate::spool::SpoolError;

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    /// `model_not_loaded`, `disk_below_min_free` or `spool_not_writable`.
    reason: &'static str,
    detail: String,
}

/// `GET /readyz`: 200 when the node can do its work, else 503 with every reason.
pub(super) async fn ready(State(state): State<WorklistState>) -> Result<Response, Failure> {
    let mut reasons = Vec::new();
    if !(state.model)() {
        let detail = "the model is not loaded, or its thread has ended; see the log".to_owned();
        reasons.push(Reason { reason: "model_not_loaded", detail });
    }
    let spool = state.spool.clone();
    if let Err(error) = blocking(move || Ok(spool.check_writable())).await? {
        let reason = match &error {
            SpoolError::Full { .. } => "disk_below_min_free",
            _ => "spool_not_writable",
        };
        reasons.push(Reason { reason, detail: chain(&error) });
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Readiness { ready, reasons })).into_response())
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(State(state): State<WorklistState>) -> Result<Response, Failure> {
    let spool = state.spool.clone();
    let (counts, depth) = blocking(move || Ok((spool.counts()?, spool.depth()?))).await?;
    for (stage, waiting) in [("drafting", depth.drafting), ("delivery", depth.delivery)] {
        state.metrics.queue(stage, waiting.count, waiting.oldest);
    }
    state.metrics.jobs(counts.iter().map(|(job, count)| (job.as_str(), *count)));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], state.metrics.text()).into_response())
}
