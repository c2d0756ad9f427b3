//! `POST /v1/moderations`.

use axum::Json;

use crate::call::EngineCall;
use crate::error::{ApiError, ApiResult};
use crate::extract::LargeJson;
use crate::wire::moderations::{ModerationReply, ModerationRequest};

/// Name of the one moderation model.
const MODEL: &str = "anser-moderation";

/// Names of OpenAI's moderation models begin so; all of them stand for the one model here.
const ALIASES: [&str; 2] = ["omni-moderation-", "text-moderation-"];

/// A judgement on each text.
pub(crate) async fn create(
    call: EngineCall,
    LargeJson(request): LargeJson<ModerationRequest>,
) -> ApiResult<Json<ModerationReply>> {
    let input = request.input()?;
    let reply = call.run(move |work| {
        if let Some(asked) = request.model.as_deref()
            && asked != MODEL
            && !ALIASES.iter().any(|alias| asked.starts_with(alias))
        {
            return Err(ApiError::model_not_found(asked, &format!("`{MODEL}` moderates; leave model out to use it")));
        }
        let judged = work.engine().moderate(input.texts(), &work.cancel)?;
        work.metrics().moderated(judged.len());
        Ok(ModerationReply::new(MODEL.to_owned(), &input, &judged))
    });
    Ok(Json(reply.await?))
}
