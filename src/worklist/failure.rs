//! What a request that cannot be answered is told.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::html;
use serde_json::json;
use tracing::error;

use super::access::Viewer;
use super::page::{self, Notice, Refresh};
use crate::observe::chain;
use crate::spool::SpoolError;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A query that means nothing.
    #[error("{0}")]
    Query(String),
    /// An address that nothing answers to.
    #[error("there is no such page")]
    NoPage,
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
            Self::NoPage
            | Self::NoStudy
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
        let said = self.to_string();
        let mut response = (status, Json(json!({ "error": said }))).into_response();
        response.extensions_mut().insert(Said(said));
        response
    }
}

/// What a failure says, for [`as_page`].
#[derive(Debug, Clone)]
struct Said(String);

/// `GET` of an address that nothing answers to.
pub(super) async fn no_page() -> Failure {
    Failure::NoPage
}

/// Tells a browser that loads a page of a failure by a page; programs and scripts get JSON.
pub(super) async fn as_page(request: Request, next: Next) -> Response {
    let for_a_reader = asks_for_a_page(request.headers());
    let response = next.run(request).await;
    match response.extensions().get::<Said>() {
        Some(Said(said)) if for_a_reader => (response.status(), page_of(said)).into_response(),
        _ => response,
    }
}

fn asks_for_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn page_of(said: &str) -> impl IntoResponse + use<> {
    let body = html! {
        h1 { "This did not work" }
        p { (said) "." }
        p { a href="/" { "To the worklist" } }
    };
    page::page("Not done", &Refresh::Never, &Notice::Drafts, &Viewer::default(), &body)
}
