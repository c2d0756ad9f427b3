//! `POST /v1/chat/completions`: the reply, whole and in chunks. The request and its checks lie in [`request`].

pub(crate) mod request;

use anser_core::{FinishReason, TokenUsage};
use serde::Serialize;

/// The whole reply.
#[derive(Debug, Serialize)]
pub(crate) struct ChatCompletion {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of the wire")]
pub(crate) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl From<TokenUsage> for Usage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}

/// What all parts of one completion share.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    id: String,
    created: i64,
    model: String,
}

impl Header {
    /// A new completion by `model`, begun at `created` (seconds since 1970).
    pub(crate) fn new(model: String, created: i64) -> Self {
        Self { id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()), created, model }
    }

    /// The whole reply at once.
    pub(crate) fn completion(self, content: String, reason: FinishReason, usage: TokenUsage) -> ChatCompletion {
        ChatCompletion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: [Choice {
                index: 0,
                message: Message { role: "assistant", content, refusal: None },
                logprobs: None,
                finish_reason: finish_reason(reason),
            }],
            usage: usage.into(),
        }
    }
}

/// One frame of a streamed reply.
#[derive(Debug, Serialize)]
pub(crate) struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<ChunkChoice<'a>>,
    /// Absent unless usage was asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<ChunkUsage>,
}

/// The usage, or null.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ChunkUsage(Option<Usage>);

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// Makes the chunks of one completion, in the order that OpenAI's clients expect: role, contents, finish, usage.
#[derive(Debug, Clone)]
pub(crate) struct ChunkWriter {
    header: Header,
    include_usage: bool,
}

impl ChunkWriter {
    pub(crate) fn new(header: Header, include_usage: bool) -> Self {
        Self { header, include_usage }
    }

    /// The first chunk: who speaks.
    pub(crate) fn role(&self) -> Chunk<'_> {
        self.choice(Delta { role: Some("assistant"), content: Some("") }, None)
    }

    /// The next piece of text.
    pub(crate) fn content<'a>(&'a self, text: &'a str) -> Chunk<'a> {
        self.choice(Delta { role: None, content: Some(text) }, None)
    }

    /// The end of the text.
    pub(crate) fn finish(&self, reason: FinishReason) -> Chunk<'_> {
        self.choice(Delta::default(), Some(finish_reason(reason)))
    }

    /// The chunk without choices that carries the usage; `None` unless it was asked for.
    pub(crate) fn usage(&self, usage: TokenUsage) -> Option<Chunk<'_>> {
        self.include_usage.then(|| self.chunk(Vec::new(), Some(usage.into())))
    }

    fn choice<'a>(&'a self, delta: Delta<'a>, finish_reason: Option<&'static str>) -> Chunk<'a> {
        self.chunk(vec![ChunkChoice { index: 0, delta, logprobs: None, finish_reason }], None)
    }

    fn chunk<'a>(&'a self, choices: Vec<ChunkChoice<'a>>, usage: Option<Usage>) -> Chunk<'a> {
        Chunk {
            id: &self.header.id,
            object: "chat.completion.chunk",
            created: self.header.created,
            model: &self.header.model,
            choices,
            usage: self.include_usage.then_some(ChunkUsage(usage)),
        }
    }
}

/// A cancelled generation has no word in OpenAI's language; its caller is gone, or is told by an error.
pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    }
}
