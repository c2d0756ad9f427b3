//! `POST /v1/moderations`.

use anser_engine::{MODERATION_CATEGORIES, Moderation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::json_type;

/// Most texts of one request.
const MAX_INPUTS: usize = 2048;

/// The request. Unknown keys are tolerated.
#[derive(Debug, Deserialize)]
pub(crate) struct ModerationRequest {
    input: Value,
    #[serde(default)]
    pub(crate) model: Option<String>,
}

/// What is to be judged: each text for itself, or several parts as one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModerationInput {
    Texts(Vec<String>),
    Parts(Vec<String>),
}

impl ModerationInput {
    pub(crate) fn texts(&self) -> &[String] {
        match self {
            Self::Texts(texts) | Self::Parts(texts) => texts,
        }
    }
}

impl ModerationRequest {
    /// The texts. A list of parts is one input, as in OpenAI's service.
    pub(crate) fn input(&self) -> ApiResult<ModerationInput> {
        let items = match &self.input {
            Value::String(text) => return Ok(ModerationInput::Texts(vec![text.clone()])),
            Value::Array(items) => items,
            other => {
                let message = format!(
                    "input must be a string, a list of strings or a list of text parts, not {}",
                    json_type(other)
                );
                return Err(ApiError::invalid("input", message));
            }
        };
        if items.is_empty() || items.len() > MAX_INPUTS {
            let message = format!("input holds {} texts; send between 1 and {MAX_INPUTS}", items.len());
            return Err(ApiError::invalid("input", message));
        }
        let items_of = |read: fn(&str, &Value) -> ApiResult<String>| {
            items.iter().enumerate().map(|(at, item)| read(&format!("input[{at}]"), item)).collect::<ApiResult<_>>()
        };
        if items.iter().any(Value::is_object) {
            items_of(part).map(ModerationInput::Parts)
        } else {
            items_of(text).map(ModerationInput::Texts)
        }
    }
}

fn text(param: &str, item: &Value) -> ApiResult<String> {
    item.as_str()
        .map(str::to_owned)
        .ok_or_else(|| ApiError::invalid(param, format!("{param} must be a string, not {}", json_type(item))))
}

fn part(param: &str, item: &Value) -> ApiResult<String> {
    match (item.get("type").and_then(Value::as_str), item.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (Some(kind), _) if kind != "text" => {
            let message =
                format!("{param} is of type \"{}\", but only text can be judged; leave it out", excerpt(kind));
            Err(ApiError::unsupported(param, message))
        }
        _ => {
            let message = format!("{param} is not a text part; send {{\"type\":\"text\",\"text\":\"…\"}}");
            Err(ApiError::invalid(param, message))
        }
    }
}

/// The reply.
#[derive(Debug, Serialize)]
pub(crate) struct ModerationReply {
    id: String,
    model: String,
    results: Vec<ModerationResult>,
}

/// The judgement on one input. The maps go by category.
#[derive(Debug, Serialize)]
struct ModerationResult {
    flagged: bool,
    categories: Map<String, Value>,
    category_scores: Map<String, Value>,
    category_applied_input_types: Map<String, Value>,
}

impl ModerationReply {
    /// The judgements of `model`; those on parts of one input become one.
    pub(crate) fn new(model: String, input: &ModerationInput, judged: &[Moderation]) -> Self {
        let results = match input {
            ModerationInput::Texts(_) => {
                judged.iter().map(|one| ModerationResult::of(std::slice::from_ref(one))).collect()
            }
            ModerationInput::Parts(_) => vec![ModerationResult::of(judged)],
        };
        Self { id: format!("modr-{}", uuid::Uuid::now_v7().simple()), model, results }
    }
}

impl ModerationResult {
    /// One input from the judgements on its parts: each category as in the worst of them.
    fn of(parts: &[Moderation]) -> Self {
        let map = |value: &dyn Fn(&str) -> Value| {
            MODERATION_CATEGORIES.iter().map(|category| ((*category).to_owned(), value(category))).collect()
        };
        let score = |category: &str| {
            let scores = parts.iter().flat_map(|part| &part.scores).filter(|(name, _)| *name == category);
            scores.map(|(_, score)| *score).fold(0.0_f32, f32::max)
        };
        Self {
            flagged: parts.iter().any(|part| part.flagged),
            categories: map(&|category| parts.iter().any(|part| part.flags(category)).into()),
            category_scores: map(&|category| score(category).into()),
            category_applied_input_types: map(&|_| vec!["text"].into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn input(input: &Value) -> ApiResult<ModerationInput> {
        serde_json::from_value::<ModerationRequest>(json!({ "input": input })).unwrap().input()
    }

    #[test]
    fn texts_stand_alone_and_parts_belong_together() {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(input(&json!("a")).unwrap(), ModerationInput::Texts(own(&["a"])));
        assert_eq!(input(&json!(["a", "b"])).unwrap(), ModerationInput::Texts(own(&["a", "b"])));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(input(&parts).unwrap(), ModerationInput::Parts(own(&["a", "b"])));
        for (wrong, param) in [
            (json!(5), "input"),
            (json!([]), "input"),
            (json!(["a", 5]), "input[1]"),
            (json!([{"type": "image_url", "image_url": {"url": "x"}}]), "input[0]"),
            (json!([{"type": "text", "text": "a"}, "b"]), "input[1]"),
        ] {
            assert_eq!(input(&wrong).unwrap_err().body().error.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn the_worst_part_decides() {
        let judged = |scores: [f32; 2]| Moderation {
            flagged: scores.iter().any(|score| *score >= 0.5),
            scores: vec![("hate", scores[0]), ("violence", scores[1])],
        };
        let both = [judged([0.9, 0.1]), judged([0.2, 0.3])];
        let one =
            serde_json::to_value(ModerationReply::new("m".to_owned(), &ModerationInput::Parts(Vec::new()), &both));
        let result = &one.unwrap()["results"][0];
        assert_eq!((&result["flagged"], &result["categories"]["hate"]), (&json!(true), &json!(true)));
        assert!((result["category_scores"]["violence"].as_f64().unwrap() - 0.3).abs() < 1e-6);
        for map in ["categories", "category_scores", "category_applied_input_types"] {
            assert_eq!(result[map].as_object().unwrap().len(), 13);
        }
        let each = ModerationReply::new("m".to_owned(), &ModerationInput::Texts(Vec::new()), &both);
        assert_eq!(serde_json::to_value(each).unwrap()["results"].as_array().unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(body in "\\PC{0,100}") {
            if let Ok(value) = serde_json::from_str::<Value>(&body) {
                let _ = input(&value);
            }
        }
    }
}
