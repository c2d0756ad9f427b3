//! The chat request: what is read, what is accepted without effect, and what is refused because ignoring it would
//! make the reply a lie.

use anser_core::{ChatMessage, GenerateOptions, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::decoding::{self, Rule, Stop, StreamOptions, is_empty, is_zero};
use crate::wire::json_type;

/// The request. Keys that are not listed here do not change the reply (`user`, `metadata`, `service_tier`, …) and are
/// tolerated, like those that OpenAI may add.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
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

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Value>,
    #[serde(default)]
    function_call: Option<Value>,
}

impl ChatRequest {
    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(StreamOptions::includes_usage)
    }

    /// The conversation.
    pub(crate) fn conversation(&self) -> ApiResult<Vec<ChatMessage>> {
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "messages is empty; send at least one message"));
        }
        self.messages.iter().enumerate().map(|(at, message)| message.read(at)).collect()
    }

    /// How to decode; what the request leaves open is as [`GenerateOptions::default`] has it.
    pub(crate) fn decoding(&self) -> ApiResult<GenerateOptions> {
        decoding::refuse_unsupported(&self.rest, &RULES)?;
        let defaults = GenerateOptions::default();
        Ok(GenerateOptions {
            max_tokens: self.max_tokens()?,
            temperature: decoding::temperature(self.temperature, defaults.temperature)?,
            top_p: decoding::top_p(self.top_p, defaults.top_p)?,
            seed: self.seed.map(i64::cast_unsigned),
            stop: decoding::stops(self.stop.as_ref())?,
            ..defaults
        })
    }

    fn max_tokens(&self) -> ApiResult<Option<usize>> {
        let (param, value) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(value), _) => ("max_completion_tokens", value),
            (None, Some(value)) => ("max_tokens", value),
            (None, None) => return Ok(None),
        };
        if value == 0 {
            return Err(ApiError::invalid(param, format!("{param} is 0, but a reply needs at least 1 token")));
        }
        Ok(Some(usize::try_from(value).unwrap_or(usize::MAX)))
    }
}

const RULES: [Rule; 17] = [
    ("n", |v| v == 1, "each request gets one choice; send several requests instead"),
    ("logprobs", |v| v == false, "token probabilities are not reported"),
    ("top_logprobs", |v| v == 0, "token probabilities are not reported"),
    ("logit_bias", is_empty, "the weight of single tokens cannot be set"),
    ("frequency_penalty", is_zero, "use 0 or leave it out"),
    ("presence_penalty", is_zero, "use 0 or leave it out"),
    ("tools", is_empty, "the served models call no tools"),
    ("tool_choice", |v| v == "none" || v == "auto", "the served models call no tools"),
    ("functions", is_empty, "the served models call no functions"),
    ("function_call", |v| v == "none" || v == "auto", "the served models call no functions"),
    ("response_format", is_text_format, "replies are plain text; use {\"type\":\"text\"} or leave it out"),
    ("modalities", |v| v.as_array().is_some_and(|list| list.iter().all(|m| m == "text")), "replies are text only"),
    ("audio", |_| false, "replies are text only"),
    ("web_search_options", |_| false, "the web is not searched"),
    ("moderation", |_| false, "replies are not moderated"),
    ("store", |v| v == false, "completions are not kept"),
    ("verbosity", |v| v == "medium", "the length of replies follows max_completion_tokens only"),
];

fn is_text_format(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "text")
}

impl Message {
    fn read(&self, at: usize) -> ApiResult<ChatMessage> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => {
                let message = format!("messages[{at}] is the result of a tool, but the served models call no tools");
                return Err(ApiError::unsupported(format!("messages[{at}].role"), message));
            }
            other => {
                let message =
                    format!("messages[{at}].role is \"{}\"; use system, developer, user or assistant", excerpt(other));
                return Err(ApiError::invalid(format!("messages[{at}].role"), message));
            }
        };
        for (name, value) in [("tool_calls", &self.tool_calls), ("function_call", &self.function_call)] {
            if value.as_ref().is_some_and(|value| !value.is_null() && !is_empty(value)) {
                let param = format!("messages[{at}].{name}");
                let message = format!("{param} is not supported here: the served models call no tools");
                return Err(ApiError::unsupported(param, message));
            }
        }
        Ok(ChatMessage::new(role, content(at, self.content.as_ref())?))
    }
}

