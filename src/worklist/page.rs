//! What all pages share.

use super::access::Viewer;
use crate::spool::Signature;
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

/// `GET /worklist.js`
pub(super) async fn script() -> impl IntoResponse {
    let script = include_str!("assets/worklist.js");
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], script)
}

/// `GET /icon.svg`
pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("assets/icon.svg"))
}

/// What stands above all else.
pub(super) enum Notice {
    /// The texts are drafts.
    Drafts,
    /// The text is signed.
    Signed(Signature),
}

/// How often a page asks again.
pub(super) enum Refresh {
    /// Each so many seconds, where no script does it better.
    Seconds(u32),
    /// When the reader does.
    Never,
}

/// A whole page around `body`.
pub(super) fn page(
    title: &str,
    refresh: &Refresh,
    notice: &Notice,
    viewer: &Viewer,
    body: &Markup,
) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Refresh::Seconds(seconds) = refresh {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
                title { (title) " · Thorascribe" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/worklist.css";
                script src="/worklist.js" defer {}
            }
            body {
                header {
                    a href="/" { "Thorascribe" }
                    span { "chest radiographs, drafted" }
                    (signed_in(viewer))
                }
                main {
                    (banner(notice))
                    (body)
                }
                footer { "Thorascribe " (env!("CARGO_PKG_VERSION")) " · times are of this node" }
            }
        }
    };
    Html(page.into_string())
}

fn banner(notice: &Notice) -> Markup {
    html! {
        @match notice {
            Notice::Drafts => p.banner role="note" {
                strong { "Drafts, not verified." }
                " Each text that nobody signed was written by a program and read by nobody. It is no \
                  diagnosis: a radiologist must read the images. Not a medical device."
            },
            Notice::Signed(signature) => p.banner.verified role="note" {
                strong { "Verified." } " Signed by " (signature.by) ", " (time(signature.at)) "."
            },
        }
    }
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
