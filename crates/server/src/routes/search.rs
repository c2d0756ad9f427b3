//! `POST /v1/collections/{name}/search` and `/v1/collections/{name}/settings`.

use anser_engine::{SearchReply, SearchSettings, SearchSettingsChange};
use axum::Json;

use crate::call::EngineCall;
use crate::error::ApiResult;
use crate::extract::{self, Path};
use crate::wire::search::SearchBody;

/// The passages that suit a query best.
pub(crate) async fn search(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<SearchBody>,
) -> ApiResult<Json<SearchReply>> {
    let reply = call.run(move |work| {
        let request = body.into_request();
        Ok(work.engine().search(&name, &request, &work.cancel)?)
    });
    Ok(Json(reply.await?))
}

/// How a collection is searched unless a request says otherwise.
pub(crate) async fn settings(call: EngineCall, Path(name): Path<String>) -> ApiResult<Json<SearchSettings>> {
    Ok(Json(call.run(move |work| Ok(work.engine().search_settings(&name)?)).await?))
}

/// Changes those of the settings that are given, and shows all.
pub(crate) async fn change_settings(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(change): extract::Json<SearchSettingsChange>,
) -> ApiResult<Json<SearchSettings>> {
    let settings = call.run(move |work| {
        let settings = change.of(work.engine().search_settings(&name)?);
        work.engine().set_search_settings(&name, &settings)?;
        Ok(settings)
    });
    Ok(Json(settings.await?))
}
