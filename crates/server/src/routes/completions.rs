//! `POST /v1/completions`.

use anser_core::{FinishReason, GenerateOptions, Prompt, TokenUsage};
use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::call::{EngineCall, Work};
use crate::error::{ApiError, ApiResult};
use crate::extract;
use crate::generation::{self, Wanted, Written, chat_model};
use crate::sse::{EventSink, openai_failure};
use crate::state::unix_now;
use crate::wire::completions::{CompletionChoice, CompletionHeader, CompletionRequest};

/// The text behind each prompt, whole or streamed.
pub(crate) async fn create(
    call: EngineCall,
    extract::Json(request): extract::Json<CompletionRequest>,
) -> ApiResult<Response> {
    if request.streams() {
        call.stream(openai_failure, move |work, sink| stream(work, sink, &request)).await
    } else {
        Ok(Json(call.run(move |work| complete(work, &request)).await?).into_response())
    }
}

fn complete(work: &Work, request: &CompletionRequest) -> ApiResult<Value> {
    let header = CompletionHeader::new(request.model.clone(), unix_now());
    let mut usage = TokenUsage::default();
    let mut written = Vec::new();
    each(work, request, &mut |_, _| Ok(()), &mut |_, prompt, mut one| {
        add(&mut usage, one.usage);
        if request.echoes() {
            one.text.insert_str(0, prompt);
        }
        written.push(one);
        Ok(())
    })?;
    let choices = written.iter().enumerate();
    let choices = choices.map(|(at, one)| CompletionChoice::last(at, &one.text, one.finish_reason)).collect();
    serde_json::to_value(header.reply(choices, Some(usage))).map_err(|error| {
        ApiError::of_kind(anser_core::ErrorKind::Internal, format!("the reply could not be written: {error}"))
    })
}

/// Pieces of text, the end of each choice, the usage if asked for, `[DONE]`.
fn stream(work: &Work, sink: &EventSink<'_>, request: &CompletionRequest) -> ApiResult<()> {
    let header = CompletionHeader::new(request.model.clone(), unix_now());
    let mut usage = TokenUsage::default();
    each(
        work,
        request,
        &mut |at, piece| {
            if piece.is_empty() {
                Ok(())
            } else {
                sink.data(&header.reply(vec![CompletionChoice::piece(at, piece)], None))
            }
        },
        &mut |at, _, one| {
            add(&mut usage, one.usage);
            sink.data(&header.reply(vec![CompletionChoice::last(at, "", one.finish_reason)], None))
        },
    )?;
    if request.includes_usage() {
        sink.data(&header.reply(Vec::new(), Some(usage)))?;
    }
    sink.text("[DONE]");
    Ok(())
}

/// Continues one prompt after the other. `on_piece` gets the text as it comes, with the prompt first when it is to be
/// echoed; `on_end` gets the prompt and what was written.
fn each(
    work: &Work,
    request: &CompletionRequest,
    on_piece: &mut dyn FnMut(usize, &str) -> ApiResult<()>,
    on_end: &mut dyn FnMut(usize, &str, Written) -> ApiResult<()>,
) -> ApiResult<()> {
    let (prompts, options) = (request.prompts()?, request.decoding()?);
    let generator = chat_model(work, &request.model)?;
    for (at, prompt) in prompts.iter().enumerate() {
        work.cancel.check()?;
        let mut echo = request.echoes();
        let mut show = |piece: &str| {
            // A prompt that is refused can still be answered with a status while nothing was sent.
            if std::mem::take(&mut echo) {
                on_piece(at, prompt)?;
            }
            on_piece(at, piece)
        };
        let written = if let Some(options) = &options {
            let seed = options.seed.map(|seed| seed.wrapping_add(at as u64));
            let options = GenerateOptions { seed, ..options.clone() };
            let (prompt, is_last) = (Prompt::Text(prompt), at + 1 == prompts.len());
            let wanted = Wanted { param: "prompt", prompt, options: &options, is_last };
            generation::write(work, generator.as_ref(), &wanted, &mut show)?
        } else {
            let usage = TokenUsage { prompt_tokens: generator.count_tokens(prompt)?, completion_tokens: 0 };
            Written { text: String::new(), finish_reason: FinishReason::Length, usage }
        };
        show("")?;
        on_end(at, prompt, written)?;
    }
    Ok(())
}

fn add(sum: &mut TokenUsage, one: TokenUsage) {
    sum.prompt_tokens += one.prompt_tokens;
    sum.completion_tokens += one.completion_tokens;
}
