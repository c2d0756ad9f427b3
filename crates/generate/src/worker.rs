//! The thread that owns the decoder and answers requests one after another, first come, first served.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Answers requests with `answer` until every sender is gone.
pub(crate) fn run(requests: &Receiver<Request>, mut answer: impl FnMut(&Request) -> Result<Finished, GenerateError>) {
    for request in requests {
        // A caller that is gone makes every send fail; that ends the work, and nobody is left to be told.
        if request.events.send(Event::Started).is_err() {
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(|| answer(&request)))
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

/// Reads the prompt and sends the reply, token by token.
pub(crate) fn answer(
    decoder: &mut Decoder,
    tokenizer: &ChatTokenizer,
    request: &Request,
) -> Result<Finished, GenerateError> {
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

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use crossbeam_channel::unbounded;

    use super::*;

    fn finished() -> Finished {
        let timings = GenerationTimings::default();
        Finished { finish_reason: FinishReason::Stop, usage: TokenUsage::default(), timings }
    }

    #[test]
    fn a_panic_fails_its_own_request_only() {
        let (queue, requests) = unbounded();
        let replies: Vec<Receiver<Event>> = [1, 2, 3]
            .map(|token| {
                let (events, received) = unbounded();
                let options = GenerateOptions::default();
                let request = Request {
                    prompt: vec![token],
                    options,
                    cancel: CancelToken::new(),
                    submitted: Instant::now(),
                    events,
                };
                queue.send(request).unwrap();
                received
            })
            .into();
        drop(queue);
        run(&requests, |request| match request.prompt[0] {
            2 => panic!("index {} out of range", 9),
            _ => Ok(finished()),
        });
        let results = replies.iter().map(|received| received.iter().last().unwrap());
        let kinds: Vec<Option<ErrorKind>> = results
            .map(|event| match event {
                Event::Done(result) => result.err().map(|error| {
                    assert!(error.to_string().contains("index 9 out of range"), "{error}");
                    error.kind()
                }),
                _ => panic!("the last event is not Done"),
            })
            .collect();
        assert_eq!(kinds, [None, Some(ErrorKind::Internal), None]);
    }

    #[test]
    fn a_request_whose_caller_is_gone_is_skipped() {
        let (queue, requests) = unbounded();
        let (events, _) = unbounded();
        let request = Request {
            prompt: vec![1],
            options: GenerateOptions::default(),
            cancel: CancelToken::new(),
            submitted: Instant::now(),
            events,
        };
        queue.send(request).unwrap();
        drop(queue);
        run(&requests, |_| panic!("nobody waits for this"));
    }
}