/// A message's text: a string, or text parts joined.
fn content(at: usize, content: Option<&Value>) -> ApiResult<String> {
    let param = format!("messages[{at}].content");
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            parts.iter().enumerate().map(|(part, value)| text_part(&format!("{param}[{part}]"), value)).collect()
        }
        None | Some(Value::Null) => {
            let message = format!("{param} is missing; send a string or a list of text parts");
            Err(ApiError::invalid(param, message))
        }
        Some(other) => {
            let message = format!("{param} must be a string or a list of text parts, not {}", json_type(other));
            Err(ApiError::invalid(param, message))
        }
    }
}

fn text_part(param: &str, part: &Value) -> ApiResult<String> {
    match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (Some(kind), _) if kind != "text" => {
            let message = format!("{param} is of type \"{}\", but the served models read text only", excerpt(kind));
            Err(ApiError::unsupported(param, message))
        }
        _ => {
            let message = format!("{param} is not a text part; send {{\"type\":\"text\",\"text\":\"…\"}}");
            Err(ApiError::invalid(param, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn request(extra: Value) -> ChatRequest {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn decoding_parameters_are_read() {
        let options = request(json!({
            "temperature": 0.5, "top_p": 0.9, "seed": -1, "stop": ["a", "b"], "max_tokens": 9, "max_completion_tokens": 7
        }))
        .decoding()
        .unwrap();
        assert_eq!(options.max_tokens, Some(7));
        assert_eq!(options.stop, ["a", "b"]);
        assert_eq!(options.seed, Some(u64::MAX));
        assert!((options.temperature - 0.5).abs() < 1e-6 && (options.top_p - 0.9).abs() < 1e-6);
        assert_eq!(request(json!({"stop": "x"})).decoding().unwrap().stop, ["x"]);
        assert_eq!(request(json!({})).decoding().unwrap(), GenerateOptions::default());
    }

    #[test]
    fn parameters_that_would_change_the_reply_are_refused_by_name() {
        for (name, value) in [
            ("n", json!(2)),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("logit_bias", json!({"5": 1})),
            ("frequency_penalty", json!(0.5)),
            ("presence_penalty", json!(-1)),
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("functions", json!([{}])),
            ("response_format", json!({"type": "json_schema"})),
            ("response_format", json!({"type": "json_object"})),
            ("modalities", json!(["audio"])),
            ("audio", json!({"voice": "x"})),
            ("web_search_options", json!({})),
            ("store", json!(true)),
        ] {
            let error = request(json!({ name: value })).decoding().unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(name));
            assert_eq!(error.code, "unsupported_parameter");
        }
    }

    #[test]
    fn values_that_ask_for_nothing_and_unknown_keys_are_accepted() {
        request(json!({
            "n": 1, "logprobs": false, "logit_bias": {}, "frequency_penalty": 0, "presence_penalty": 0.0, "tools": [],
            "tool_choice": "auto", "response_format": {"type": "text"}, "modalities": ["text"], "audio": null,
            "store": false, "user": "u", "metadata": {"a": "b"}, "service_tier": "auto", "parallel_tool_calls": true,
            "something_new": [1]
        }))
        .decoding()
        .unwrap();
    }

    #[test]
    fn limits_are_checked() {
        for (param, value) in [
            ("temperature", json!(2.1)),
            ("top_p", json!(-0.1)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(0)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
        ] {
            let error = request(json!({ param: value })).decoding().unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }

    fn conversation(messages: &Value) -> Result<Vec<ChatMessage>, (Option<String>, String)> {
        let request: ChatRequest = serde_json::from_value(json!({"model": "m", "messages": messages})).unwrap();
        request.conversation().map_err(|error| {
            let error = error.body().error;
            (error.param, error.message)
        })
    }

    #[test]
    fn contents_may_be_strings_or_text_parts() {
        let read = conversation(&json!([
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "tool_calls": []},
        ]))
        .unwrap();
        assert_eq!(
            read,
            [
                ChatMessage::new(Role::System, "be brief"),
                ChatMessage::new(Role::User, "ab"),
                ChatMessage::new(Role::Assistant, "c")
            ]
        );
    }

    #[test]
    fn messages_that_cannot_be_read_are_named() {
        for (messages, param) in [
            (json!([]), "messages"),
            (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0]"),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0]"),
            (json!([{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]), "messages[1].role"),
            (json!([{"role": "king", "content": "x"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([{"role": "user", "content": 5}]), "messages[0].content"),
            (json!([{"role": "assistant", "content": "x", "tool_calls": [{}]}]), "messages[0].tool_calls"),
        ] {
            assert_eq!(conversation(&messages).unwrap_err().0.as_deref(), Some(param));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "\\PC{0,200}") {
            if let Ok(request) = serde_json::from_str::<ChatRequest>(&body) {
                let _ = (request.conversation(), request.decoding());
            }
        }
    }
}
