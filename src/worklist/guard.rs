//! Who may see what, and the headers of every answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::access::{Access, Arrival, Viewer};
use super::connections::Peer;
use super::failure::Failure;
use super::session::{self, Asked};
use super::sign_in;

/// How far the port is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// From this machine.
    Loopback,
    /// From the network.
    Network,
}

impl Open {
    pub(super) fn of(bound: SocketAddr) -> Self {
        if bound.ip().to_canonical().is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// What the guards of pages about patients go by.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) open: Open,
    pub(super) access: Access,
}

/// Sent by the script of a page, so that its polling keeps no session alive.
const BY_SCRIPT: HeaderName = HeaderName::from_static("x-thorascribe-poll");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request for pages about patients in by the way it came, or says why not.
pub(super) async fn arrivals(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let arrival = match peer {
        Some(peer) => gate.arrival(peer, request.headers()),
        None => Err("The address of the caller is unknown.\n"),
    };
    let elsewhere = |site: &HeaderValue| site != "same-origin" && site != "none";
    let forged =
        request.method() != Method::GET && request.headers().get(FETCH_SITE).is_some_and(elsewhere);
    match arrival {
        Err(why) => (StatusCode::FORBIDDEN, why).into_response(),
        Ok(_) if forged => Failure::Forged.into_response(),
        Ok(arrival) => {
            request.extensions_mut().insert(arrival);
            next.run(request).await
        }
    }
}

impl Gate {
    fn arrival(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Arrival, &'static str> {
        let proxy = self.access.trusted_proxy.filter(|proxy| proxy.contains(peer));
        let forwarded =
            headers.contains_key(FORWARDED_FOR) || headers.contains_key(FORWARDED_PROTO);
        if proxy.is_some() && (forwarded || self.open == Open::Network) {
            return self.through_proxy(headers);
        }
        if self.open == Open::Network {
            return Err("Pages about patients answer on the loopback, or through the proxy of \
                        http.trusted_proxy. Set http.bind to 127.0.0.1:8080 and reach it through \
                        an SSH tunnel, or name the proxy that speaks TLS to browsers. /healthz, \
                        /readyz and /metrics answer here.\n");
        }
        // A page on the Internet whose name resolves to the loopback must not read the worklist.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(names_this_machine) {
            return Err("Pages about patients answer to localhost and loopback addresses only.\n");
        }
        Ok(Arrival { client: peer, secure: false })
    }

    fn through_proxy(&self, headers: &HeaderMap) -> Result<Arrival, &'static str> {
        if !self.access.has_users() {
            return Err("Pages about patients go through a proxy only once a [[user]] is \
                        configured: `thorascribe user hash` makes the line with the password.\n");
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text(FORWARDED_PROTO) != Some("https") {
            return Err("The proxy does not say that its client came by TLS: let it set \
                        X-Forwarded-Proto to https.\n");
        }
        // The last entry is the proxy's own word; those before are the client's.
        let client =
            text(FORWARDED_FOR).and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
        let Some(client) = client else {
            return Err("The proxy does not say who its client is: let it set X-Forwarded-For.\n");
        };
        Ok(Arrival { client, secure: true })
    }
}

/// Lets a signed-in user through, or anybody where no users are configured.
pub(super) async fn viewers(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    if !access.has_users() {
        request.extensions_mut().insert(Viewer::default());
        return next.run(request).await;
    }
    let secure = request.extensions().get::<Arrival>().is_some_and(|arrival| arrival.secure);
    let by_script = request.headers().contains_key(BY_SCRIPT);
    let asked = if by_script { Asked::ByScript } else { Asked::ByHand };
    let id = session::cookie(request.headers(), sign_in::SESSION, secure);
    match id.and_then(|id| access.sessions.viewer(&access, &id, asked)) {
        Some(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        None if by_script || request.uri().path().starts_with("/api/") => {
            Failure::SignedOut.into_response()
        }
        None if request.method() == Method::POST => sign_in::again(request).await,
        None => Redirect::to(&sign_in::address(request.uri())).into_response(),
    }
}

/// Whether a Host header is `localhost` or a loopback address, with or without a port.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds what keeps a browser from doing more than showing the page.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn only_names_of_this_machine_pass() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:80"] {
            assert!(names_this_machine(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:8080",
            "10.0.0.1",
            "[::2]",
            "localhost.evil",
        ] {
            assert!(!names_this_machine(bad), "{bad}");
        }
    }
}
