//! `POST /v1/completions`: plain text that is continued as it stands, for models trained on prompts and completions.

use anser_core::{FinishReason, GenerateOptions, TokenUsage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};
use crate::wire::chat::{Usage, finish_reason};
use crate::wire::decoding::{self, Rule, Stop, StreamOptions, is_empty, is_zero};
use crate::wire::json_type;

/// Most prompts of one request.
const MAX_PROMPTS: usize = 128;

/// Tokens of a completion unless the request says otherwise.
const DEFAULT_MAX_TOKENS: usize = 16;

/// The request. Keys that are not listed here do not change the reply and are tolerated.
#[derive(Debug, Deserialize)]
pub(crate) struct CompletionRequest {
    pub(crate) model: String,
    #[serde(default)]
    prompt: Option<Value>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    temperature: Option<f32>,
    #[serde(default)]
    top_p: Option<f32>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

const RULES: [Rule; 7] = [
    ("n", |v| v == 1, "each prompt gets one completion; send several requests instead"),
    ("best_of", |v| v == 1 || v == 0, "each prompt gets one completion; use 1 or leave it out"),
    ("suffix", |v| v == "", "text is continued at its end only; leave it out"),
    ("logprobs", |_| false, "token probabilities are not reported; leave it out"),
    ("logit_bias", is_empty, "the weight of single tokens cannot be set"),
    ("frequency_penalty", is_zero, "use 0 or leave it out"),
    ("presence_penalty", is_zero, "use 0 or leave it out"),
];

impl CompletionRequest {
    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(StreamOptions::includes_usage)
    }

    /// Whether each completion begins with its prompt.
    pub(crate) fn echoes(&self) -> bool {
        self.echo.unwrap_or(false)
    }

    /// The prompts, none of them empty.
    pub(crate) fn prompts(&self) -> ApiResult<Vec<String>> {
        let prompts = match &self.prompt {
            Some(Value::String(text)) => return Ok(vec![prompt("prompt", text)?]),
            Some(Value::Array(prompts)) => prompts,
            None | Some(Value::Null) => {
                return Err(ApiError::invalid("prompt", "prompt is missing; send the text to be continued"));
            }
            Some(other) => {
                let message = format!("prompt must be a string or a list of strings, not {}", json_type(other));
                return Err(ApiError::invalid("prompt", message));
            }
        };
        if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
            let message = format!("prompt holds {} texts; send between 1 and {MAX_PROMPTS}", prompts.len());
            return Err(ApiError::invalid("prompt", message));
        }
        let read = |(at, value): (usize, &Value)| match value {
            Value::String(text) => prompt(&format!("prompt[{at}]"), text),
            Value::Number(_) | Value::Array(_) => Err(ApiError::invalid(
                "prompt",
                "prompt holds token ids, which differ from model to model; send the text itself",
            )),
            other => {
                let param = format!("prompt[{at}]");
                let message = format!("{param} must be a string, not {}", json_type(other));
                Err(ApiError::invalid(param, message))
            }
        };
        prompts.iter().enumerate().map(read).collect()
    }

    /// How to decode; `None` when nothing is to be generated, which makes sense with `echo` only.
    pub(crate) fn decoding(&self) -> ApiResult<Option<GenerateOptions>> {
        decoding::refuse_unsupported(&self.rest, &RULES)?;
        let defaults = GenerateOptions::default();
        let options = GenerateOptions {
            max_tokens: Some(match self.max_tokens {
                None => DEFAULT_MAX_TOKENS,
                Some(tokens) => usize::try_from(tokens).unwrap_or(usize::MAX),
            }),
            temperature: decoding::temperature(self.temperature, defaults.temperature)?,
            top_p: decoding::top_p(self.top_p, defaults.top_p)?,
            seed: self.seed.map(i64::cast_unsigned),
            stop: decoding::stops(self.stop.as_ref())?,
            ..defaults
        };
        match (options.max_tokens, self.echoes()) {
            (Some(0), true) => Ok(None),
            (Some(0), false) => {
                let message =
                    "max_tokens is 0, but a completion needs at least 1 token; with echo, 0 returns the prompt";
                Err(ApiError::invalid("max_tokens", message))
            }
            _ => Ok(Some(options)),
        }
    }
}

