//! Answers from retrieved context: retrieve, rerank, choose and number passages, ask the model, link what it says to
//! the passages.

mod abstain;
mod citation;
mod context;
#[cfg(test)]
pub(crate) mod fixtures;
mod prompt;
mod stream;
mod words;

use std::time::Instant;

use anser_core::{
    Answer, AnswerTimings, CancelToken, ContextPassage, Embedder, FinishReason, Generator, ScoredChunk, TokenUsage,
};

use crate::retrieve::milliseconds;
use crate::{Engine, EngineError, SearchReply, SearchRequest};
use context::Budget;
use stream::AnswerStream;
pub(crate) use words::normalized;

/// Hits that the passages are chosen from.
const CANDIDATES: usize = 20;

/// Passages shown to the model unless the request says otherwise.
const DEFAULT_PASSAGES: usize = 3;
/// Most passages a request may ask for.
const MAX_PASSAGES: usize = 20;

/// Tokens of an answer unless the request says otherwise.
const DEFAULT_MAX_TOKENS: usize = 128;

/// Tokens of all passages together unless the request says otherwise.
const DEFAULT_CONTEXT_TOKENS: usize = 768;

/// A question to a collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerRequest {
    /// The question.
    pub question: String,
    /// Most passages the model is shown, 1 to 20; 3 by default.
    pub passages: Option<usize>,
    /// Most tokens of the answer; 128 by default.
    pub max_tokens: Option<usize>,
    /// Most tokens of all passages together; 768 by default.
    pub context_tokens: Option<usize>,
    /// 0, the default, is greedy; at most 2.
    pub temperature: f32,
    /// Seed of the sampling; without one, each answer draws its own.
    pub seed: Option<u64>,
}

/// What happens while an answer is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AnswerEvent<'a> {
    /// The passages the model is about to read, or, before an abstention, the nearest ones found. Comes once, first.
    Passages(&'a [ContextPassage]),
    /// The next piece of the answer's text. All of them, joined, are [`Answer::text`].
    Delta(&'a str),
}

impl AnswerRequest {
    /// A question with everything else at its default.
    pub fn new(question: impl Into<String>) -> Self {
        Self { question: question.into(), ..Self::default() }
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.question.trim().is_empty() {
            return Err(EngineError::invalid("question", "the question is empty; write what you want to know"));
        }
        if let Some(passages) = self.passages
            && !(1..=MAX_PASSAGES).contains(&passages)
        {
            let message = format!("passages is {passages}, but must lie between 1 and {MAX_PASSAGES}");
            return Err(EngineError::invalid("passages", message));
        }
        if self.max_tokens == Some(0) {
            return Err(EngineError::invalid("max_tokens", "max_tokens is 0, but an answer needs at least 1 token"));
        }
        if self.context_tokens == Some(0) {
            return Err(EngineError::invalid(
                "context_tokens",
                "context_tokens is 0, which leaves no room for a passage",
            ));
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            let message = format!("temperature is {}, but must lie between 0 and 2", self.temperature);
            return Err(EngineError::invalid("temperature", message));
        }
        Ok(())
    }
}

impl Engine {
    /// Answers a question from a collection, with citations, or abstains when nothing found supports an answer.
    ///
    /// Blocks until done. When `cancel` is set before the first token, the call fails with `Cancelled`; after it, the
    /// text so far is returned with [`FinishReason::Cancelled`] and without citations.
    pub fn answer(
        &self,
        collection: &str,
        request: &AnswerRequest,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(AnswerEvent<'_>),
    ) -> Result<Answer, EngineError> {
        request.check()?;
        let started = Instant::now();
        let found = self.search(collection, &candidates(&request.question), cancel)?;
        let mut answer = if abstain::too_weak(&found.hits) {
            abstention(request, &found.hits, on_event)
        } else {
            let (embedder, generator) = (self.models().embedder()?, self.models().generator()?);
            let writer = Writer { embedder: embedder.as_ref(), generator: generator.as_ref(), request, cancel };
            writer.write(&found.hits, on_event)?
        };
        answer.timings = timings(&found, answer.timings.generate_ms, started);
        Ok(answer)
    }
}

fn candidates(question: &str) -> SearchRequest {
    SearchRequest { query: question.to_owned(), limit: CANDIDATES, rerank: true, ..SearchRequest::default() }
}

fn timings(found: &SearchReply, generate_ms: f64, started: Instant) -> AnswerTimings {
    AnswerTimings {
        retrieve_ms: found.retrieve_ms,
        rerank_ms: found.rerank_ms,
        generate_ms,
        total_ms: milliseconds(started),
    }
}

fn abstention(request: &AnswerRequest, hits: &[ScoredChunk], on_event: &mut dyn FnMut(AnswerEvent<'_>)) -> Answer {
    let nearest = hits.iter().take(request.passages.unwrap_or(DEFAULT_PASSAGES)).enumerate();
    let passages: Vec<ContextPassage> = nearest.map(|(i, hit)| context::numbered(i + 1, hit)).collect();
    let text = prompt::abstention(&request.question);
    on_event(AnswerEvent::Passages(&passages));
    on_event(AnswerEvent::Delta(text));
    Answer {
        text: text.to_owned(),
        citations: Vec::new(),
        abstained: true,
        passages,
        finish_reason: None,
        usage: TokenUsage::default(),
        timings: AnswerTimings::default(),
    }
}

/// Writes one answer from hits that are good enough.
struct Writer<'a> {
    embedder: &'a dyn Embedder,
    generator: &'a dyn Generator,
    request: &'a AnswerRequest,
    cancel: &'a CancelToken,
}

impl Writer<'_> {
    fn write(&self, hits: &[ScoredChunk], on_event: &mut dyn FnMut(AnswerEvent<'_>)) -> Result<Answer, EngineError> {
        let max_tokens = self.request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        let chosen = context::near_best(hits, self.request.passages.unwrap_or(DEFAULT_PASSAGES));
        let budget = Budget {
            prompt: self.generator.info().context_length.saturating_sub(max_tokens),
            passages: self.request.context_tokens.unwrap_or(DEFAULT_CONTEXT_TOKENS),
        };
        let passages = context::pack(&self.request.question, &chosen, budget, self.generator)?;
        self.cancel.check()?;
        on_event(AnswerEvent::Passages(&passages));

        let started = Instant::now();
        let messages = prompt::messages(&self.request.question, &passages);
        let options = prompt::decoding(self.request, max_tokens);
        let mut emit = |text: &str| on_event(AnswerEvent::Delta(text));
        let mut stream = AnswerStream::new(&mut emit);
        let generation =
            self.generator.generate(&messages, &options, self.cancel, &mut |delta: &str| stream.push(delta))?;
        let text = stream.finish();
        let generate_ms = milliseconds(started);

        let cancelled = generation.finish_reason == FinishReason::Cancelled;
        if cancelled && text.is_empty() {
            return Err(anser_core::Error::cancelled().into());
        }
        let citations =
            if cancelled { Vec::new() } else { citation::cite(&text, &passages, self.embedder, self.cancel)? };
        Ok(Answer {
            text,
            citations,
            abstained: false,
            passages,
            finish_reason: Some(generation.finish_reason),
            usage: generation.usage,
            timings: AnswerTimings { generate_ms, ..AnswerTimings::default() },
        })
    }
}
