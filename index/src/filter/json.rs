//! Reading OpenAI's filter JSON, with errors that name the place and say what belongs there.

use anser_core::{AttributeValue, excerpt};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Filter, FilterPlace, MAX_DEPTH, too_deep};
use crate::{IndexError, Result};

/// Every type of condition, as messages list them.
const TYPES: &str = "eq, ne, gt, gte, lt, lte, in, nin, and, or, not";

impl Filter {
    /// Reads OpenAI's filter JSON.
    ///
    /// # Errors
    /// [`IndexError::Filter`] with the path of what is wrong.
    pub fn from_json(json: &Value) -> Result<Self> {
        let filter = condition(json, "", 1)?;
        filter.check_size()?;
        Ok(filter)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        Self::from_json(&json).map_err(D::Error::custom)
    }
}

fn wrong(path: &str, reason: impl Into<String>) -> IndexError {
    IndexError::filter(FilterPlace::path(path), reason)
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn condition(json: &Value, path: &str, depth: usize) -> Result<Filter> {
    if depth > MAX_DEPTH {
        return Err(too_deep(FilterPlace::path(path)));
    }
    let Value::Object(object) = json else {
        let message =
            format!("a condition is an object like {{\"type\": \"eq\", \"key\": …, \"value\": …}}, not {}", kind(json));
        return Err(wrong(path, message));
    };
    let name = match object.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(other) => return Err(wrong(&below(path, "type"), format!("the type is {}; use {TYPES}", kind(other)))),
        None => return Err(wrong(path, format!("the condition has no \"type\"; use {TYPES}"))),
    };
    match name {
        "and" | "or" => {
            known(object, &["type", "filters"], path)?;
            let filters = joined(object, path, depth)?;
            Ok(if name == "and" { Filter::And { filters } } else { Filter::Or { filters } })
        }
        "not" => {
            known(object, &["type", "filter"], path)?;
            let filter = condition(member(object, "filter", path)?, &below(path, "filter"), depth + 1)?;
            Ok(Filter::Not { filter: Box::new(filter) })
        }
        _ => comparison(name, object, path),
    }
}

fn joined(object: &Map<String, Value>, path: &str, depth: usize) -> Result<Vec<Filter>> {
    let at = below(path, "filters");
    let Value::Array(filters) = member(object, "filters", path)? else {
        return Err(wrong(&at, "filters must be a list of conditions"));
    };
    if filters.is_empty() {
        return Err(wrong(&at, "the list is empty; give at least one condition or leave the filter out"));
    }
    filters.iter().enumerate().map(|(i, one)| condition(one, &format!("{at}[{i}]"), depth + 1)).collect()
}

fn comparison(name: &str, object: &Map<String, Value>, path: &str) -> Result<Filter> {
    if !["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"].contains(&name) {
        let message = format!("\"{}\" is no type of condition; use {TYPES}", excerpt(name, 40));
        return Err(wrong(&below(path, "type"), message));
    }
    known(object, &["type", "key", "value"], path)?;
    let Value::String(key) = member(object, "key", path)? else {
        return Err(wrong(&below(path, "key"), "the key must be the name of an attribute, as a string"));
    };
    let (key, found, at) = (key.clone(), member(object, "value", path)?, below(path, "value"));
    Ok(match name {
        "eq" => Filter::Eq { key, value: value_or_list(found, &at)? },
        "ne" => Filter::Ne { key, value: value_or_list(found, &at)? },
        "gt" => Filter::Gt { key, value: ordered(found, &at)? },
        "gte" => Filter::Gte { key, value: ordered(found, &at)? },
        "lt" => Filter::Lt { key, value: ordered(found, &at)? },
        "lte" => Filter::Lte { key, value: ordered(found, &at)? },
        "in" => Filter::In { key, value: values(found, &at)? },
        _ => Filter::Nin { key, value: values(found, &at)? },
    })
}

fn member<'a>(object: &'a Map<String, Value>, name: &str, path: &str) -> Result<&'a Value> {
    object.get(name).ok_or_else(|| wrong(path, format!("the condition has no \"{name}\"")))
}

fn known(object: &Map<String, Value>, names: &[&str], path: &str) -> Result<()> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(other) => {
            let message =
                format!("\"{}\" does not belong into this condition; it has {}", excerpt(other, 40), names.join(", "));
            Err(wrong(path, message))
        }
    }
}

/// What `eq` and `ne` compare with: a value, or a list of texts that is compared as a whole.
fn value_or_list(json: &Value, path: &str) -> Result<AttributeValue> {
    let Value::Array(texts) = json else { return value(json, path) };
    let text = |(at, one): (usize, &Value)| match one {
        Value::String(text) => Ok(text.clone()),
        other => {
            let message = format!(
                "a list to be compared as a whole holds strings, not {}; use in for any of several values",
                kind(other)
            );
            Err(wrong(&format!("{path}[{at}]"), message))
        }
    };
    Ok(AttributeValue::StringList(texts.iter().enumerate().map(text).collect::<Result<_>>()?))
}

fn ordered(json: &Value, path: &str) -> Result<AttributeValue> {
    if json.is_array() {
        return Err(wrong(path, "a list has no order; compare with a number, a string or a time"));
    }
    value(json, path)
}

fn values(json: &Value, path: &str) -> Result<Vec<AttributeValue>> {
    let Value::Array(list) = json else {
        return Err(wrong(path, format!("in and nin need a list of values, not {}", kind(json))));
    };
    list.iter().enumerate().map(|(at, one)| value(one, &format!("{path}[{at}]"))).collect()
}

fn value(json: &Value, path: &str) -> Result<AttributeValue> {
    Ok(match json {
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AttributeValue::Integer(whole),
            (None, Some(float)) => AttributeValue::Float(float),
            (None, None) => return Err(wrong(path, "the number is out of range")),
        },
        Value::String(text) => time_or_text(text.clone()),
        Value::Null => {
            let message = "null is no value; documents without the attribute pass ne and nin and nothing else";
            return Err(wrong(path, message));
        }
        Value::Array(_) | Value::Object(_) => {
            return Err(wrong(path, format!("a value is a string, a number, true or false, not {}", kind(json))));
        }
    })
}

/// Text in RFC 3339 is a time, as it is in documents.
pub(super) fn time_or_text(text: String) -> AttributeValue {
    OffsetDateTime::parse(&text, &Rfc3339).map_or_else(|_| AttributeValue::String(text), AttributeValue::Time)
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
