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
    /// The study has no image here.
    #[error("there is no image of this study on this node")]
    NoImage,
    /// This version has no report.
    #[error("there is no report of this version")]
    NoReport,
    /// A file that cannot be shown.
    #[error("this cannot be shown: {0}")]
    Unreadable(String),
    /// A report that could not be signed.
    #[error("{0}")]
    Unsigned(String),
    /// The session ended, or never was.
    #[error("sign in first, at /sign-in")]
    SignedOut,
    /// A form that no page of this session made.
    #[error("this form is none of this session's: load the page again")]
    Forged,
    /// Not in this role.
    #[error("this needs the role {0}")]
    Role(&'static str),
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
            Self::NoStudy
            | Self::NoImage
            | Self::NoReport
            | Self::Spool(SpoolError::UnknownStudy(_)) => StatusCode::NOT_FOUND,
            Self::Unreadable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsigned(_) => StatusCode::CONFLICT,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Forged | Self::Role(_) => StatusCode::FORBIDDEN,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Spool(error) => {
                error!(error = chain(error), "a page could not be made");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}
