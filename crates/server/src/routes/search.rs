//! `POST /v1/collections/{name}/search`.

use anser_engine::{SearchReply, SearchRequest};
use axum::Json;

use crate::call::EngineCall;
use crate::error::ApiResult;
use crate::extract::{self, Path};
use crate::wire::answers::SearchBody;

/// The passages nearest in meaning to a query.
pub(crate) async fn search(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<SearchBody>,
) -> ApiResult<Json<SearchReply>> {
    let request = SearchRequest::from(body);
    let reply = call.run(move |work| Ok(work.engine().search(&name, &request, &work.cancel)?));
    Ok(Json(reply.await?))
}
