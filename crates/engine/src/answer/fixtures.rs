//! Small stand-ins for models and hits, shared by the unit tests.

use anser_core::{
    Attributes, ByteSpan, CancelToken, ChatMessage, Chunk, ChunkId, ContextPassage, DocumentId, EmbedPurpose, Embedded,
    Embedder, EmbedderInfo, Embedding, FinishReason, GenerateOptions, Generation, GenerationTimings, Generator,
    GeneratorInfo, Prompt, ScoredChunk, TokenScores, TokenUsage,
};

use super::words::Words;

/// A hit on a chunk that is its whole document.
pub(crate) fn hit(id: u64, document: &str, text: &str, score: f32) -> ScoredChunk {
    ScoredChunk {
        chunk: Chunk {
            id: ChunkId(id),
            document_id: DocumentId::new(document).unwrap(),
            ordinal: 0,
            span: ByteSpan { start: 0, end: text.len() },
            text: text.to_owned(),
            tokens: 1,
        },
        score,
        vector_score: Some(score),
        keyword_score: None,
        rerank_score: None,
        highlights: Vec::new(),
        title: None,
        attributes: Attributes::new(),
    }
}

/// A passage that is its whole document.
pub(crate) fn passage(number: usize, document: &str, text: &str) -> ContextPassage {
    super::context::numbered(number, &hit(number as u64, document, text, 0.9))
}

/// Embeds a text as the bag of its words, each on the axis of its hash.
pub(crate) struct BagOfWords(EmbedderInfo);

impl Default for BagOfWords {
    fn default() -> Self {
        let fingerprint = "bag-of-words".to_owned();
        Self(EmbedderInfo { model: "bag-of-words".into(), dimension: 64, max_tokens: 512, fingerprint })
    }
}

impl Embedder for BagOfWords {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> anser_core::Result<Vec<Embedded>> {
        cancel.check()?;
        texts
            .iter()
            .map(|text| {
                let mut values = vec![0.01f32; 64];
                for term in Words::of(text).terms {
                    let axis = term.bytes().fold(7usize, |hash, b| (hash * 31 + usize::from(b)) % 64);
                    values[axis] += 1.0;
                }
                Ok(Embedded { embedding: Embedding::normalize(values)?, tokens: 1, truncated: false })
            })
            .collect()
    }

    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(text.split_whitespace().count())
    }
}

/// Says what it was told to, word by word. Its tokens are words.
pub(crate) struct Scripted {
    info: GeneratorInfo,
    text: String,
}

impl Scripted {
    pub(crate) fn new(text: &str) -> Self {
        Self { info: GeneratorInfo { model: "scripted".into(), context_length: 2048 }, text: text.to_owned() }
    }
}

impl Generator for Scripted {
    fn info(&self) -> &GeneratorInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> anser_core::Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> anser_core::Result<usize> {
        Ok(messages.iter().map(|m| 1 + m.content.split_whitespace().count()).sum())
    }

    fn score(&self, _: Prompt<'_>, continuation: &str, _: &CancelToken) -> anser_core::Result<TokenScores> {
        let words = continuation.split_whitespace().count() + 1;
        Ok(TokenScores { log_probabilities: vec![-1.0; words], likeliest: vec![true; words] })
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn generate(
        &self,
        prompt: Prompt<'_>,
        _: &GenerateOptions,
        cancel: &CancelToken,
        on_delta: &mut dyn FnMut(&str),
    ) -> anser_core::Result<Generation> {
        let mut text = String::new();
        let mut finish_reason = FinishReason::Stop;
        let mut completion_tokens = 0;
        for piece in self.text.split_inclusive(' ') {
            if cancel.is_cancelled() {
                finish_reason = FinishReason::Cancelled;
                break;
            }
            on_delta(piece);
            text.push_str(piece);
            completion_tokens += 1;
        }
        let prompt_tokens = match prompt {
            Prompt::Chat(messages) => self.count_prompt_tokens(messages)?,
            Prompt::Text(text) => self.count_tokens(text)?,
        };
        let usage = TokenUsage { prompt_tokens, completion_tokens };
        Ok(Generation { text, finish_reason, usage, timings: GenerationTimings::default() })
    }
}
