//! `POST /v1/responses`: the reply. The request and its checks lie in [`request`], the events of a stream in [`events`].

pub(crate) mod events;
mod ranking;
pub(crate) mod request;

use anser_core::{Answer, Citation, ContextPassage, FinishReason, TokenUsage};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::wire::responses::request::ResponsesRequest;

/// What stays the same in every state of one response.
#[derive(Debug, Clone)]
pub(crate) struct ResponseHeader {
    id: String,
    created_at: i64,
    model: String,
    instructions: Option<String>,
    max_output_tokens: Option<u64>,
    temperature: f32,
    top_p: f32,
    metadata: Map<String, Value>,
    tools: Vec<Value>,
    tool_choice: Value,
}

/// A response in one of its states.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Response {
    id: String,
    object: &'static str,
    created_at: i64,
    completed_at: Option<i64>,
    status: &'static str,
    background: bool,
    error: Option<()>,
    incomplete_details: Option<IncompleteDetails>,
    instructions: Option<String>,
    max_output_tokens: Option<u64>,
    model: String,
    output: Vec<OutputItem>,
    parallel_tool_calls: bool,
    previous_response_id: Option<()>,
    /// Nothing is kept, whatever was asked for.
    store: bool,
    temperature: f32,
    text: TextFormat,
    tool_choice: Value,
    tools: Vec<Value>,
    top_p: f32,
    truncation: &'static str,
    usage: Option<ResponseUsage>,
    metadata: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct TextFormat {
    format: TextFormatType,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct TextFormatType {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ResponseUsage {
    input_tokens: usize,
    input_tokens_details: InputDetails,
    output_tokens: usize,
    output_tokens_details: OutputDetails,
    total_tokens: usize,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct InputDetails {
    cache_write_tokens: usize,
    cached_tokens: usize,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct OutputDetails {
    reasoning_tokens: usize,
}

impl From<TokenUsage> for ResponseUsage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails { cache_write_tokens: 0, cached_tokens: 0 },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: 0 },
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
        }
    }
}

/// One thing that was done: a search or a message.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    FileSearchCall { id: String, status: &'static str, queries: Vec<String>, results: Option<Vec<SearchResult>> },
    Message { id: String, status: &'static str, role: &'static str, content: Vec<ContentPart> },
}

/// What a message holds.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ContentPart {
    OutputText {
        text: String,
        annotations: Vec<FileCitation>,
        logprobs: [(); 0],
    },
    /// The evidence was too weak to answer.
    Refusal {
        refusal: String,
    },
}

/// A document that supports a part of the text. `anser` is an addition of ours: which words support which.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FileCitation {
    #[serde(rename = "type")]
    kind: &'static str,
    file_id: String,
    filename: String,
    /// Position of the document among those found.
    index: usize,
    anser: Citation,
}

/// A passage that was found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SearchResult {
    file_id: String,
    filename: String,
    score: f32,
    text: String,
    attributes: Map<String, Value>,
}

impl From<&ContextPassage> for SearchResult {
    fn from(passage: &ContextPassage) -> Self {
        Self {
            file_id: passage.document_id.as_str().to_owned(),
            filename: passage.title.clone().unwrap_or_else(|| passage.document_id.as_str().to_owned()),
            score: passage.score,
            text: passage.text.clone(),
            attributes: Map::new(),
        }
    }
}

/// The links from an answer to the documents that hold it up.
pub(crate) fn citations(answer: &Answer) -> Vec<FileCitation> {
    let mut documents: Vec<&str> = Vec::new();
    for passage in &answer.passages {
        let id = passage.document_id.as_str();
        if !documents.contains(&id) {
            documents.push(id);
        }
    }
    let cite = |citation: &Citation| {
        let id = citation.document_id.as_str();
        FileCitation {
            kind: "file_citation",
            file_id: id.to_owned(),
            filename: citation.title.clone().unwrap_or_else(|| id.to_owned()),
            index: documents.iter().position(|document| *document == id).unwrap_or_default(),
            anser: citation.clone(),
        }
    };
    answer.citations.iter().map(cite).collect()
}

/// A plain text without citations.
pub(crate) fn plain(text: String) -> ContentPart {
    ContentPart::OutputText { text, annotations: Vec::new(), logprobs: [] }
}

/// A new id: `prefix` and a number that no other has.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending(FinishReason);

impl Ending {
    pub(crate) fn of(reason: FinishReason) -> Self {
        Self(reason)
    }

    fn incomplete(self) -> Option<IncompleteDetails> {
        match self.0 {
            FinishReason::Stop | FinishReason::Cancelled => None,
            FinishReason::Length => Some(IncompleteDetails { reason: "max_output_tokens" }),
            FinishReason::ContentFilter => Some(IncompleteDetails { reason: "content_filter" }),
        }
    }

    /// The word for a response or message that ended so.
    pub(crate) fn status(self) -> &'static str {
        if self.incomplete().is_some() { "incomplete" } else { "completed" }
    }
}

impl ResponseHeader {
    /// A new response by `model`, begun at `created_at` (seconds since 1970), with the settings as they hold.
    pub(crate) fn new(request: &ResponsesRequest, model: String, created_at: i64) -> Self {
        Self {
            id: new_id("resp"),
            created_at,
            model,
            instructions: request.instructions.clone(),
            max_output_tokens: request.max_output_tokens,
            temperature: request.temperature.unwrap_or(0.0),
            top_p: request.top_p.unwrap_or(1.0),
            metadata: request.metadata.clone().unwrap_or_default(),
            tools: request.tools.clone().unwrap_or_default(),
            tool_choice: request
                .tool_choice
                .clone()
                .filter(|choice| !choice.is_null())
                .unwrap_or_else(|| "auto".into()),
        }
    }

    /// The response while it is being written.
    pub(crate) fn in_progress(&self) -> Response {
        self.snapshot("in_progress", Vec::new())
    }

    /// The response as it ended, at `completed_at`.
    pub(crate) fn ended(
        &self,
        output: Vec<OutputItem>,
        ending: Ending,
        usage: TokenUsage,
        completed_at: i64,
    ) -> Response {
        Response {
            incomplete_details: ending.incomplete(),
            completed_at: Some(completed_at).filter(|_| ending.incomplete().is_none()),
            usage: Some(usage.into()),
            ..self.snapshot(ending.status(), output)
        }
    }

    fn snapshot(&self, status: &'static str, output: Vec<OutputItem>) -> Response {
        Response {
            id: self.id.clone(),
            object: "response",
            created_at: self.created_at,
            completed_at: None,
            status,
            background: false,
            error: None,
            incomplete_details: None,
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens,
            model: self.model.clone(),
            output,
            parallel_tool_calls: true,
            previous_response_id: None,
            store: false,
            temperature: self.temperature,
            text: TextFormat { format: TextFormatType { kind: "text" } },
            tool_choice: self.tool_choice.clone(),
            tools: self.tools.clone(),
            top_p: self.top_p,
            truncation: "disabled",
            usage: None,
            metadata: self.metadata.clone(),
        }
    }
}
