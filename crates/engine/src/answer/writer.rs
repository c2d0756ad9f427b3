//! One answer being written: every sentence is checked against the passages before anybody sees it.

use std::collections::HashSet;
use std::time::Instant;

use anser_core::{
    ByteSpan, CancelToken, Citation, ContextPassage, Embedder, FinishReason, Generator, Prompt, ScoredChunk, TokenUsage,
};

use super::citation::{Evidence, Link};
use super::context::{self, Budget};
use super::stop::with_own_token;
use super::stream::SentenceStream;
use super::words::{Words, normalized, sentences};
use super::{AnswerEvent, AnswerRequest, abstain, prompt};
use crate::EngineError;
use crate::retrieve::milliseconds;

/// Passages shown to the model unless the request says otherwise. Few, because a small model mixes them up.
pub(super) const DEFAULT_PASSAGES: usize = 2;

/// Tokens of an answer unless the request says otherwise.
pub(super) const DEFAULT_MAX_TOKENS: usize = 96;

/// Tokens of all passages together unless the request says otherwise.
pub(super) const DEFAULT_CONTEXT_TOKENS: usize = 768;

/// Letters and digits from which on a sentence said twice is a loop. "Yes." may come again.
const MIN_REPEAT: usize = 8;

/// What came of writing an answer.
pub(super) struct Written {
    /// The text; `None` when no sentence of it is grounded in a passage and none of the passages can stand for it.
    pub(super) text: Option<String>,
    pub(super) citations: Vec<Citation>,
    pub(super) passages: Vec<ContextPassage>,
    pub(super) finish_reason: FinishReason,
    pub(super) usage: TokenUsage,
    pub(super) generate_ms: f64,
}

/// Writes answers with one pair of models.
pub(super) struct Writer<'a> {
    pub(super) embedder: &'a dyn Embedder,
    pub(super) generator: &'a dyn Generator,
    pub(super) request: &'a AnswerRequest,
    pub(super) cancel: &'a CancelToken,
}

impl Writer<'_> {
    /// Chooses passages from `hits`, best first and not empty, and writes an answer from them.
    pub(super) fn write(
        &self,
        hits: &[ScoredChunk],
        on_event: &mut dyn FnMut(AnswerEvent<'_>),
    ) -> Result<Written, EngineError> {
        let max_tokens = self.request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        let passages = self.choose(hits, max_tokens)?;
        let started = Instant::now();
        let evidence = Evidence::read(&passages, self.embedder, self.cancel)?;
        on_event(AnswerEvent::Passages(&passages));

        let messages = prompt::messages(&self.request.question, &passages);
        let options = prompt::decoding(self.request, max_tokens);
        let mut emit = |text: &str| on_event(AnswerEvent::Delta(text));
        let mut draft = Draft::new(&self.request.question, &evidence, self, &mut emit);
        let mut stream = SentenceStream::default();
        let generation = with_own_token(self.cancel, |stop| {
            self.generator.generate(Prompt::Chat(&messages), &options, stop, &mut |delta: &str| {
                for sentence in stream.push(delta) {
                    draft.take(&sentence);
                }
                if draft.ended() {
                    stop.cancel();
                }
            })
        })?;
        let caller_left = self.cancel.is_cancelled();
        if !caller_left {
            draft.take_rest(stream.finish(), generation.finish_reason == FinishReason::Length);
        }
        // Stopped by the draft, not by the caller: the answer is as whole as it gets.
        let finish_reason = match generation.finish_reason {
            FinishReason::Cancelled if !caller_left => FinishReason::Stop,
            reason => reason,
        };
        let (mut text, mut citations) = draft.conclude()?;
        if caller_left && text.is_none() {
            return Err(anser_core::Error::cancelled().into());
        }
        if text.is_none()
            && abstain::quotable(hits)
            && let Some((quote, citation)) = self.quote(&evidence)?
        {
            on_event(AnswerEvent::Delta(&quote));
            (text, citations) = (Some(quote), vec![citation]);
        }
        let generate_ms = milliseconds(started);
        drop(evidence);
        Ok(Written { text, citations, passages, finish_reason, usage: generation.usage, generate_ms })
    }

    /// A sentence of the passages as the answer, for when the model's own words have no support in them.
    fn quote(&self, evidence: &Evidence<'_>) -> Result<Option<(String, Citation)>, EngineError> {
        let Some(link) = evidence.nearest(&self.request.question, self.embedder, self.cancel)? else { return Ok(None) };
        let Some(quote) = link.quote().map(str::to_owned) else { return Ok(None) };
        let whole = ByteSpan { start: 0, end: quote.len() };
        Ok(link.into_citation(whole).map(|citation| (quote, citation)))
    }

    fn choose(&self, hits: &[ScoredChunk], max_tokens: usize) -> Result<Vec<ContextPassage>, EngineError> {
        let near = context::near_best(hits, self.request.passages.unwrap_or(DEFAULT_PASSAGES));
        let budget = Budget {
            prompt: self.generator.info().context_length.saturating_sub(max_tokens),
            passages: self.request.context_tokens.unwrap_or(DEFAULT_CONTEXT_TOKENS),
        };
        context::pack(&self.request.question, &near, budget, self.generator)
    }
}

