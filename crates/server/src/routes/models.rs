//! `/v1/models` and `/v1/models/{id}`, and what is said about a model that does not do what a request asks of it.

use anser_core::ErrorKind;
use anser_engine::{Engine, ServedRole, TunedModel};
use axum::Json;
use axum::extract::State;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::state::AppState;
use crate::wire::collections::Deleted;
use crate::wire::list::List;
use crate::wire::models::Model;

/// Every model of this service: the base models, then the tuned ones, newest first. A checkpoint is listed only where
/// its job has left no model.
pub(crate) async fn list(State(app): State<AppState>, call: EngineCall) -> ApiResult<Json<List<Model>>> {
    let models = call.run(move |work| {
        let tuned = work.engine().tuned_models()?;
        let finished = |id: &str| tuned.iter().any(|model| model.id == id);
        let listed = tuned.iter().filter(|model| model.checkpoint_of.as_deref().is_none_or(|id| !finished(id)));
        let bases = work.engine().models().list().into_iter().map(|model| Model::base(model, app.started_at));
        Ok(bases.chain(listed.map(|model| view(work, model))).collect())
    });
    Ok(Json(List::all(models.await?)))
}

/// One model. Its id may hold slashes and colons.
pub(crate) async fn get(
    State(app): State<AppState>,
    call: EngineCall,
    Path(id): Path<String>,
) -> ApiResult<Json<Model>> {
    let model = call.run(move |work| {
        if let Some(model) = work.engine().models().list().into_iter().find(|model| model.name == id) {
            return Ok(Model::base(model, app.started_at));
        }
        match work.engine().tuned_model(&id) {
            Ok(model) => Ok(view(work, &model)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown(&id)),
            Err(error) => Err(error.into()),
        }
    });
    Ok(Json(model.await?))
}

/// Deletes a tuned model with its checkpoints.
pub(crate) async fn delete(call: EngineCall, Path(id): Path<String>) -> ApiResult<Json<Deleted>> {
    let deleted = call.run(move |work| {
        if work.engine().models().list().iter().any(|model| model.name == id) {
            return Err(ApiError::base_model_kept(&id));
        }
        if work.engine().delete_tuned_model(&id)? { Ok(Deleted::new("model", id)) } else { Err(unknown(&id)) }
    });
    Ok(Json(deleted.await?))
}

fn view(work: &Work, model: &TunedModel) -> Model {
    Model::tuned(model, work.engine().models().is_loaded(&model.id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::model_not_found(id, "GET /v1/models lists those that are")
}

/// Refuses a model that is not served in `role`, naming the one that is.
pub(crate) fn require(engine: &Engine, name: &str, role: ServedRole) -> ApiResult<()> {
    if engine.models().list().iter().any(|model| model.role == role && model.name == name) {
        return Ok(());
    }
    Err(unserved(engine, name, role))
}

/// The model of that name is not served in `role`; another one may be.
pub(crate) fn unserved(engine: &Engine, name: &str, role: ServedRole) -> ApiError {
    let task = match role {
        ServedRole::Embedder => "embeds texts",
        ServedRole::Reranker => "reranks",
        ServedRole::Chat => "chats",
    };
    let served = engine.models().list();
    let hint = match served.iter().find(|model| model.role == role) {
        Some(model) if name.starts_with("ft:") => {
            format!("`{}` {task}, and GET /v1/models lists the models tuned from it", model.name)
        }
        Some(model) => format!("`{}` {task}", model.name),
        None => format!("no model here {task}"),
    };
    ApiError::model_not_found(name, &hint)
}
