//! Which path leads where.

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::app::App;
use super::problem::Problem;
use super::{facts, generation, guard, openapi, page};

/// All paths, with what every request passes.
pub fn router(app: App) -> Router {
    let behind_the_key = Router::new()
        .route("/v1/chat/completions", post(generation::chat))
        .route("/v1/completions", post(generation::text))
        .route("/v1/models", get(facts::models))
        .route("/v1/verdict", get(facts::verdict))
        .route("/metrics", get(facts::metrics))
        .layer(from_fn_with_state(app.clone(), guard::key));
    Router::new()
        .route("/health", get(facts::health))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .merge(behind_the_key)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
        })
        .method_not_allowed_fallback(|| async { Problem::method() })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), guard::every))
        .with_state(app)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::internal("this request met a bug of rbees-check: please report it").into_response()
}