/// The answer so far. Nothing of it is passed on before one of its sentences is grounded in a passage.
struct Draft<'a> {
    question: Words,
    evidence: &'a Evidence<'a>,
    writer: &'a Writer<'a>,
    emit: &'a mut dyn FnMut(&str),
    text: String,
    passed_on: usize,
    said: HashSet<String>,
    citations: Vec<Citation>,
    ended: bool,
    failure: Option<EngineError>,
}

impl<'a> Draft<'a> {
    fn new(question: &str, evidence: &'a Evidence<'a>, writer: &'a Writer<'a>, emit: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            question: Words::of(question),
            evidence,
            writer,
            emit,
            text: String::new(),
            passed_on: 0,
            said: HashSet::new(),
            citations: Vec::new(),
            ended: false,
            failure: None,
        }
    }

    /// Whether nothing more is taken: the model repeated itself, made a number up, or alignment failed.
    fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a passage supports at least one sentence. A model that ignores its passages says nothing they support.
    fn grounded(&self) -> bool {
        !self.citations.is_empty()
    }

    /// Takes the next sentence, the white space behind it included.
    fn take(&mut self, sentence: &str) {
        if self.ended {
            return;
        }
        let letters = sentence.chars().filter(|c| c.is_alphanumeric()).count();
        let repeated = !self.said.insert(normalized(sentence)) && letters >= MIN_REPEAT;
        let words = Words::of(sentence);
        let founded = |number: &String| self.evidence.holds_number(number) || self.question.numbers.contains(number);
        if repeated || !words.numbers.iter().all(founded) {
            tracing::debug!(
                bytes = sentence.len(),
                repeated,
                "the answer ends before a sentence that repeats or makes up a number"
            );
            self.ended = true;
            return;
        }
        let start = self.text.len();
        self.text.push_str(sentence);
        for span in sentences(sentence) {
            let span = ByteSpan { start: start + span.start, end: start + span.end };
            if let Err(failure) = self.align(span) {
                self.failure = Some(failure);
                self.ended = true;
                return;
            }
        }
        self.pass_on();
    }

    /// Takes what was left when generation ended. A sentence that was cut off is dropped, unless it is all there is.
    fn take_rest(&mut self, mut rest: Vec<String>, cut_off: bool) {
        if cut_off && !(self.text.is_empty() && rest.len() == 1) {
            rest.pop();
        }
        for sentence in rest {
            self.take(&sentence);
        }
    }

    fn align(&mut self, span: ByteSpan) -> Result<(), EngineError> {
        let Some(sentence) = span.slice(&self.text) else { return Ok(()) };
        let link = self.evidence.support(sentence, self.writer.embedder, self.writer.cancel)?;
        tracing::debug!(bytes = sentence.len(), support = link.as_ref().map(Link::support), "aligned");
        self.citations.extend(link.and_then(|link| link.into_citation(span)));
        Ok(())
    }

    fn pass_on(&mut self) {
        let end = self.text.trim_end().len();
        if self.grounded() && end > self.passed_on {
            (self.emit)(&self.text[self.passed_on..end]);
            self.passed_on = end;
        }
    }

    /// The text that was passed on, `None` when no sentence is grounded, and its citations.
    fn conclude(mut self) -> Result<(Option<String>, Vec<Citation>), EngineError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.text.truncate(self.passed_on);
        if self.grounded() { Ok((Some(self.text), self.citations)) } else { Ok((None, Vec::new())) }
    }
}
