//! Attributes seen as the columns of a table: which of them have one type in all documents.

use std::collections::BTreeMap;

use anser_core::{AttributeValue, Attributes};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Bool,
    Integer,
    /// Numbers of which at least one is no integer.
    Float,
    Time,
    String,
}

impl ColumnKind {
    /// The type of one value; lists have none.
    fn of(value: &AttributeValue) -> Option<Self> {
        match value {
            AttributeValue::Bool(_) => Some(Self::Bool),
            AttributeValue::Integer(_) => Some(Self::Integer),
            AttributeValue::Float(_) => Some(Self::Float),
            AttributeValue::Time(_) => Some(Self::Time),
            AttributeValue::String(_) => Some(Self::String),
            AttributeValue::StringList(_) => None,
        }
    }

    /// The type that holds values of both.
    fn join(self, other: Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Some(Self::Float),
            _ => None,
        }
    }
}

/// The attributes that have one type in every document that has them, by name. Missing values do not count against it.
pub(super) fn uniform_columns<'a>(documents: impl Iterator<Item = &'a Attributes>) -> BTreeMap<String, ColumnKind> {
    let mut kinds: BTreeMap<&str, Option<ColumnKind>> = BTreeMap::new();
    for (name, value) in documents.flatten() {
        let kind = ColumnKind::of(value);
        kinds.entry(name).and_modify(|known| *known = known.zip(kind).and_then(|(a, b)| a.join(b))).or_insert(kind);
    }
    kinds.into_iter().filter_map(|(name, kind)| Some((name.to_owned(), kind?))).collect()
}

/// The value as a number, if it is one.
pub(super) fn number(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::Integer(v) => Some(*v as f64),
        AttributeValue::Float(v) => Some(*v),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attributes_of_one_type_are_columns() {
        let documents: Vec<Attributes> = [
            r#"{"score": 4, "price": 2, "lang": "en", "mixed": 1, "tags": ["a"]}"#,
            r#"{"score": 5, "price": 2.5, "mixed": "one", "seen": true, "date": "2024-05-01T00:00:00Z"}"#,
        ]
        .map(|json| serde_json::from_str(json).unwrap())
        .into();
        let columns: Vec<(String, ColumnKind)> = uniform_columns(documents.iter()).into_iter().collect();
        let expected = [
            ("date", ColumnKind::Time),
            ("lang", ColumnKind::String),
            ("price", ColumnKind::Float),
            ("score", ColumnKind::Integer),
            ("seen", ColumnKind::Bool),
        ];
        assert_eq!(columns, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
