//! The request for a response: what is read, what is accepted without effect, and what is refused because ignoring it
//! would make the reply a lie.

use anser_core::{ChatMessage, GenerateOptions, Role};
use anser_engine::{EngineError, Filter};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ranking::Ranking;
use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::decoding::{self, Rule, is_empty};
use crate::wire::json_type;

/// Fewest tokens that a reply may be limited to.
const LEAST_OUTPUT: u64 = 16;

/// Most passages that an answer is written from.
const MOST_PASSAGES: u64 = 20;

/// The request. Keys that are not listed here do not change the reply and are tolerated.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponsesRequest {
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    pub(crate) instructions: Option<String>,
    #[serde(default)]
    pub(crate) max_output_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) temperature: Option<f32>,
    #[serde(default)]
    pub(crate) top_p: Option<f32>,
    #[serde(default)]
    pub(crate) metadata: Option<Map<String, Value>>,
    #[serde(default)]
    pub(crate) tools: Option<Vec<Value>>,
    #[serde(default)]
    pub(crate) tool_choice: Option<Value>,
    #[serde(default)]
    include: Option<Vec<String>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

const RULES: [Rule; 9] = [
    (
        "previous_response_id",
        |_| false,
        "responses are not kept; send the earlier turns in input, as response.output and the new message",
    ),
    ("conversation", |_| false, "conversations are not kept; send the earlier turns in input"),
    ("background", |v| v == false, "a response is written while the caller waits; leave it out or set stream"),
    ("prompt", |_| false, "prompts are not kept; send their text in instructions and input"),
    ("text", is_plain_text, "replies are plain text; use {\"format\":{\"type\":\"text\"}} or leave it out"),
    ("top_logprobs", |v| v == 0, "token probabilities are not reported"),
    ("context_management", is_empty, "the input is never shortened; leave it out"),
    ("moderation", |_| false, "the reply is not moderated on request; send it to /v1/moderations"),
    ("image", |_| false, "replies are text only"),
];

fn is_plain_text(value: &Value) -> bool {
    let format =
        value.get("format").is_none_or(|format| format.is_null() || format.get("type") == Some(&"text".into()));
    format && value.get("verbosity").is_none_or(|verbosity| verbosity.is_null() || verbosity == "medium")
}

/// A search in a collection that the answer is to be grounded in.
#[derive(Debug, PartialEq)]
pub(crate) struct FileSearch {
    /// The collection's name, which OpenAI's clients send as the id of a vector store.
    pub(crate) collection: String,
    /// Most passages to answer from.
    pub(crate) passages: Option<usize>,
    /// Whether the reply lists what was found.
    pub(crate) results: bool,
    /// Only documents that this lets through.
    pub(crate) filter: Option<Filter>,
    pub(crate) ranking: Ranking,
}

impl ResponsesRequest {
    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Refuses, by name, what would change the reply if this service implemented it.
    pub(crate) fn check(&self) -> ApiResult<()> {
        decoding::refuse_unsupported(&self.rest, &RULES)?;
        match self.include.as_deref().unwrap_or_default().iter().find(|wanted| wanted.contains("logprobs")) {
            Some(_) => {
                Err(ApiError::unsupported("include", "token probabilities are not reported; leave them out of include"))
            }
            None => Ok(()),
        }
    }