fn prompt(param: &str, text: &str) -> ApiResult<String> {
    if text.is_empty() {
        return Err(ApiError::invalid(param, format!("{param} is empty; send some text to continue")));
    }
    Ok(text.to_owned())
}

/// The whole reply, and, with one choice each, the frames of a streamed one.
#[derive(Debug, Serialize)]
pub(crate) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<CompletionChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

/// One completion, or a piece of it.
#[derive(Debug, Serialize)]
pub(crate) struct CompletionChoice<'a> {
    text: &'a str,
    index: usize,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

impl<'a> CompletionChoice<'a> {
    /// The whole text, or its end, of the prompt at `index`.
    pub(crate) fn last(index: usize, text: &'a str, reason: FinishReason) -> Self {
        Self { text, index, logprobs: None, finish_reason: Some(finish_reason(reason)) }
    }

    /// A piece of text that others follow.
    pub(crate) fn piece(index: usize, text: &'a str) -> Self {
        Self { text, index, logprobs: None, finish_reason: None }
    }
}

/// What all parts of one reply share.
#[derive(Debug, Clone)]
pub(crate) struct CompletionHeader {
    id: String,
    created: i64,
    model: String,
}

impl CompletionHeader {
    /// A new reply by `model`, begun at `created` (seconds since 1970).
    pub(crate) fn new(model: String, created: i64) -> Self {
        Self { id: format!("cmpl-{}", uuid::Uuid::now_v7().simple()), created, model }
    }

    /// A reply or frame with these choices.
    pub(crate) fn reply<'a>(&'a self, choices: Vec<CompletionChoice<'a>>, usage: Option<TokenUsage>) -> Completion<'a> {
        Completion {
            id: &self.id,
            object: "text_completion",
            created: self.created,
            model: &self.model,
            choices,
            usage: usage.map(Usage::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn request(extra: Value) -> CompletionRequest {
        let mut body = json!({"model": "m", "prompt": "Once"});
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn sixteen_tokens_unless_said_otherwise_and_none_with_echo() {
        assert_eq!(request(json!({})).decoding().unwrap().unwrap().max_tokens, Some(16));
        assert_eq!(request(json!({"max_tokens": 3})).decoding().unwrap().unwrap().max_tokens, Some(3));
        assert!(request(json!({"max_tokens": 0, "echo": true})).decoding().unwrap().is_none());
        let error = request(json!({"max_tokens": 0})).decoding().unwrap_err().body().error;
        assert_eq!(error.param.as_deref(), Some("max_tokens"));
    }

    #[test]
    fn prompts_are_texts() {
        assert_eq!(request(json!({})).prompts().unwrap(), ["Once"]);
        assert_eq!(request(json!({"prompt": ["a", "b"]})).prompts().unwrap(), ["a", "b"]);
        for (prompt, param) in [
            (json!(null), "prompt"),
            (json!(""), "prompt"),
            (json!([]), "prompt"),
            (json!([1, 2]), "prompt"),
            (json!([[1]]), "prompt"),
            (json!(["a", ""]), "prompt[1]"),
            (json!(["a", true]), "prompt[1]"),
            (json!({}), "prompt"),
        ] {
            let error = request(json!({ "prompt": prompt })).prompts().unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn what_would_change_the_reply_is_refused_by_name() {
        for (name, value) in [
            ("n", json!(2)),
            ("best_of", json!(3)),
            ("suffix", json!("the end")),
            ("logprobs", json!(1)),
            ("logit_bias", json!({"1": 2})),
            ("frequency_penalty", json!(1)),
        ] {
            let error = request(json!({ name: value })).decoding().unwrap_err().body().error;
            assert_eq!((error.param.as_deref(), error.code.as_ref()), (Some(name), "unsupported_parameter"));
        }
        request(json!({"n": 1, "best_of": 1, "suffix": null, "logprobs": null, "user": "u"})).decoding().unwrap();
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "\\PC{0,200}") {
            if let Ok(request) = serde_json::from_str::<CompletionRequest>(&body) {
                let _ = (request.prompts(), request.decoding());
            }
        }
    }
}
