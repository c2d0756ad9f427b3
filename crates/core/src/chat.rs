//! Chat messages and what a generator makes of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// What a generator continues.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Prompt<'a> {
    /// A conversation, laid out by the model's own chat template.
    Chat(&'a [ChatMessage]),
    /// Plain text, continued as it stands.
    Text(&'a str),
}

/// How likely a generator finds a given continuation, token by token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenScores {
    /// Natural logarithm of each token's probability.
    pub log_probabilities: Vec<f32>,
    /// Whether each token was the likeliest of all.
    pub likeliest: Vec<bool>,
}

/// How to decode.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate; `None` means up to the end of the context.
    pub max_tokens: Option<usize>,
    /// 0 is greedy; otherwise logits are divided by it. At most 2.
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probability reaches this share, in (0, 1].
    pub top_p: f32,
    /// Same seed, same prompt, same options: same text. `None` draws one.
    pub seed: Option<u64>,
    /// Generation ends before any of these texts; they are not returned.
    pub stop: Vec<String>,
    /// Divides the logits of tokens seen in the prompt's last part and the output (1 = off).
    pub repetition_penalty: f32,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: None, temperature: 0.0, top_p: 1.0, seed: None, stop: Vec::new(), repetition_penalty: 1.0 }
    }
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn, or a stop text appeared.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The caller asked to stop; the text so far is returned.
    Cancelled,
    /// A filter found the text harmful; it is not returned.
    ContentFilter,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GenerationTimings {
    /// From submission until the model took the request up.
    pub queued: Duration,
    /// Reading the prompt.
    pub prefill: Duration,
    /// Writing the text.
    pub decode: Duration,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// All deltas, joined.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens read and written.
    pub usage: TokenUsage,
    /// Where the time went.
    pub timings: GenerationTimings,
}
