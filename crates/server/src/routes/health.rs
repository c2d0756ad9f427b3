//! `/healthz`, `/readyz` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};
use crate::metrics;
use crate::state::AppState;

/// The process is up.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The embedder is loaded and the collections can be read.
pub(crate) async fn ready(State(app): State<AppState>) -> ApiResult<Json<Value>> {
    let reason = tokio::task::spawn_blocking(move || app.unready_reason()).await;
    match reason.map_err(|_| ApiError::panicked())? {
        None => Ok(Json(json!({"status": "ready"}))),
        Some(reason) => Err(ApiError::not_ready(reason)),
    }
}

/// Every figure, in the text format that Prometheus reads.
pub(crate) async fn figures(State(app): State<AppState>) -> ApiResult<Response> {
    let text = app.metrics.render().map_err(|error| {
        ApiError::of_kind(anser_core::ErrorKind::Internal, format!("the metrics cannot be written: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
