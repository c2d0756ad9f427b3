//! The thread that owns the decoder and answers requests one after another, first come, first served.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::{CancelToken, FinishReason, GenerateOptions, GenerationTimings, TokenUsage};
use crossbeam_channel::{Receiver, Sender};

use crate::GenerateError;
use crate::decoder::Decoder;
use crate::sampling::Sampler;
use crate::text::{StopMatcher, Utf8Joiner};
use crate::tokenizer::ChatTokenizer;

/// One generation to do.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: GenerateOptions,
    pub(crate) cancel: CancelToken,
    pub(crate) submitted: Instant,
    pub(crate) events: Sender<Event>,
}

/// What the worker tells the caller.
pub(crate) enum Event {
    /// The request has left the queue.
    Started,
    /// More text.
    Delta(String),
    /// Nothing follows.
    Done(Result<Finished, GenerateError>),
}

/// A generation without its text, which went out in deltas.
pub(crate) struct Finished {
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: TokenUsage,
    pub(crate) timings: GenerationTimings,
}

/// Answers requests until every sender is gone.
pub(crate) fn run(mut decoder: Decoder, tokenizer: &Arc<ChatTokenizer>, requests: &Receiver<Request>) {
    for request in requests {
        // A caller that is gone makes every send fail; that ends the work, and nobody is left to be told.
        if request.events.send(Event::Started).is_err() {
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(|| answer(&mut decoder, tokenizer, &request)))
            .unwrap_or_else(|panic| Err(GenerateError::Model(panic_text(panic.as_ref()))));
        if let Ok(finished) = &result {
            tracing::debug!(
                prompt_tokens = finished.usage.prompt_tokens,
                completion_tokens = finished.usage.completion_tokens,
                finish_reason = ?finished.finish_reason,
                prefill_ms = finished.timings.prefill.as_millis(),
                decode_ms = finished.timings.decode.as_millis(),
                "generated"
            );
        }
        request.events.send(Event::Done(result)).ok();
    }
}

fn answer(decoder: &mut Decoder, tokenizer: &ChatTokenizer, request: &Request) -> Result<Finished, GenerateError> {
    let Request { prompt, options, cancel, submitted, events } = request;
    let queued = submitted.elapsed();
    let prefill_start = Instant::now();
    let read = decoder.read_prompt(prompt, || cancel.is_cancelled())?;
    let prefill = prefill_start.elapsed();
    let finished = |finish_reason, completion_tokens, decode| Finished {
        finish_reason,
        usage: TokenUsage { prompt_tokens: prompt.len(), completion_tokens },
        timings: GenerationTimings { queued, prefill, decode },
    };
    let Some((mut sequence, mut logits)) = read else {
        return Ok(finished(FinishReason::Cancelled, 0, Duration::ZERO));
    };

    let decode_start = Instant::now();
    let room = decoder.context_length().saturating_sub(prompt.len());
    let limit = options.max_tokens.unwrap_or(usize::MAX).min(room);
    let mut sampler = Sampler::new(options, prompt, tokenizer.control_tokens().collect());
    let mut characters = Utf8Joiner::default();
    let mut stop = StopMatcher::new(options.stop.clone());
    let mut count = 0;
    let finish_reason = loop {
        if cancel.is_cancelled() {
            break FinishReason::Cancelled;
        }
        let token = sampler.next(&mut logits)?;
        if tokenizer.ends_turn(token) {
            break FinishReason::Stop;
        }
        count += 1;
        let (delta, stopped) = stop.push(&characters.push(tokenizer.token_bytes(token)));
        if !delta.is_empty() && events.send(Event::Delta(delta)).is_err() {
            break FinishReason::Cancelled;
        }
        if stopped {
            return Ok(finished(FinishReason::Stop, count, decode_start.elapsed()));
        }
        if count == limit {
            break FinishReason::Length;
        }
        logits = decoder.read(&mut sequence, &[token])?;
    };
    let rest = stop.finish();
    if !rest.is_empty() {
        events.send(Event::Delta(rest)).ok();
    }
    Ok(finished(finish_reason, count, decode_start.elapsed()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked").to_owned()
}