    /// The conversation, instructions first.
    pub(crate) fn conversation(&self) -> ApiResult<Vec<ChatMessage>> {
        let instructions = self.instructions.iter().filter(|text| !text.is_empty());
        let mut messages: Vec<_> = instructions.map(|text| ChatMessage::new(Role::System, text)).collect();
        match &self.input {
            Some(Value::String(text)) => messages.push(ChatMessage::new(Role::User, text)),
            Some(Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    messages.extend(message(&format!("input[{at}]"), item)?);
                }
            }
            None | Some(Value::Null) => {
                return Err(ApiError::invalid("input", "input is missing; send a text or a list of messages"));
            }
            Some(other) => {
                let message = format!("input must be a string or a list of messages, not {}", json_type(other));
                return Err(ApiError::invalid("input", message));
            }
        }
        if messages.iter().all(|message| message.role == Role::System) {
            return Err(ApiError::invalid("input", "input holds no message of a user; send at least one"));
        }
        Ok(messages)
    }

    /// How to decode; what the request leaves open is as [`GenerateOptions::default`] has it.
    pub(crate) fn decoding(&self) -> ApiResult<GenerateOptions> {
        let defaults = GenerateOptions::default();
        if let Some(tokens) = self.max_output_tokens
            && tokens < LEAST_OUTPUT
        {
            let message = format!("max_output_tokens is {tokens}, but must be at least {LEAST_OUTPUT}");
            return Err(ApiError::invalid("max_output_tokens", message));
        }
        Ok(GenerateOptions {
            max_tokens: self.max_output_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(usize::MAX)),
            temperature: decoding::temperature(self.temperature, defaults.temperature)?,
            top_p: decoding::top_p(self.top_p, defaults.top_p)?,
            ..defaults
        })
    }

    /// The search to answer from, if one is asked for.
    pub(crate) fn file_search(&self) -> ApiResult<Option<FileSearch>> {
        let tools = self.tools.as_deref().unwrap_or_default();
        if tools.len() > 1 {
            return Err(ApiError::unsupported(
                "tools",
                "an answer is written from one search; send one file_search tool",
            ));
        }
        let search = tools.first().map(|tool| self.read_search(tool)).transpose()?;
        let chosen = match &self.tool_choice {
            None | Some(Value::Null) => return Ok(search),
            Some(Value::String(word)) => word.as_str(),
            Some(Value::Object(named)) => named.get("type").and_then(Value::as_str).unwrap_or_default(),
            Some(_) => "",
        };
        match (chosen, search) {
            ("auto", search) => Ok(search),
            ("none", _) => Ok(None),
            ("required" | "file_search", Some(search)) => Ok(Some(search)),
            ("required" | "file_search", None) => {
                let message = format!("tool_choice is {chosen}, but tools is empty; send a file_search tool");
                Err(ApiError::invalid("tool_choice", message))
            }
            (other, _) => {
                let message =
                    format!("tool_choice \"{}\" is not supported here; use auto, none or required", excerpt(other));
                Err(ApiError::unsupported("tool_choice", message))
            }
        }
    }

    fn read_search(&self, tool: &Value) -> ApiResult<FileSearch> {
        match tool.get("type").and_then(Value::as_str) {
            Some("file_search") => {}
            Some(other) => {
                let message = format!("the tool {} is not supported here; the one tool is file_search", excerpt(other));
                return Err(ApiError::unsupported("tools[0].type", message));
            }
            None => return Err(ApiError::invalid("tools[0].type", "tools[0].type is missing; send file_search")),
        }
        let stores = tool.get("vector_store_ids").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let [Value::String(collection)] = stores else {
            let param = "tools[0].vector_store_ids";
            let message =
                format!("{param} must hold the name of one collection; GET /v1/collections lists those there are");
            return Err(ApiError::invalid(param, message));
        };
        let filters = tool.get("filters").filter(|filters| !filters.is_null() && !is_empty(filters));
        let filter = filters
            .map(Filter::from_json)
            .transpose()
            .map_err(|error| ApiError::from(EngineError::from(error)).with_param("tools[0].filters"))?;
        let ranking = Ranking::read(tool.get("ranking_options"))?;
        let passages = match tool.get("max_num_results") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let count = value.as_u64().filter(|count| (1..=50).contains(count)).ok_or_else(|| {
                    let param = "tools[0].max_num_results";
                    ApiError::invalid(param, format!("{param} is {value}, but must be a whole number from 1 to 50"))
                })?;
                usize::try_from(count.min(MOST_PASSAGES)).ok()
            }
        };
        let include = self.include.as_deref().unwrap_or_default();
        let results = include.iter().any(|wanted| wanted == "file_search_call.results");
        Ok(FileSearch { collection: collection.clone(), passages, results, filter, ranking })
    }
}

/// One item of the input. What tools did in earlier turns is passed over: the messages tell what came of it.
fn message(param: &str, item: &Value) -> ApiResult<Option<ChatMessage>> {
    match item.get("type").and_then(Value::as_str) {
        None | Some("message") => {}
        Some("file_search_call" | "reasoning") => return Ok(None),
        Some(other) => {
            let message = format!("{param} is of type \"{}\"; only messages are read here", excerpt(other));
            return Err(ApiError::unsupported(format!("{param}.type"), message));
        }
    }
    let role = match item.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        other => {
            let other = other.map_or_else(|| "missing".to_owned(), |role| format!("\"{}\"", excerpt(role)));
            let message = format!("{param}.role is {other}; use system, developer, user or assistant");
            return Err(ApiError::invalid(format!("{param}.role"), message));
        }
    };
    let param = format!("{param}.content");
    let text = match item.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate().map(|(at, part)| content_part(&format!("{param}[{at}]"), part));
            parts.collect::<ApiResult<String>>()?
        }
        _ => {
            let message = format!("{param} must be a string or a list of text parts");
            return Err(ApiError::invalid(param, message));
        }
    };
    Ok(Some(ChatMessage::new(role, text)))
}

