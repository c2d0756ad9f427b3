//! `POST /v1/embeddings`.

use anser_engine::ServedRole;
use axum::Json;

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult};
use crate::extract::LargeJson;
use crate::routes::models;
use crate::wire::embeddings::{EmbeddingsReply, EmbeddingsRequest};

/// Vectors of texts, in order.
pub(crate) async fn create(
    call: EngineCall,
    LargeJson(mut request): LargeJson<EmbeddingsRequest>,
) -> ApiResult<Json<EmbeddingsReply>> {
    let reply = call.run(move |work| {
        models::require(work.engine(), &request.model, ServedRole::Embedder)?;
        let texts = request.texts()?;
        let embedder = work.engine().models().embedder()?;
        check_dimensions(request.dimensions, embedder.info().dimension)?;
        let vectors = embedder.embed(&texts, request.purpose(), &work.cancel)?;
        if vectors.len() != texts.len() {
            let message = format!("the embedder returned {} vectors for {} texts", vectors.len(), texts.len());
            return Err(anser_core::Error::internal(message).into());
        }
        let format = request.format();
        let reply = EmbeddingsReply::new(request.model, vectors, format);
        work.metrics().embedded(texts.len(), reply.tokens());
        Ok(reply)
    });
    Ok(Json(reply.await?))
}

/// Cutting a vector is only right for models trained for it, and none of the served ones is.
fn check_dimensions(wanted: Option<u64>, native: usize) -> ApiResult<()> {
    match wanted {
        Some(wanted) if wanted != native as u64 => Err(ApiError::invalid(
            "dimensions",
            format!("dimensions is {wanted}, but this model's vectors have {native}; leave dimensions out"),
        )),
        _ => Ok(()),
    }
}
