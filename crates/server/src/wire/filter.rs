//! Conditions on documents in requests of ours.

use anser_engine::Filter;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

/// A filter as OpenAI's JSON, or as a text such as `score >= 4 and lang = "en"`.
#[derive(Debug)]
pub(crate) struct AnyFilter(pub(crate) Filter);

impl<'de> Deserialize<'de> for AnyFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let filter = match Value::deserialize(deserializer)? {
            Value::String(expression) => expression.parse(),
            json => Filter::from_json(&json),
        };
        filter.map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_notations_mean_the_same() {
        let read = |value: Value| serde_json::from_value::<AnyFilter>(value).map(|filter| filter.0);
        let json = json!({"type": "gte", "key": "score", "value": 4});
        assert_eq!(read(json).unwrap(), read(json!("score >= 4")).unwrap());
        assert!(read(json!("score >=")).is_err() && read(json!(3)).is_err() && read(json!({"type": "eq"})).is_err());
    }
}
