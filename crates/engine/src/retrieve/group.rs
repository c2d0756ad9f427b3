//! One hit for each value of an attribute.

use std::collections::HashMap;

use anser_core::{AttributeValue, ScoredChunk};
use serde::{Deserialize, Serialize};

use super::cursor::hash;

/// The hits of one value of an attribute, of which the best is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HitGroup {
    /// The value; `None` for a document without the attribute, which is a group of its own.
    pub value: Option<AttributeValue>,
    /// How many further hits of this value there are among the hits that were looked at: the first 200 of the ranking, or
    /// more where pages lie deeper.
    pub more: usize,
}

/// What tells a hit from others on all pages: its chunk, or its group.
pub(super) fn key(hit: &ScoredChunk, group_by: Option<&str>) -> u64 {
    let Some(attribute) = group_by else { return hit.chunk.id.0 };
    match hit.attributes.get(attribute) {
        Some(value) => hash(format!("value {}", canonical(value)).as_bytes()),
        None => hash(format!("document {}", hit.chunk.document_id).as_bytes()),
    }
}

/// The groups by their keys.
pub(super) fn count(hits: &[ScoredChunk], attribute: &str) -> HashMap<u64, HitGroup> {
    let mut groups: HashMap<u64, HitGroup> = HashMap::new();
    for hit in hits {
        groups
            .entry(key(hit, Some(attribute)))
            .and_modify(|group| group.more += 1)
            .or_insert_with(|| HitGroup { value: hit.attributes.get(attribute).cloned(), more: 0 });
    }
    groups
}

/// Equal for values that are equal: whole and other numbers are compared by value, times as instants.
fn canonical(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Bool(value) => format!("bool {value}"),
        AttributeValue::Integer(value) => format!("number {value}"),
        // Adding 0 makes 0 of -0. A number without a fraction is written as a whole number.
        AttributeValue::Float(value) => format!("number {}", value + 0.0),
        AttributeValue::Time(value) => format!("time {}", value.unix_timestamp_nanos()),
        AttributeValue::String(value) => format!("text {value}"),
        AttributeValue::StringList(values) => format!("list {values:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    fn with(id: u64, document: &str, value: Option<AttributeValue>) -> ScoredChunk {
        let attributes = value.map(|value| ("a".to_owned(), value)).into_iter().collect();
        ScoredChunk { attributes, ..hit(id, document, "text", 0.5) }
    }

    #[test]
    fn equal_values_are_one_group_and_documents_without_one_are_each_their_own() {
        let text = |text: &str| Some(AttributeValue::String(text.into()));
        let list = |texts: &[&str]| Some(AttributeValue::StringList(texts.iter().map(|t| (*t).to_owned()).collect()));
        let hits = [
            with(1, "a", Some(AttributeValue::Integer(5))),
            with(2, "b", Some(AttributeValue::Float(5.0))),
            with(3, "c", text("5")),
            with(4, "d", None),
            with(5, "d", None),
            with(6, "e", None),
            with(7, "f", list(&["x", "y"])),
            with(8, "g", list(&["x, y"])),
            with(9, "h", Some(AttributeValue::Float(-0.0))),
            with(10, "i", Some(AttributeValue::Integer(0))),
        ];
        let groups = count(&hits, "a");
        let more: Vec<usize> = hits.iter().map(|hit| groups[&key(hit, Some("a"))].more).collect();
        assert_eq!(more, [1, 1, 0, 1, 1, 0, 0, 0, 1, 1]);
        assert_eq!(key(&hits[0], None), 1);
    }
}
