//! What every request passes before a handler sees it, and every answer after.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::metrics::Answered;
use super::origin;
use super::problem::Problem;

/// Headers of every answer.
const FIXED: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];
/// What is known about the model, in every answer.
pub const VERDICT: &str = "x-rbees-verdict";

/// Checks `Host` and `Origin`, counts the answer, and adds the headers of every answer.
pub async fn every(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let mut response = match origin::check(request.headers(), &app.options.hosts) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    app.metrics.answered.get_or_create(&Answered { path, status: response.status().as_u16() }).inc();
    add(response.headers_mut(), app.model.standing.word());
    response
}

fn add(headers: &mut HeaderMap, standing: &'static str) {
    for (name, value) in FIXED.into_iter().chain([(VERDICT, standing)]) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// Asks for the key, if the server has one.
pub async fn key(State(app): State<App>, request: Request, next: Next) -> Response {
    match &app.options.key {
        Some(key) if !key.is_in(request.headers()) => Problem::no_key().into_response(),
        _ => next.run(request).await,
    }
}
