//! Answers: requests of ours, in which unknown keys are refused.

use anser_core::ContextPassage;
use anser_engine::AnswerRequest;
use serde::{Deserialize, Serialize};

use super::filter::AnyFilter;

/// `POST …/answers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    question: String,
    /// Name of the chat model that answers: the base or a tuned one.
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    passages: Option<usize>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    context_tokens: Option<usize>,
    #[serde(default)]
    temperature: Option<f32>,
    #[serde(default)]
    seed: Option<u64>,
    /// Only documents that this lets through.
    #[serde(default)]
    filter: Option<AnyFilter>,
    /// Only passages with at least this cosine.
    #[serde(default)]
    min_score: Option<f32>,
    /// Whether the reply comes as server-sent events.
    #[serde(default)]
    pub(crate) stream: bool,
}

impl From<AnswerBody> for AnswerRequest {
    fn from(body: AnswerBody) -> Self {
        let defaults = Self::default();
        Self {
            question: body.question,
            passages: body.passages.or(defaults.passages),
            max_tokens: body.max_tokens.or(defaults.max_tokens),
            context_tokens: body.context_tokens.or(defaults.context_tokens),
            temperature: body.temperature.unwrap_or(defaults.temperature),
            seed: body.seed.or(defaults.seed),
            model: body.model.or(defaults.model),
            filter: body.filter.map(|filter| filter.0),
            min_score: body.min_score,
            fusion: defaults.fusion,
        }
    }
}

/// Data of the event `passages`.
#[derive(Debug, Serialize)]
pub(crate) struct PassagesEvent<'a> {
    pub(crate) passages: &'a [ContextPassage],
}

/// Data of the event `delta`.
#[derive(Debug, Serialize)]
pub(crate) struct DeltaEvent<'a> {
    pub(crate) text: &'a str,
}
