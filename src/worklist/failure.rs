//! What a request that cannot be answered is told.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::observe::chain;
use crate::spool::SpoolError;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A query that means nothing.
    #[error("{0}")]
    Query(String),
    /// No job of this study.
    #[error("there is no such study")]
    NoStudy,
    /// The spool failed.
    #[error("the spool failed")]
    Spool(#[from] SpoolError),
    /// The node is about to stop.
    #[error("the node is stopping")]
    Stopping,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Query(_) => StatusCode::BAD_REQUEST,
            Self::NoStudy => StatusCode::NOT_FOUND,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Spool(error) => {
                error!(error = chain(error), "a page could not be made");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}
