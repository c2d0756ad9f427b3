//! `/v1/collections` and `/v1/collections/{name}`.

use axum::Json;
use axum::http::StatusCode;

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult, excerpt};
use crate::extract::{self, Path};
use crate::wire::collections::{CollectionView, CreateCollection, Deleted};
use crate::wire::list::List;

/// Every collection, by name.
pub(crate) async fn list(call: EngineCall) -> ApiResult<Json<List<CollectionView>>> {
    let infos = call.run(|work| Ok(work.engine().collections()?)).await?;
    Ok(Json(List::all(infos.into_iter().map(CollectionView::from).collect())))
}

/// A new, empty collection.
pub(crate) async fn create(
    call: EngineCall,
    extract::Json(body): extract::Json<CreateCollection>,
) -> ApiResult<(StatusCode, Json<CollectionView>)> {
    let info = call.run(move |work| {
        let engine = work.engine();
        let collection = match body.embedding {
            Some(own) => engine.create_external_collection(&body.name, &own.name, own.dimension)?,
            None => engine.create_collection(&body.name)?,
        };
        Ok(collection.info().map_err(engine_error)?)
    });
    Ok((StatusCode::CREATED, Json(info.await?.into())))
}

/// One collection.
pub(crate) async fn get(call: EngineCall, Path(name): Path<String>) -> ApiResult<Json<CollectionView>> {
    let info = call.run(move |work| Ok(work.engine().collection(&name)?.info().map_err(engine_error)?));
    Ok(Json(info.await?.into()))
}

/// Deletes a collection with all it holds.
pub(crate) async fn delete(call: EngineCall, Path(name): Path<String>) -> ApiResult<Json<Deleted>> {
    let deleted = call.run(move |work| {
        if work.engine().delete_collection(&name)? {
            return Ok(Deleted::new("collection", name));
        }
        let message =
            format!("there is no collection \"{}\"; GET /v1/collections lists those there are", excerpt(&name));
        Err(ApiError::not_found(message).with_param("name"))
    });
    Ok(Json(deleted.await?))
}

/// Failures of a collection itself, in the engine's words.
pub(crate) fn engine_error(error: impl Into<anser_engine::EngineError>) -> anser_engine::EngineError {
    error.into()
}
