//! Typed attributes of a document: what a row holds besides its id, title and text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Attributes by name, in name order.
pub type Attributes = BTreeMap<String, AttributeValue>;

/// One attribute value. Serialised as the plain JSON value; a time is an RFC 3339 string.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// An instant. Tried before `String`, so RFC 3339 text reads as a time.
    #[serde(with = "time::serde::rfc3339")]
    Time(OffsetDateTime),
    /// Text.
    String(String),
    /// Several texts (tags, categories).
    StringList(Vec<String>),
}

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// [`AttributeValue::Bool`].
    Bool,
    /// [`AttributeValue::Integer`].
    Integer,
    /// [`AttributeValue::Float`].
    Float,
    /// [`AttributeValue::Time`].
    Time,
    /// [`AttributeValue::String`].
    String,
    /// [`AttributeValue::StringList`].
    StringList,
}

impl AttributeValue {
    /// The type of this value.
    pub fn kind(&self) -> AttributeKind {
        match self {
            Self::Bool(_) => AttributeKind::Bool,
            Self::Integer(_) => AttributeKind::Integer,
            Self::Float(_) => AttributeKind::Float,
            Self::Time(_) => AttributeKind::Time,
            Self::String(_) => AttributeKind::String,
            Self::StringList(_) => AttributeKind::StringList,
        }
    }

    /// The value as a person would write it.
    pub fn display(&self) -> String {
        match self {
            Self::Bool(v) => v.to_string(),
            Self::Integer(v) => v.to_string(),
            Self::Float(v) => v.to_string(),
            Self::Time(v) => v.format(&Rfc3339).unwrap_or_else(|_| v.to_string()),
            Self::String(v) => v.clone(),
            Self::StringList(v) => v.join(", "),
        }
    }
}
