//! Answers from retrieved context: retrieve, rerank, choose and number passages, ask the model, link what it says to
//! the passages.

mod abstain;
mod citation;
mod context;
#[cfg(test)]
pub(crate) mod fixtures;
mod grounding;
mod prompt;
mod stop;
mod stream;
mod words;
mod writer;

use std::time::Instant;

#[cfg(doc)]
use anser_core::FinishReason;
use anser_core::{Answer, AnswerTimings, CancelToken, ContextPassage, TokenUsage};
use anser_index::{Filter, Fusion, FusionMethod, SearchMode};

use crate::retrieve::milliseconds;
use crate::{Engine, EngineError, FusionChange, SearchRequest};
pub use grounding::{TrainingContext, abstention_text, grounded_messages, numbered_passages};
pub(crate) use words::normalized;
use writer::{DEFAULT_PASSAGES, Writer, Written};

/// Hits that the passages are chosen from.
const CANDIDATES: usize = 20;

/// How candidates by vector and by words become one ranking. On 99 paraphrased questions to a shop's FAQ the reranked
/// candidates of this fusion are as good as those by vector alone (MRR@10 0.933), those of reciprocal ranks with equal
/// weights are worse (0.875); words find the names and numbers that vectors pass over.
const FUSION: Fusion = Fusion { method: FusionMethod::WeightedScores, vector_weight: 0.7 };

/// Most passages a request may ask for.
const MAX_PASSAGES: usize = 20;

/// A question to a collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AnswerRequest {
    /// The question.
    pub question: String,
    /// Most passages the model is shown, 1 to 20; 2 by default.
    pub passages: Option<usize>,
    /// Most tokens of the answer; 96 by default.
    pub max_tokens: Option<usize>,
    /// Most tokens of all passages together; 768 by default.
    pub context_tokens: Option<usize>,
    /// 0, the default, is greedy; at most 2.
    pub temperature: f32,
    /// Seed of the sampling; without one, each answer draws its own.
    pub seed: Option<u64>,
    /// The chat model that writes: the base or a tuned model by its name; the default one without it.
    pub model: Option<String>,
    /// Answers only from documents that this lets through.
    pub filter: Option<Filter>,
    /// Answers only from passages with at least this cosine; from -1 to 1.
    pub min_score: Option<f32>,
    /// How what vectors and words find becomes one ranking; without it, a weighted sum in which vectors count 0.7.
    pub fusion: Option<FusionChange>,
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
        if let Some(score) = self.min_score
            && !(-1.0..=1.0).contains(&score)
        {
            let message = format!("min_score is {score}, but a cosine lies between -1 and 1");
            return Err(EngineError::invalid("min_score", message));
        }
        Ok(())
    }
}

impl Engine {
    /// Answers a question from a collection, with citations, or abstains when nothing found supports an answer.
    ///
    /// Each sentence is checked before it is passed on: the answer ends before one that repeats an earlier one or holds a
    /// number that neither passages nor question hold. When no sentence is grounded in a passage, the answer is the
    /// passages' sentence nearest to the question if they are very near, and an abstention otherwise.
    ///
    /// Blocks until done. When `cancel` is set before anything was passed on, the call fails with `Cancelled`; after it,
    /// the text so far is returned with [`FinishReason::Cancelled`].
    pub fn answer(
        &self,
        collection: &str,
        request: &AnswerRequest,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(AnswerEvent<'_>),
    ) -> Result<Answer, EngineError> {
        request.check()?;
        let started = Instant::now();
        self.collection_for_embedder(collection)?;
        let search = SearchRequest {
            filter: request.filter.clone(),
            fusion: request.fusion.or(Some(FUSION.into())),
            ..self.candidates(&request.question)?
        };
        let mut found = self.search(collection, &search, cancel)?;
        if let Some(least) = request.min_score {
            found.hits.retain(|hit| hit.vector_score.is_some_and(|cosine| cosine >= least));
        }
        let mut answer = if abstain::too_weak(&found.hits) {
            let wanted = request.passages.unwrap_or(DEFAULT_PASSAGES);
            let nearest = found.hits.iter().take(wanted).enumerate();
            let passages: Vec<ContextPassage> = nearest.map(|(i, hit)| context::numbered(i + 1, hit)).collect();
            on_event(AnswerEvent::Passages(&passages));
            abstention(request, passages, on_event)
        } else {
            let (embedder, generator) = (self.models().embedder()?, self.models().chat(request.model.as_deref())?);
            let writer = Writer { embedder: embedder.as_ref(), generator: generator.as_ref(), request, cancel };
            answered(request, writer.write(&found.hits, on_event)?, on_event)
        };
        answer.timings = AnswerTimings {
            retrieve_ms: found.retrieve_ms,
            rerank_ms: found.rerank_ms,
            total_ms: milliseconds(started),
            ..answer.timings
        };
        Ok(answer)
    }

    /// What a question is answered from. Mode and depth are not those of the collection's settings: the bounds for
    /// abstaining were found with these. Without a reranker the nearest passage decides, which only vectors tell.
    fn candidates(&self, question: &str) -> Result<SearchRequest, EngineError> {
        let mode = if self.models().reranker()?.is_some() { SearchMode::Hybrid } else { SearchMode::Vector };
        Ok(SearchRequest {
            query: question.to_owned(),
            limit: CANDIDATES,
            mode: Some(mode),
            fusion: Some(FUSION.into()),
            rerank: true,
            rerank_depth: Some(CANDIDATES),
            ..SearchRequest::default()
        })
    }
}

/// The answer made of what was written, or an abstention when none of it is grounded.
fn answered(request: &AnswerRequest, written: Written, on_event: &mut dyn FnMut(AnswerEvent<'_>)) -> Answer {
    let timings = AnswerTimings { generate_ms: written.generate_ms, ..AnswerTimings::default() };
    let (finish_reason, usage) = (Some(written.finish_reason), written.usage);
    match written.text {
        Some(text) => Answer {
            text,
            citations: written.citations,
            abstained: false,
            passages: written.passages,
            finish_reason,
            usage,
            timings,
        },
        None => Answer { finish_reason, usage, timings, ..abstention(request, written.passages, on_event) },
    }
}

/// Says that no answer was found, in one delta.
fn abstention(
    request: &AnswerRequest,
    passages: Vec<ContextPassage>,
    on_event: &mut dyn FnMut(AnswerEvent<'_>),
) -> Answer {
    let text = prompt::abstention(&request.question);
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
