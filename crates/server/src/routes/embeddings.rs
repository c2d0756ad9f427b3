//! `POST /v1/embeddings`.

use anser_core::Embedded;
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
        let embedder = work.engine().models().embedder_for_callers()?;
        let cut = shorter(request.dimensions, embedder.info().dimension, embedder.shorter_dimensions())?;
        let mut vectors = embedder.embed(&texts, request.purpose(), &work.cancel)?;
        if vectors.len() != texts.len() {
            let message = format!("the embedder returned {} vectors for {} texts", vectors.len(), texts.len());
            return Err(anser_core::Error::internal(message).into());
        }
        if let Some(dimension) = cut {
            let shortened = |one: Embedded| Ok(Embedded { embedding: one.embedding.shortened(dimension)?, ..one });
            vectors = vectors.into_iter().map(shortened).collect::<anser_core::Result<_>>()?;
        }
        let format = request.format();
        let reply = EmbeddingsReply::new(request.model, vectors, format);
        work.metrics().embedded(texts.len(), reply.tokens());
        Ok(reply)
    });
    Ok(Json(reply.await?))
}

/// The length to cut vectors to, if they are to be cut. That is only right for models trained for it.
fn shorter(wanted: Option<u64>, whole: usize, allowed: &[usize]) -> ApiResult<Option<usize>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let length = usize::try_from(wanted).unwrap_or(usize::MAX);
    if length == whole {
        return Ok(None);
    }
    if allowed.contains(&length) {
        return Ok(Some(length));
    }
    let advice = if allowed.is_empty() {
        format!("this model's vectors have {whole} and mean nothing when they are cut; leave dimensions out")
    } else {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        format!("this model's vectors have {whole} and may be cut to {}; choose one of these", allowed.join(", "))
    };
    Err(ApiError::invalid("dimensions", format!("dimensions is {wanted}, but {advice}")))
}
