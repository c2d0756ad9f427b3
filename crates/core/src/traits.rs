//! The traits through which the parts meet. All are synchronous, and every implementation is shared between threads;
//! one that owns a model runs it on a thread of its own behind a bounded queue and answers `Overloaded` when that is full.

use serde::{Deserialize, Serialize};

use crate::{
    CancelToken, ChatMessage, ChunkId, Embedded, EmbedderInfo, Embedding, GenerateOptions, Generation, Prompt, Result,
    TokenScores,
};

/// What a text is embedded for; models may want a prefix for one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedPurpose {
    /// A question or search phrase.
    Query,
    /// Stored text.
    Passage,
}

/// Turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// Identity and limits.
    fn info(&self) -> &EmbedderInfo;

    /// One result for each text, in order. Blocks until done. A text longer than the model reads is cut and marked
    /// `truncated`; an empty text is `InvalidInput`.
    fn embed(&self, texts: &[String], purpose: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>>;

    /// Tokens of `text` without special tokens.
    fn count_tokens(&self, text: &str) -> Result<usize>;

    /// What computes, and in which number format, such as `native bf16`. Vectors of one fingerprint can be compared
    /// whatever computed them; only those of one backend are equal to the last bit.
    #[expect(clippy::unnecessary_literal_bound, reason = "implementations have names of their own")]
    fn backend(&self) -> &str {
        "unknown"
    }

    /// Lengths below its dimension to which its vectors may be cut, because it was trained so (Matryoshka representation
    /// learning, Kusupati et al. 2022).
    fn shorter_dimensions(&self) -> &[usize] {
        &[]
    }
}

/// Scores passages against a query by reading both together.
pub trait Reranker: Send + Sync {
    /// Name in the catalogue.
    fn model(&self) -> &str;

    /// One logit for each passage, in order; higher is better. Blocks until done.
    fn rerank(&self, query: &str, passages: &[String], cancel: &CancelToken) -> Result<Vec<f32>>;
}

/// Identity and limits of a generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorInfo {
    /// Name in the catalogue.
    pub model: String,
    /// Tokens of prompt and output together.
    pub context_length: usize,
}

/// Continues a conversation.
pub trait Generator: Send + Sync {
    /// Identity and limits.
    fn info(&self) -> &GeneratorInfo;

    /// Tokens of `text` without special tokens.
    fn count_tokens(&self, text: &str) -> Result<usize>;

    /// Tokens of the whole prompt that the model's chat template makes of `messages`.
    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> Result<usize>;

    /// Continues the prompt: a chat by the next assistant turn, a text by more text. `on_delta` receives the text piece by piece, each piece whole UTF-8; joined
    /// they equal `Generation::text`. Blocks until done; a cancelled call returns what it has with
    /// `FinishReason::Cancelled`. A prompt longer than the context is `TooLarge`.
    fn generate(
        &self,
        prompt: Prompt<'_>,
        options: &GenerateOptions,
        cancel: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> Result<Generation>;

    /// How likely `continuation` is after the prompt; after a chat, the token that ends the turn is scored too. `TooLarge`
    /// when both together are longer than the context.
    fn score(&self, prompt: Prompt<'_>, continuation: &str, cancel: &CancelToken) -> Result<TokenScores>;

    /// Bytes of memory that this generator alone holds: for an adapter, without the base that others share.
    fn memory_bytes(&self) -> u64;
}

/// A set of vectors that can be searched by cosine: the seam at which another vector database can sit.
pub trait VectorBackend: Send + Sync {
    /// How many vectors are searchable.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds vectors or replaces those with the same id. Dimension mismatch is `InvalidInput`.
    fn upsert(&self, vectors: &[(ChunkId, Embedding)]) -> Result<()>;

    /// Removes vectors; unknown ids are ignored.
    fn remove(&self, ids: &[ChunkId]) -> Result<()>;

    /// At most `k` nearest by cosine, best first. `exact` compares with every vector. Dimension mismatch is `InvalidInput`.
    fn search(&self, query: &Embedding, k: usize, exact: bool) -> Result<Vec<(ChunkId, f32)>>;
}
