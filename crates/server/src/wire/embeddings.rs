//! `POST /v1/embeddings`: request, its checks, and reply.

use anser_core::{EmbedPurpose, Embedded, Embedding};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::error::{ApiError, ApiResult};
use crate::wire::json_type;

/// Most texts of one request.
const MAX_INPUTS: usize = 2048;

/// The request. Unknown keys are tolerated.
#[derive(Debug, Deserialize)]
pub(crate) struct EmbeddingsRequest {
    pub(crate) model: String,
    input: Value,
    #[serde(default)]
    encoding_format: Option<EncodingFormat>,
    #[serde(default)]
    pub(crate) dimensions: Option<u64>,
    #[serde(default)]
    input_type: Option<InputType>,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    /// A list of numbers.
    #[default]
    Float,
    /// Base64 of little-endian f32.
    Base64,
}

/// What the texts are; an addition of ours. Some models want queries to begin with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum InputType {
    Query,
    Passage,
}

impl EmbeddingsRequest {
    pub(crate) fn format(&self) -> EncodingFormat {
        self.encoding_format.unwrap_or_default()
    }

    pub(crate) fn purpose(&self) -> EmbedPurpose {
        match self.input_type {
            Some(InputType::Query) => EmbedPurpose::Query,
            Some(InputType::Passage) | None => EmbedPurpose::Passage,
        }
    }

    /// The texts, none of them empty.
    pub(crate) fn texts(&mut self) -> ApiResult<Vec<String>> {
        let texts = match self.input.take() {
            Value::String(text) if text.is_empty() => return Err(empty("input")),
            Value::String(text) => return Ok(vec![text]),
            Value::Array(items) => items,
            other => {
                let message = format!("input must be a string or a list of strings, not {}", json_type(&other));
                return Err(ApiError::invalid("input", message));
            }
        };
        if texts.is_empty() || texts.len() > MAX_INPUTS {
            let message = format!("input holds {} texts; send between 1 and {MAX_INPUTS}", texts.len());
            return Err(ApiError::invalid("input", message));
        }
        texts.into_iter().enumerate().map(|(at, item)| text(at, item)).collect()
    }
}

fn text(at: usize, item: Value) -> ApiResult<String> {
    match item {
        Value::String(text) if text.is_empty() => Err(empty(&format!("input[{at}]"))),
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Array(_) => Err(ApiError::invalid(
            "input",
            "input holds token ids, which differ from model to model; send the texts themselves",
        )),
        other => {
            let message = format!("input[{at}] must be a string, not {}", json_type(&other));
            Err(ApiError::invalid(format!("input[{at}]"), message))
        }
    }
}

fn empty(param: &str) -> ApiError {
    ApiError::invalid(param, format!("{param} is an empty string, which has no embedding; leave it out"))
}

/// The reply.
#[derive(Debug, Serialize)]
pub(crate) struct EmbeddingsReply {
    object: &'static str,
    data: Vec<EmbeddingItem>,
    model: String,
    usage: EmbeddingsUsage,
}

/// One vector, at the position of its text.
#[derive(Debug, Serialize)]
struct EmbeddingItem {
    object: &'static str,
    index: usize,
    embedding: Vector,
    /// Present when the text was longer than the model reads, so that its end was ignored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Debug)]
struct Vector(Embedding, EncodingFormat);

#[derive(Debug, Serialize)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            EncodingFormat::Float => self.0.serialize(serializer),
            EncodingFormat::Base64 => {
                let bytes: Vec<u8> = self.0.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
        }
    }
}

impl EmbeddingsReply {
    pub(crate) fn new(model: String, embedded: Vec<Embedded>, format: EncodingFormat) -> Self {
        let tokens = embedded.iter().map(|one| one.tokens).sum();
        let data = embedded.into_iter().enumerate().map(|(index, one)| EmbeddingItem {
            object: "embedding",
            index,
            embedding: Vector(one.embedding, format),
            truncated: one.truncated,
        });
        Self {
            object: "list",
            data: data.collect(),
            model,
            usage: EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens },
        }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.usage.total_tokens
    }
}
