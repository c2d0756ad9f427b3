//! One generation on behalf of a request: counted, filtered, and never passed off as whole when it was cut short.

use std::sync::Arc;

use anser_core::{ErrorKind, FinishReason, GenerateOptions, Generator, Prompt, TokenUsage};
use anser_engine::ServedRole;

use crate::call::Work;
use crate::error::{ApiError, ApiResult};
use crate::filter::{Release, ReplyFilter};
use crate::routes::models;

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The whole text; empty when the filter withheld it.
    pub(crate) text: String,
    pub(crate) finish_reason: FinishReason,
    pub(crate) usage: TokenUsage,
}

/// What is to be written.
pub(crate) struct Wanted<'a> {
    /// The request's name for the prompt.
    pub(crate) param: &'static str,
    pub(crate) prompt: Prompt<'a>,
    pub(crate) options: &'a GenerateOptions,
    /// Whether the request wants nothing after this, so that it may be cancelled with it.
    pub(crate) is_last: bool,
}

impl<'a> Wanted<'a> {
    /// The only text of a request.
    pub(crate) fn only(param: &'static str, prompt: Prompt<'a>, options: &'a GenerateOptions) -> Self {
        Self { param, prompt, options, is_last: true }
    }
}

/// The chat model of that name: the base or a tuned one, loaded if need be.
pub(crate) fn chat_model(work: &Work, name: &str) -> ApiResult<Arc<dyn Generator>> {
    work.engine().models().chat(Some(name)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => models::unserved(work.engine(), name, ServedRole::Chat),
        _ => error.into(),
    })
}

/// Generates. `release` gets the text piece by piece, as far as the filter
/// lets it through.
pub(crate) fn write(
    work: &Work,
    generator: &dyn Generator,
    wanted: &Wanted<'_>,
    release: &mut Release<'_>,
) -> ApiResult<Written> {
    let mut filter = ReplyFilter::new(work);
    let mut outcome = Ok(());
    let generation = generator
        .generate(wanted.prompt, wanted.options, &work.cancel, &mut |delta| {
            if outcome.is_ok() && !filter.flagged() {
                outcome = filter.push(delta, release);
                if outcome.is_err() || filter.flagged() && wanted.is_last {
                    work.cancel.cancel();
                }
            }
        })
        .map_err(|error| ApiError::from(error).into_context_overflow(wanted.param))?;
    work.metrics().generated(generation.usage);
    outcome?;
    if !filter.flagged() {
        refuse_cancelled(generation.finish_reason)?;
        filter.finish(release)?;
    }
    let usage = generation.usage;
    if filter.flagged() {
        work.metrics().withheld();
        return Ok(Written { text: String::new(), finish_reason: FinishReason::ContentFilter, usage });
    }
    Ok(Written { text: generation.text, finish_reason: generation.finish_reason, usage })
}

/// OpenAI has no word for a reply that was cut off because the service stops; passing it off as whole would be a lie.
pub(crate) fn refuse_cancelled(reason: FinishReason) -> ApiResult<()> {
    match reason {
        FinishReason::Cancelled => Err(anser_core::Error::cancelled().into()),
        FinishReason::Stop | FinishReason::Length | FinishReason::ContentFilter => Ok(()),
    }
}
