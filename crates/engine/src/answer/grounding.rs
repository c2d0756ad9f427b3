//! Questions with passages laid out as the answer path lays them out, for training data that teaches a model to read them.

use anser_core::{CancelToken, ChatMessage, ContextPassage, ScoredChunk};

use super::context::Budget;
use super::writer::{DEFAULT_CONTEXT_TOKENS, DEFAULT_MAX_TOKENS, DEFAULT_PASSAGES};
use super::{abstain, context, prompt};
use crate::{Engine, EngineError};

/// What the answer path finds for a question before a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingContext {
    /// All candidates, best first.
    pub candidates: Vec<ScoredChunk>,
    /// Those that the model would be shown, numbered as it would see them.
    pub shown: Vec<ContextPassage>,
    /// Whether the answer path would decline without asking the model, because nothing found is near enough.
    pub declined: bool,
}

/// Hits as passages numbered from 1 in their order.
pub fn numbered_passages<'a>(hits: impl IntoIterator<Item = &'a ScoredChunk>) -> Vec<ContextPassage> {
    hits.into_iter().enumerate().map(|(i, hit)| context::numbered(i + 1, hit)).collect()
}

/// The conversation that asks `question` about numbered passages, word for word as the answer path asks it.
pub fn grounded_messages(question: &str, passages: &[ContextPassage]) -> Vec<ChatMessage> {
    prompt::messages(question, passages)
}

/// What is said instead of an answer when nothing found supports one, in the question's language.
pub fn abstention_text(question: &str) -> &'static str {
    prompt::abstention(question)
}

impl Engine {
    /// What the answer path finds for `question`, and what it would show the model. Loads the default chat model to count
    /// the passages' tokens.
    pub fn training_context(
        &self,
        collection: &str,
        question: &str,
        cancel: &CancelToken,
    ) -> Result<TrainingContext, EngineError> {
        if question.trim().is_empty() {
            return Err(EngineError::invalid("question", "the question is empty; write what you want to know"));
        }
        let candidates = self.search(collection, &self.candidates(question)?, cancel)?.hits;
        let generator = self.models().chat(None)?;
        let budget = Budget {
            prompt: generator.info().context_length.saturating_sub(DEFAULT_MAX_TOKENS),
            passages: DEFAULT_CONTEXT_TOKENS,
        };
        let near = context::near_best(&candidates, DEFAULT_PASSAGES);
        let shown = context::pack(question, &near, budget, generator.as_ref())?;
        let declined = abstain::too_weak(&candidates);
        Ok(TrainingContext { candidates, shown, declined })
    }
}
