//! The table of routes, and the layers around them.

use std::sync::Arc;

use anser_engine::Engine;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::ServerOptions;
use crate::error::ApiError;
use crate::middleware::{access, admission, observe};
use crate::routes::{
    answers, chat, cluster, collections, completions, documents, embeddings, export, files, fine_tuning, health, jobs,
    models, moderations, page, predictors, recommend, responses, search,
};
use crate::state::{App, AppState};

/// The whole service as a [`Router`], without a socket. Models are loaded when first needed.
pub fn router(engine: Arc<Engine>, options: ServerOptions) -> Router {
    router_for(&App::new(engine, options))
}

/// Routes that work with models and collections: a key where keys are set, and a place among the requests in flight.
fn api_routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/v1/models", get(models::list)),
        ("/v1/models/{*id}", get(models::get).delete(models::delete)),
        ("/v1/embeddings", post(embeddings::create)),
        ("/v1/chat/completions", post(chat::create)),
        ("/v1/completions", post(completions::create)),
        ("/v1/responses", post(responses::create)),
        ("/v1/responses/{id}", get(responses::not_kept).delete(responses::not_kept)),
        ("/v1/responses/{id}/cancel", post(responses::not_kept)),
        ("/v1/responses/{id}/input_items", get(responses::not_kept)),
        ("/v1/moderations", post(moderations::create)),
        ("/v1/files", get(files::list).post(files::upload)),
        ("/v1/files/{id}", get(files::get).delete(files::delete)),
        ("/v1/files/{id}/content", get(files::content)),
        ("/v1/fine_tuning/jobs", get(fine_tuning::list).post(fine_tuning::create)),
        ("/v1/fine_tuning/jobs/{id}", get(fine_tuning::get)),
        ("/v1/fine_tuning/jobs/{id}/cancel", post(fine_tuning::cancel)),
        ("/v1/fine_tuning/jobs/{id}/pause", post(fine_tuning::pause)),
        ("/v1/fine_tuning/jobs/{id}/resume", post(fine_tuning::resume)),
        ("/v1/fine_tuning/jobs/{id}/events", get(fine_tuning::events)),
        ("/v1/fine_tuning/jobs/{id}/checkpoints", get(fine_tuning::checkpoints)),
        ("/v1/jobs", get(jobs::list).post(jobs::create)),
        ("/v1/jobs/{id}", get(jobs::get).delete(jobs::delete)),
        ("/v1/jobs/{id}/cancel", post(jobs::cancel)),
        ("/v1/jobs/{id}/pause", post(jobs::pause)),
        ("/v1/jobs/{id}/resume", post(jobs::resume)),
        ("/v1/jobs/{id}/delete_duplicates", post(jobs::delete_duplicates)),
        ("/v1/jobs/{id}/events", get(jobs::events)),
        ("/v1/jobs/{id}/results", get(jobs::results)),
        ("/v1/jobs/{id}/result", get(jobs::result)),
        ("/v1/collections/{name}/jobs", post(jobs::create_for_collection)),
        ("/v1/collections", get(collections::list).post(collections::create)),
        ("/v1/collections/{name}", get(collections::get).delete(collections::delete)),
        ("/v1/collections/{name}/export", get(export::export)),
        ("/v1/collections/{name}/documents", get(documents::list).post(documents::ingest)),
        (
            "/v1/collections/{name}/documents/delete",
            post(documents::delete_many).get(documents::get_named_delete).delete(documents::delete_named_delete),
        ),
        ("/v1/collections/{name}/documents/{*id}", get(documents::get).delete(documents::delete)),
        ("/v1/collections/{name}/search", post(search::search)),
        ("/v1/collections/{name}/settings", get(search::settings).patch(search::change_settings)),
        ("/v1/collections/{name}/answers", post(answers::create)),
        ("/v1/collections/{name}/recommend", post(recommend::create)),
        ("/v1/collections/{name}/classify", post(predictors::classify)),
        ("/v1/collections/{name}/regress", post(predictors::regress)),
        ("/v1/predictors", get(predictors::list)),
        ("/v1/predictors/{name}", get(predictors::get).delete(predictors::delete)),
        ("/v1/collections/{name}/cluster", post(cluster::create)),
        ("/metrics", get(health::figures)),
    ]
}

/// Probes: open to everybody, also while the service is busy.
fn probe_routes() -> [(&'static str, MethodRouter<AppState>); 2] {
    [("/healthz", get(health::alive)), ("/readyz", get(health::ready))]
}

/// The page holds nothing secret; the key is asked for by what it calls.
fn page_routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    page::root_paths().chain(["/assets/{*path}"]).map(|path| (path, get(page::get))).collect()
}

pub(crate) fn router_for(app: &AppState) -> Router {
    let state = || Arc::clone(app);
    let api = table(api_routes())
        .route_layer(from_fn_with_state(state(), admission::admit))
        .route_layer(from_fn_with_state(state(), access::require_key));
    let guarded =
        api.merge(table(page_routes())).route_layer(from_fn_with_state(state(), access::require_local_origin));
    guarded
        .merge(table(probe_routes()))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(from_fn(page::protect))
        .layer(from_fn_with_state(state(), observe::observe))
        .with_state(state())
}

fn table(routes: impl IntoIterator<Item = (&'static str, MethodRouter<AppState>)>) -> Router<AppState> {
    routes.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

async fn unknown_route(request: Request) -> ApiError {
    ApiError::unknown_route(request.method().as_str(), request.uri().path())
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError::method_not_allowed(request.method().as_str(), request.uri().path())
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands over the payload by value")]
fn answer_panic(payload: Box<dyn std::any::Any + Send + 'static>) -> Response {
    observe::log_panic(payload.as_ref());
    ApiError::panicked().into_response()
}
