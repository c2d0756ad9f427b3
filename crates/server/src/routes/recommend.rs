//! `POST /v1/collections/{name}/recommend`.

use anser_engine::recommend::{RecommendReply, RecommendRequest};
use axum::Json;

use crate::call::EngineCall;
use crate::error::ApiResult;
use crate::extract::{self, Path};

/// Documents like some examples and unlike others.
pub(crate) async fn create(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(request): extract::Json<RecommendRequest>,
) -> ApiResult<Json<RecommendReply>> {
    let reply = call.run(move |work| Ok(work.engine().recommend(&name, &request, &work.cancel)?));
    Ok(Json(reply.await?))
}
