//! `/healthz`, `/readyz` and `/metrics`.

use anser_engine::Engine;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult};
use crate::metrics::{self, Stock};
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
pub(crate) async fn figures(State(app): State<AppState>, call: EngineCall) -> ApiResult<Response> {
    // Figures of requests are wanted most when the database is in trouble.
    let stock = call.run(|work| stock(work.engine())).await;
    let stock = stock.inspect_err(|error| tracing::warn!(error = error.message(), "jobs and models cannot be counted"));
    let text = app.metrics.render(stock.ok().as_ref()).map_err(|error| {
        ApiError::of_kind(anser_core::ErrorKind::Internal, format!("the metrics cannot be written: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn stock(engine: &Engine) -> ApiResult<Stock> {
    let tuned = engine.tuned_models()?;
    Ok(Stock {
        embedding_cache: engine.embedding_cache(),
        jobs: engine.job_counts()?,
        tuned_models: tuned.len() as i64,
        tuned_models_loaded: tuned.iter().filter(|model| engine.models().is_loaded(&model.id)).count() as i64,
    })
}
