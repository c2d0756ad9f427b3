//! `POST /v1/chat/completions`.

use anser_core::Prompt;
use axum::Json;
use axum::response::{IntoResponse, Response};

use crate::call::{EngineCall, Work};
use crate::error::ApiResult;
use crate::extract;
use crate::generation::{self, Wanted, chat_model};
use crate::sse::{EventSink, openai_failure};
use crate::state::unix_now;
use crate::wire::chat::request::ChatRequest;
use crate::wire::chat::{ChatCompletion, ChunkWriter, Header};

/// The next turn of a conversation, whole or streamed.
pub(crate) async fn create(
    call: EngineCall,
    extract::Json(request): extract::Json<ChatRequest>,
) -> ApiResult<Response> {
    if request.streams() {
        call.stream(openai_failure, move |work, sink| stream(work, sink, &request)).await
    } else {
        Ok(Json(call.run(move |work| complete(work, &request)).await?).into_response())
    }
}

fn complete(work: &Work, request: &ChatRequest) -> ApiResult<ChatCompletion> {
    let header = Header::new(request.model.clone(), unix_now());
    let (messages, options) = (request.conversation()?, request.decoding()?);
    let generator = chat_model(work, &request.model)?;
    let wanted = Wanted::only("messages", Prompt::Chat(&messages), &options);
    let written = generation::write(work, generator.as_ref(), &wanted, &mut |_| Ok(()))?;
    Ok(header.completion(written.text, written.finish_reason, written.usage))
}

/// The frames, in the order that OpenAI's clients expect: role, contents, finish, usage if asked for, `[DONE]`.
fn stream(work: &Work, sink: &EventSink<'_>, request: &ChatRequest) -> ApiResult<()> {
    let writer = ChunkWriter::new(Header::new(request.model.clone(), unix_now()), request.includes_usage());
    let (messages, options) = (request.conversation()?, request.decoding()?);
    let generator = chat_model(work, &request.model)?;

    let mut begun = false;
    let wanted = Wanted::only("messages", Prompt::Chat(&messages), &options);
    let written = generation::write(work, generator.as_ref(), &wanted, &mut |piece| {
        // The role is sent with the first text, so that a prompt that is refused can still be answered with a status.
        if !std::mem::replace(&mut begun, true) {
            sink.data(&writer.role())?;
        }
        if piece.is_empty() { Ok(()) } else { sink.data(&writer.content(piece)) }
    })?;
    if !begun {
        sink.data(&writer.role())?;
    }
    sink.data(&writer.finish(written.finish_reason))?;
    if let Some(chunk) = writer.usage(written.usage) {
        sink.data(&chunk)?;
    }
    sink.text("[DONE]");
    Ok(())
}
