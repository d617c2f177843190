//! What the server says about itself: whether it is ready, which model it has, and how it was checked.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use super::app::App;
use super::generation::json;
use super::problem::Problem;

/// The answer of `GET /health`.
#[derive(Serialize, ToSchema)]
pub struct Health<'a> {
    /// Always true: a server that cannot answer does not.
    live: bool,
    /// Whether requests are served.
    ready: bool,
    /// Why not.
    #[schema(required)]
    reason: Option<&'a str>,
    model: &'a str,
    /// `passed`, `own` (without references, checked by this program alone) or `unchecked`.
    verdict: &'static str,
    /// The SHA-256 of `GET /v1/verdict`.
    #[schema(required)]
    verdict_sha256: Option<&'a str>,
    version: &'static str,
    /// The commit that this program was built from.
    commit: &'static str,
    /// Served requests that were checked again.
    spot_checked: u64,
}

/// `GET /health`: 200 if ready, 503 otherwise.
pub async fn health(State(app): State<App>) -> Response {
    let figures = app.model.engine.figures();
    let alive = app.model.engine.alive();
    let reason = if alive { figures.spot_failure.as_deref() } else { Some("the engine has ended") };
    let health = Health {
        live: true,
        ready: reason.is_none(),
        reason,
        model: &app.model.name,
        verdict: app.model.standing.word(),
        verdict_sha256: app.model.standing.verdict().map(|verdict| verdict.sha256.as_str()),
        version: env!("CARGO_PKG_VERSION"),
        commit: app.options.commit,
        spot_checked: figures.spot_checked,
    };
    let mut response = json(answer::json(&health));
    if reason.is_some() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// The answer of `GET /v1/models`.
#[derive(Serialize, ToSchema)]
pub struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelEntry<'a>>,
}

#[derive(Serialize, ToSchema)]
pub struct ModelEntry<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The number of tokens of its context.
    context: usize,
    /// `passed`, `own` or `unchecked`.
    verdict: &'static str,
}

/// `GET /v1/models`.
pub async fn models(State(app): State<App>) -> Response {
    let model = &app.model;
    let entry = ModelEntry {
        id: &model.name,
        object: "model",
        created: 0,
        owned_by: "rbees-check",
        context: model.context,
        verdict: model.standing.word(),
    };
    json(answer::json(&ModelList { object: "list", data: vec![entry] }))
}

/// `GET /v1/verdict`: the JSON report of the checks before the server started.
pub async fn verdict(State(app): State<App>) -> Result<Response, Problem> {
    match app.model.standing.verdict() {
        Some(verdict) => Ok(json(verdict.report.clone())),
        None => {
            Err(Problem::new(StatusCode::NOT_FOUND, "unchecked", "this server was started with --unchecked"))
        }
    }
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<App>) -> Response {
    let mut response = Response::new(Body::from(app.metrics.text(&app.model.engine.figures())));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