fn content_part<'a>(param: &str, part: &'a Value) -> ApiResult<&'a str> {
    let member = match part.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => "text",
        Some("refusal") => "refusal",
        Some(other) => {
            let message = format!("{param} is of type \"{}\", but the served models read text only", excerpt(other));
            return Err(ApiError::unsupported(param, message));
        }
        None => "",
    };
    part.get(member).and_then(Value::as_str).ok_or_else(|| {
        ApiError::invalid(param, format!("{param} is not a text part; send {{\"type\":\"input_text\",\"text\":\"…\"}}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn request(body: &Value) -> ResponsesRequest {
        serde_json::from_value(body.clone()).unwrap()
    }

    fn failure<T>(result: ApiResult<T>) -> (String, String) {
        let error = result.err().unwrap().body().error;
        (error.param.unwrap_or_default(), error.code.into_owned())
    }

    #[test]
    fn input_is_a_text_or_messages_with_instructions_before() {
        let messages = request(&json!({"input": "hi", "instructions": "be brief"})).conversation().unwrap();
        assert_eq!(messages, [ChatMessage::new(Role::System, "be brief"), ChatMessage::new(Role::User, "hi")]);
        let messages = request(&json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "file_search_call", "id": "fs_1", "queries": [], "status": "completed"},
            {"type": "message", "role": "assistant", "id": "m", "content": [{"type": "output_text", "text": "c"}]},
            {"role": "user", "content": "d"},
        ]}));
        let texts: Vec<String> = messages.conversation().unwrap().into_iter().map(|m| m.content).collect();
        assert_eq!(texts, ["ab", "c", "d"]);
    }

    #[test]
    fn inputs_that_cannot_be_read_are_named() {
        for (input, param) in [
            (json!(null), "input"),
            (json!(5), "input"),
            (json!([]), "input"),
            (json!([{"role": "system", "content": "x"}]), "input"),
            (json!([{"role": "king", "content": "x"}]), "input[0].role"),
            (json!([{"content": "x"}]), "input[0].role"),
            (json!([{"role": "user"}]), "input[0].content"),
            (json!([{"role": "user", "content": [{"type": "input_image"}]}]), "input[0].content[0]"),
            (json!([{"role": "user", "content": [{"type": "input_text"}]}]), "input[0].content[0]"),
            (json!([{"type": "function_call", "name": "x"}]), "input[0].type"),
        ] {
            assert_eq!(failure(request(&json!({ "input": input })).conversation()).0, param, "{input}");
        }
    }

    #[test]
    fn what_would_change_the_reply_is_refused_by_name() {
        for (name, value) in [
            ("previous_response_id", json!("resp_1")),
            ("conversation", json!("conv_1")),
            ("background", json!(true)),
            ("prompt", json!({"id": "p"})),
            ("text", json!({"format": {"type": "json_schema"}})),
            ("include", json!(["message.output_text.logprobs"])),
        ] {
            let (param, code) = failure(request(&json!({"input": "hi", name: value})).check());
            assert_eq!((param.as_str(), code.as_str()), (name, "unsupported_parameter"));
        }
        let harmless = json!({"input": "hi", "store": true, "background": false, "text": {"format": {"type": "text"}},
            "truncation": "auto", "reasoning": {}, "previous_response_id": null, "something_new": 1});
        request(&harmless).check().unwrap();
    }

    fn search(tool: &Value, choice: &Value) -> ApiResult<Option<FileSearch>> {
        request(&json!({"input": "hi", "tools": [tool], "tool_choice": choice})).file_search()
    }

    #[test]
    fn a_search_names_one_collection() {
        let tool = json!({"type": "file_search", "vector_store_ids": ["shop"], "max_num_results": 50,
            "ranking_options": {"ranker": "auto", "score_threshold": 0.0}});
        let expected = FileSearch {
            collection: "shop".to_owned(),
            passages: Some(20),
            results: false,
            filter: None,
            ranking: Ranking::default(),
        };
        assert_eq!(search(&tool, &json!("auto")).unwrap(), Some(expected));
        assert!(search(&tool, &json!({"type": "file_search"})).unwrap().is_some());
        let mut filtered = tool.clone();
        filtered["filters"] = json!({"type": "gte", "key": "score", "value": 4});
        let filter = search(&filtered, &json!("auto")).unwrap().unwrap().filter;
        assert_eq!(filter, Some("score >= 4".parse().unwrap()));
        assert_eq!(search(&tool, &json!("none")).unwrap(), None);
        assert_eq!(request(&json!({"input": "hi"})).file_search().unwrap(), None);
        for (tool, param) in [
            (json!({"type": "function", "name": "f"}), "tools[0].type"),
            (json!({}), "tools[0].type"),
            (json!({"type": "file_search"}), "tools[0].vector_store_ids"),
            (json!({"type": "file_search", "vector_store_ids": ["a", "b"]}), "tools[0].vector_store_ids"),
            (json!({"type": "file_search", "vector_store_ids": ["a"], "filters": {"type": "eq"}}), "tools[0].filters"),
            (
                json!({"type": "file_search", "vector_store_ids": ["a"], "max_num_results": 51}),
                "tools[0].max_num_results",
            ),
            (
                json!({"type": "file_search", "vector_store_ids": ["a"], "ranking_options": {"score_threshold": 5}}),
                "tools[0].ranking_options.score_threshold",
            ),
        ] {
            assert_eq!(failure(search(&tool, &json!(null))).0, param, "{tool}");
        }
        assert_eq!(failure(request(&json!({"input": "hi", "tool_choice": "required"})).file_search()).0, "tool_choice");
        assert_eq!(
            failure(search(&json!({"type": "file_search", "vector_store_ids": ["a"]}), &json!("magic"))).0,
            "tool_choice"
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in "\\PC{0,200}") {
            if let Ok(request) = serde_json::from_str::<ResponsesRequest>(&body) {
                let _ = (request.check(), request.conversation(), request.decoding(), request.file_search());
            }
        }
    }
}
