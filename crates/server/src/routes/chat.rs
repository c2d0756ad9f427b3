//! `POST /v1/chat/completions`.

use anser_core::{FinishReason, Prompt};
use anser_engine::ServedRole;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult};
use crate::extract;
use crate::routes::models;
use crate::sse::{EventSink, openai_failure};
use crate::state::{AppState, unix_now};
use crate::wire::chat::request::ChatRequest;
use crate::wire::chat::{ChatCompletion, ChunkWriter, Header};

/// The next turn of a conversation, whole or streamed.
pub(crate) async fn create(
    State(app): State<AppState>,
    call: EngineCall,
    extract::Json(request): extract::Json<ChatRequest>,
) -> ApiResult<Response> {
    models::require(&app.engine, &request.model, ServedRole::Chat)?;
    if request.streams() {
        call.stream(openai_failure, move |work, sink| stream(work, sink, &request)).await
    } else {
        Ok(Json(call.run(move |work| complete(work, &request)).await?).into_response())
    }
}

fn complete(work: &Work, request: &ChatRequest) -> ApiResult<ChatCompletion> {
    let header = Header::new(request.model.clone(), unix_now());
    let (messages, options) = (request.conversation()?, request.decoding()?);
    let generator = work.engine().models().generator()?;
    let generation = generator
        .generate(Prompt::Chat(&messages), &options, &work.cancel, &mut |_| {})
        .map_err(|error| ApiError::from(error).into_context_overflow())?;
    work.metrics().generated(generation.usage);
    refuse_cancelled(generation.finish_reason)?;
    Ok(header.completion(generation.text, generation.finish_reason, generation.usage))
}

/// The frames, in the order that OpenAI's clients expect: role, contents, finish, usage if asked for, `[DONE]`.
fn stream(work: &Work, sink: &EventSink<'_>, request: &ChatRequest) -> ApiResult<()> {
    let writer = ChunkWriter::new(Header::new(request.model.clone(), unix_now()), request.includes_usage());
    let (messages, options) = (request.conversation()?, request.decoding()?);
    let generator = work.engine().models().generator()?;

    let mut begun = false;
    let mut written = Ok(());
    let generation = generator
        .generate(Prompt::Chat(&messages), &options, &work.cancel, &mut |delta| {
            // The role is sent with the first text, so that a prompt that is refused can still be answered with a status.
            if !begun {
                begun = true;
                written = sink.data(&writer.role());
            }
            if written.is_ok() && !delta.is_empty() {
                written = sink.data(&writer.content(delta));
            }
        })
        .map_err(|error| ApiError::from(error).into_context_overflow())?;
    work.metrics().generated(generation.usage);
    written?;
    refuse_cancelled(generation.finish_reason)?;
    if !begun {
        sink.data(&writer.role())?;
    }
    sink.data(&writer.finish(generation.finish_reason))?;
    if let Some(chunk) = writer.usage(generation.usage) {
        sink.data(&chunk)?;
    }
    sink.text("[DONE]");
    Ok(())
}

/// OpenAI has no word for a reply that was cut off because the service stops; passing it off as whole would be a lie.
fn refuse_cancelled(reason: FinishReason) -> ApiResult<()> {
    match reason {
        FinishReason::Cancelled => Err(anser_core::Error::cancelled().into()),
        FinishReason::Stop | FinishReason::Length | FinishReason::ContentFilter => Ok(()),
    }
}
