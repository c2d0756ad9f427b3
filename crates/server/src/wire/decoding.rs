//! Decoding parameters that several of OpenAI's requests share, and rules for those that are refused.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};

/// Most stop texts.
const MAX_STOPS: usize = 4;

/// What a streamed reply holds beside the text.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl StreamOptions {
    /// Whether the last frame counts tokens.
    pub(crate) fn includes_usage(&self) -> bool {
        self.include_usage.unwrap_or(false)
    }
}

/// Where generation ends: one text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "stop must be a string or a list of at most 4 strings")]
pub(crate) enum Stop {
    One(String),
    Several(Vec<String>),
}

/// The stop texts, none of them empty.
pub(crate) fn stops(stop: Option<&Stop>) -> ApiResult<Vec<String>> {
    let stops = match stop {
        None => return Ok(Vec::new()),
        Some(Stop::One(stop)) => vec![stop.clone()],
        Some(Stop::Several(stops)) => stops.clone(),
    };
    if stops.len() > MAX_STOPS {
        let message = format!("stop holds {} texts; at most {MAX_STOPS} are allowed", stops.len());
        return Err(ApiError::invalid("stop", message));
    }
    if stops.iter().any(String::is_empty) {
        return Err(ApiError::invalid("stop", "stop holds an empty string, which would end every reply at once"));
    }
    Ok(stops)
}

/// A temperature in range.
pub(crate) fn temperature(given: Option<f32>, default: f32) -> ApiResult<f32> {
    let temperature = given.unwrap_or(default);
    if (0.0..=2.0).contains(&temperature) {
        return Ok(temperature);
    }
    Err(ApiError::invalid("temperature", format!("temperature is {temperature}, but must lie between 0 and 2")))
}

/// A share of probability in range.
pub(crate) fn top_p(given: Option<f32>, default: f32) -> ApiResult<f32> {
    let top_p = given.unwrap_or(default);
    if (0.0..=1.0).contains(&top_p) {
        // A share of 0 keeps the likeliest token alone; generators want a share above 0.
        return Ok(top_p.max(f32::EPSILON));
    }
    Err(ApiError::invalid("top_p", format!("top_p is {top_p}, but must lie between 0 and 1")))
}

/// A parameter, the values of it that ask for nothing, and why others are refused.
pub(crate) type Rule = (&'static str, fn(&Value) -> bool, &'static str);

/// Refuses, by name, the parameters that would change the reply if this service implemented them.
pub(crate) fn refuse_unsupported(given: &Map<String, Value>, rules: &[Rule]) -> ApiResult<()> {
    for (name, value) in given {
        if let Some((_, harmless, why)) = rules.iter().find(|(rule, ..)| rule == name)
            && !value.is_null()
            && !harmless(value)
        {
            return Err(ApiError::unsupported(name, format!("{name} is not supported here: {why}")));
        }
    }
    Ok(())
}

/// Whether a list or an object holds nothing.
pub(crate) fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// Whether a number is 0.
pub(crate) fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}
