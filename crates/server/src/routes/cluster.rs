//! `POST /v1/collections/{name}/cluster`, answered when the clustering is done.

use anser_core::NoProgress;
use anser_engine::cluster::ClusterReport;
use axum::Json;

use crate::call::EngineCall;
use crate::error::ApiResult;
use crate::extract::{self, Path};
use crate::wire::cluster::ClusterBody;

/// Groups a collection's documents by meaning. The request's time limit bounds how large a collection may be.
pub(crate) async fn create(
    call: EngineCall,
    Path(name): Path<String>,
    extract::Json(body): extract::Json<ClusterBody>,
) -> ApiResult<Json<ClusterReport>> {
    let request = body.into_request()?;
    let report = call.run(move |work| Ok(work.engine().cluster(&name, &request, &NoProgress, &work.cancel)?));
    Ok(Json(report.await?))
}
