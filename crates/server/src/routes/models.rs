//! `GET /v1/models` and `GET /v1/models/{id}`, and the check that a named model does what a request asks of it.

use anser_engine::{Engine, ServedRole};
use axum::Json;
use axum::extract::State;

use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::state::AppState;
use crate::wire::list::List;
use crate::wire::models::Model;

/// Every model of this service.
pub(crate) async fn list(State(app): State<AppState>) -> Json<List<Model>> {
    let models = app.engine.models().list();
    Json(List::all(models.into_iter().map(|model| Model::new(model, app.started_at)).collect()))
}

/// One model. Its id may hold slashes and colons.
pub(crate) async fn get(State(app): State<AppState>, Path(id): Path<String>) -> ApiResult<Json<Model>> {
    let model = app.engine.models().list().into_iter().find(|model| model.name == id);
    let model = model.ok_or_else(|| ApiError::model_not_found(&id, "GET /v1/models lists those that are"))?;
    Ok(Json(Model::new(model, app.started_at)))
}

/// Refuses a model that is not served in `role`, naming the one that is.
pub(crate) fn require(engine: &Engine, name: &str, role: ServedRole) -> ApiResult<()> {
    let served = engine.models().list();
    if served.iter().any(|model| model.role == role && model.name == name) {
        return Ok(());
    }
    let task = match role {
        ServedRole::Embedder => "embeds texts",
        ServedRole::Reranker => "reranks",
        ServedRole::Chat => "chats",
    };
    let hint = match served.iter().find(|model| model.role == role) {
        Some(model) => format!("`{}` {task}", model.name),
        None => format!("no model here {task}"),
    };
    Err(ApiError::model_not_found(name, &hint))
}
