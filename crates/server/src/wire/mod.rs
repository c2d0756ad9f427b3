//! The JSON that goes over the wire: OpenAI's types and our own. OpenAI's requests may hold unknown keys, ours may not.

pub(crate) mod answers;
pub(crate) mod chat;
pub(crate) mod cluster;
pub(crate) mod collections;
pub(crate) mod completions;
pub(crate) mod decoding;
pub(crate) mod embeddings;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod filter;
pub(crate) mod fine_tuning;
pub(crate) mod jobs;
pub(crate) mod list;
pub(crate) mod models;
pub(crate) mod moderations;
pub(crate) mod predictors;
pub(crate) mod responses;
pub(crate) mod search;

use serde_json::Value;

/// What a JSON value is, in words.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
