//! What all pages share.

use super::access::Viewer;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

/// `GET /worklist.css`
pub(super) async fn style() -> impl IntoResponse {
    let style = include_str!("assets/worklist.css");
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], style)
}

/// How often a page asks again.
pub(super) enum Refresh {
    /// Each so many seconds.
    Seconds(u32),
    /// When the reader does.
    Never,
}

/// A whole page around `body`.
pub(super) fn page(title: &str, refresh: &Refresh, viewer: &Viewer, body: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Refresh::Seconds(seconds) = refresh {
                    meta http-equiv="refresh" content=(seconds);
                }
                title { (title) }
                link rel="stylesheet" href="/worklist.css";
            }
            body {
                header {
                    a href="/" { "Thorascribe" }
                    span { "chest radiographs, drafted" }
                    (signed_in(viewer))
                }
                main {
                    p.banner role="note" {
                        strong { "Drafts, not verified." }
                        " Each text here was written by a program and read by nobody. It is no \
                          diagnosis: a radiologist must read the images. Not a medical device."
                    }
                    (body)
                }
                footer { "Thorascribe " (env!("CARGO_PKG_VERSION")) " · times are of this node" }
            }
        }
    };
    Html(page.into_string())
}

fn signed_in(viewer: &Viewer) -> Markup {
    html! {
        @if let Some(user) = &viewer.user {
            form.user method="post" action="/sign-out" {
                (csrf(viewer))
                span { (user.spoken_name()) ", " (user.role.name()) }
                button type="submit" { "Sign out" }
            }
        }
    }
}

/// What shows that a form came from a page of this session.
pub(super) fn csrf(viewer: &Viewer) -> Markup {
    html! { input type="hidden" name="csrf" value=(viewer.csrf); }
}

/// A word with a frame, coloured by what it says.
pub(super) fn tag(word: &str) -> Markup {
    html! { span class={ "tag " (word) } { (word) } }
}

/// A time of day, with the date where it was another day.
pub(super) fn time(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, now) = (at.to_zoned_datetime(zone.clone()), Timestamp::now().to_zoned_datetime(zone));
    let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    at.strftime(form).to_string()
}
