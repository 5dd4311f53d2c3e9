//! Signing in and out.

use axum::Extension;
use axum::extract::{Form, FromRequest, Query, Request, State};
use axum::http::header::{HeaderMap, RETRY_AFTER, SET_COOKIE};
use axum::http::{StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::access::{Arrival, Viewer};
use super::failure::Failure;
use super::page::{self, Notice, Refresh};
use super::session::{cookie, random, same, set_cookie};
use super::{WorklistState, blocking};
use crate::observe::audit::{Event, Person};
use crate::vocabulary::Credential;

/// The cookie that holds a session's id.
pub(super) const SESSION: &str = "session";
/// The cookie that holds what the sign-in form must repeat.
const FORM: &str = "form";
/// Passwords that are hashed at the same time: each takes 19 MiB and some time on purpose.
static HASHING: Semaphore = Semaphore::const_new(2);
/// How a log calls whoever signs in by a name that no user has.
const UNKNOWN: &str = "(no such user)";
/// Where to go once signed in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The address of the sign-in page that leads to `wanted` afterwards.
pub(super) fn address(wanted: &Uri) -> String {
    let path = wanted.path_and_query().map_or("/", |path| path.as_str());
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-~".contains(&b));
    if plain && path != "/" { format!("/sign-in?next={path}") } else { "/sign-in".to_owned() }
}

/// A path on this host; anything else leads to the worklist.
fn local(next: &str) -> &str {
    let path = next.starts_with('/') && !next.starts_with("//");
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if path && plain { next } else { "/" }
}

/// `GET /sign-in`
pub(super) async fn page(
    Extension(arrival): Extension<Arrival>,
    Query(wanted): Query<Next>,
    headers: HeaderMap,
) -> Response {
    form(arrival, &headers, local(&wanted.next), None)
}

/// What a report's form sent.
#[derive(Debug, Default, Deserialize)]
struct Written {
    #[serde(default)]
    text: String,
}

/// A form of a session that has ended: the sign-in form, with the text that was sent, which nobody
/// took.
pub(super) async fn again(request: Request) -> Response {
    let Some(arrival) = request.extensions().get::<Arrival>().copied() else {
        return Failure::SignedOut.into_response();
    };
    let headers = request.headers().clone();
    let page = request.uri().path().rsplit_once('/').map_or("/", |(page, _)| page);
    let next = if page.starts_with("/studies/") { local(page) } else { "/" }.to_owned();
    let written = Form::<Written>::from_request(request, &()).await.ok();
    let text = written.map(|Form(written)| written.text).filter(|text| !text.trim().is_empty());
    let wrong = match text {
        Some(_) => {
            "Your session had ended, and nothing was signed. What you wrote stands below: copy it, \
                    sign in, and put it into the report again."
        }
        None => "Your session had ended, and nothing was done.",
    };
    let page = shown(arrival, &headers, &next, Some(wrong), text.as_deref());
    (StatusCode::UNAUTHORIZED, page).into_response()
}

fn form(arrival: Arrival, headers: &HeaderMap, next: &str, wrong: Option<&str>) -> Response {
    shown(arrival, headers, next, wrong, None)
}

/// The form, with a text that is given back.
fn shown(
    arrival: Arrival,
    headers: &HeaderMap,
    next: &str,
    wrong: Option<&str>,
    text: Option<&str>,
) -> Response {
    let token = cookie(headers, FORM, arrival.secure).filter(|token| token.len() == 64);
    let token = token.unwrap_or_else(random);
    let body: Markup = html! {
        h1 { "Sign in" }
        form.sign-in method="post" action="/sign-in" {
            @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
            input type="hidden" name="form" value=(token);
            input type="hidden" name="next" value=(next);
            label { "Name" input name="name" autocomplete="username" required autofocus; }
            label { "Password"
                input type="password" name="password" autocomplete="current-password" required;
            }
            button type="submit" { "Sign in" }
        }
        @if let Some(text) = text {
            label for="written" { "What you wrote" }
            textarea #written rows="9" readonly { (text) }
        }
    };
    let cookie = AppendHeaders([(SET_COOKIE, set_cookie(FORM, &token, arrival.secure))]);
    (cookie, page::page("Sign in", &Refresh::Never, &Notice::Drafts, &Viewer::default(), &body))
        .into_response()
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub(super) struct Typed {
    form: String,
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// `POST /sign-in`
pub(super) async fn enter(
    State(state): State<WorklistState>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Form(typed): Form<Typed>,
) -> Result<Response, Failure> {
    let expected = cookie(&headers, FORM, arrival.secure).unwrap_or_default();
    let next = local(&typed.next).to_owned();
    if !same(&expected, &typed.form) {
        let why = "This form was too old, or cookies are off. Try again.";
        return Ok(
            (StatusCode::FORBIDDEN, form(arrival, &headers, &next, Some(why))).into_response()
        );
    }
    let access = &state.access;
    // Who types a password there must not find it in a log.
    let user = access.user(&typed.name);
    let name = user.as_ref().map_or(UNKNOWN, |user| &user.name).to_owned();
    let who = Person::at(&name, arrival.client);
    if let Err(wait) = access.attempts.begin(arrival.client, &typed.name) {
        warn!(user = name, client = %arrival.client, "sign-in refused: too many failed");
        state.audit.record(&Event::SignIn { who, success: false });
        let why = "Too many sign-ins failed. Wait some minutes, then try again.";
        let after = AppendHeaders([(RETRY_AFTER, wait.as_secs().max(1).to_string())]);
        let page = form(arrival, &headers, &next, Some(why));
        return Ok((StatusCode::TOO_MANY_REQUESTS, after, page).into_response());
    }
    let credential = user.as_ref().map_or_else(Credential::of_nobody, |user| user.hash.clone());
    let hashing = HASHING.acquire().await;
    let good = blocking(move || {
        let good = credential.is_of(&typed.password);
        // A browser that went away must not free the place before the work is done.
        drop(hashing);
        Ok(good)
    });
    let good = good.await?;
    state.audit.record(&Event::SignIn { who, success: user.is_some() && good });
    let Some(user) = user.filter(|_| good) else {
        warn!(user = name, client = %arrival.client, "sign-in failed");
        let why = "No user of this name has this password.";
        let page = form(arrival, &headers, &next, Some(why));
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    access.attempts.succeeded(arrival.client, &user.name);
    info!(user = name, client = %arrival.client, "signed in");
    let id = access.sessions.begin(user);
    let cookies = [
        (SET_COOKIE, set_cookie(SESSION, &id, arrival.secure)),
        (SET_COOKIE, set_cookie(FORM, "", arrival.secure)),
    ];
    Ok((AppendHeaders(cookies), Redirect::to(&next)).into_response())
}

/// What a form of a session carries beside its own fields.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    csrf: String,
}

impl Viewer {
    /// Whether a form came from a page of this session.
    pub(super) fn sent(&self, csrf: &str) -> Result<(), Failure> {
        if same(&self.csrf, csrf) { Ok(()) } else { Err(Failure::Forged) }
    }
}

/// `POST /sign-out`
pub(super) async fn leave(
    State(state): State<WorklistState>,
    Extension(arrival): Extension<Arrival>,
    Extension(viewer): Extension<Viewer>,
    headers: HeaderMap,
    Form(token): Form<Token>,
) -> Result<Response, Failure> {
    viewer.sent(&token.csrf)?;
    if let Some(id) = cookie(&headers, SESSION, arrival.secure) {
        state.access.sessions.end(&id);
    }
    if let Some(user) = &viewer.user {
        let who = Person::at(&user.name, arrival.client);
        state.audit.record(&Event::SignOut { who });
    }
    let gone = AppendHeaders([(SET_COOKIE, set_cookie(SESSION, "", arrival.secure))]);
    Ok((gone, Redirect::to("/sign-in")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_host_are_gone_to() {
        assert_eq!(local("/studies/1.2.3"), "/studies/1.2.3");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil", "", "/a b", "/\n"] {
            assert_eq!(local(elsewhere), "/", "{elsewhere:?}");
        }
        assert_eq!(address(&Uri::from_static("/studies/1.2.3")), "/sign-in?next=/studies/1.2.3");
        assert_eq!(address(&Uri::from_static("/?q=a")), "/sign-in");
    }
}
