//! Who may see what, and the headers of every answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

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

/// Lets a request for pages about patients through, or says why not.
pub(super) async fn patients(State(open): State<Open>, request: Request, next: Next) -> Response {
    if open == Open::Network {
        let why = "Pages about patients are served on the loopback only, since this version has \
                   no sign-in. Set http.bind to 127.0.0.1:8080 and reach it through an SSH tunnel \
                   or a proxy that signs users in. /healthz, /readyz and /metrics answer here.\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    // A page on the Internet whose name resolves to the loopback must not read the worklist.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(names_this_machine) {
        let why = "Pages about patients answer to localhost and loopback addresses only.\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
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

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
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
