//! Routes for everybody: landing page, API description, health; and `info`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

use super::{Api, enveloped};
use crate::api::schema::{Envelope, Health, Info};
use crate::runtime::clock;

const LANDING: &str = include_str!("landing.html");
const OPENAPI: &str = include_str!("../../../docs/openapi.yaml");

/// Nothing here is meant for frames, sniffing or caches.
pub(super) async fn security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

pub(super) async fn landing() -> Html<&'static str> {
    Html(LANDING)
}

pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml; charset=utf-8")], OPENAPI)
}

pub(super) async fn health() -> Json<Envelope<Health>> {
    enveloped(Health { status: "healthy".to_owned(), timestamp: clock::rfc3339(clock::now()) })
}

pub(super) async fn info(State(api): State<Arc<Api>>) -> Json<Envelope<Info>> {
    enveloped(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: duration(clock::now().since(api.started) / 1_000_000_000),
        started_at: clock::rfc3339(api.started),
    })
}

/// Seconds as `2h15m30s`, the way that Go programs and the port-forward API write them.
pub(super) fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let written = [0, 59, 60, 3600, 8130].map(duration);
        assert_eq!(written, ["0s", "59s", "1m0s", "1h0m0s", "2h15m30s"]);
    }
}
