//! Which types of values a comparison can be compared with, and what to say where documents have others.

use std::fmt;

use anser_core::{AttributeKind, AttributeValue, DocumentId, excerpt};
use serde::{Deserialize, Serialize};

use super::{Filter, FilterPlace};
use crate::IndexError;

/// Characters of a condition or a name in a message.
const SHOWN: usize = 60;

/// The types that comparisons tell apart: whole and other numbers are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparedType {
    /// A whole or another number.
    Number,
    /// True or false.
    Bool,
    /// An instant.
    Time,
    /// A text.
    Text,
    /// A list of texts. It is compared as a whole, or with one text that may be in it.
    TextList,
}

impl ComparedType {
    /// The type of values of this kind.
    pub(crate) fn of(kind: AttributeKind) -> Self {
        match kind {
            AttributeKind::Integer | AttributeKind::Float => Self::Number,
            AttributeKind::Bool => Self::Bool,
            AttributeKind::Time => Self::Time,
            AttributeKind::String => Self::Text,
            AttributeKind::StringList => Self::TextList,
        }
    }
}

/// Completes "it is ...".
impl fmt::Display for ComparedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Time => "a time",
            Self::Text => "a text",
            Self::TextList => "a list of texts",
        })
    }
}

/// An attribute that has, in some documents, a type that a comparison of the filter cannot be compared with. There the
/// comparison is as if there were no attribute: only `ne` and `nin` hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MismatchedKey {
    /// Its name.
    pub key: String,
    /// What the filter compares it with.
    pub wanted: Vec<ComparedType>,
    /// What it is in the documents concerned.
    pub found: Vec<ComparedType>,
    /// How many these are.
    pub documents: usize,
    /// One of them.
    pub example: DocumentId,
}

/// A remark for people.
impl fmt::Display for MismatchedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, example) = (excerpt(&self.key, SHOWN), excerpt(self.example.as_str(), SHOWN));
        let documents = if self.documents == 1 { "document" } else { "documents" };
        write!(
            f,
            "\"{key}\" is compared with {}, but is {} in {} {documents}, such as \"{example}\"",
            alternatives(&self.wanted),
            alternatives(&self.found),
            self.documents
        )
    }
}

/// "a number or a text".
fn alternatives(types: &[ComparedType]) -> String {
    let names: Vec<String> = types.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

/// A comparison by what it can be compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared<'a> {
    condition: &'a Filter,
    pub(crate) key: &'a str,
    values: &'a [AttributeValue],
    /// Whether order is asked for, which lists do not have.
    ordered: bool,
}

impl Filter {
    /// The comparisons in it that have a value to compare with.
    pub(crate) fn compared(&self) -> Vec<Compared<'_>> {
        let mut found = Vec::new();
        self.visit(&mut |condition, _| {
            let (key, values, ordered) = match condition {
                Self::Eq { key, value } | Self::Ne { key, value } => (key, std::slice::from_ref(value), false),
                Self::Gt { key, value }
                | Self::Gte { key, value }
                | Self::Lt { key, value }
                | Self::Lte { key, value } => (key, std::slice::from_ref(value), true),
                Self::In { key, value } | Self::Nin { key, value } => (key, value.as_slice(), false),
                Self::And { .. } | Self::Or { .. } | Self::Not { .. } => return,
            };
            if !values.is_empty() {
                found.push(Compared { condition, key, values, ordered });
            }
        });
        found
    }
}

impl Compared<'_> {
    /// The types of its values.
    pub(crate) fn wanted(&self) -> Vec<ComparedType> {
        let mut types: Vec<ComparedType> = self.values.iter().map(|value| ComparedType::of(value.kind())).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    /// Whether values of this type can be compared with one of its own.
    pub(crate) fn accepts(&self, found: ComparedType) -> bool {
        self.values.iter().any(|value| match (ComparedType::of(value.kind()), found) {
            (ComparedType::Text | ComparedType::TextList, ComparedType::TextList) => !self.ordered,
            (wanted, found) => wanted == found,
        })
    }

    /// That no document has a value it could be compared with.
    pub(crate) fn refused(&self, mismatch: &MismatchedKey) -> IndexError {
        let MismatchedKey { key, wanted, found, documents, example } = mismatch;
        let (key, example) = (excerpt(key, SHOWN), excerpt(example.as_str(), SHOWN));
        let among = match documents {
            1 => format!("in the only document that has it, \"{example}\""),
            count => format!("in all {count} documents that have it, such as \"{example}\""),
        };
        let reason = format!(
            "`{}` compares with {}, but \"{key}\" is {} {among}; {}",
            excerpt(&self.condition.to_string(), SHOWN),
            alternatives(wanted),
            alternatives(found),
            self.advice(&key, found.first().copied().unwrap_or(ComparedType::Text))
        );
        IndexError::filter(FilterPlace::Whole, reason)
    }

    /// What to write instead, given what the attribute is.
    fn advice(&self, key: &str, found: ComparedType) -> String {
        let shown = |value: &AttributeValue| excerpt(&value.display(), SHOWN);
        match (self.values.first(), found) {
            (Some(AttributeValue::String(text)), ComparedType::Number) if text.trim().parse::<f64>().is_ok() => {
                format!("write the number {} without quotes", excerpt(text.trim(), SHOWN))
            }
            (_, ComparedType::Number) => "compare with a number".into(),
            (Some(AttributeValue::String(text)), ComparedType::Bool)
                if ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) =>
            {
                format!("write {} without quotes", text.to_lowercase())
            }
            (_, ComparedType::Bool) => "compare with true or false".into(),
            (_, ComparedType::Time) => "compare with a date or time, such as 2024-05-31T12:00:00Z".into(),
            (Some(AttributeValue::Time(time)), ComparedType::Text) => {
                let shape = if time.time() == time::Time::MIDNIGHT {
                    time.date().to_string()
                } else {
                    shown(&AttributeValue::Time(*time))
                };
                format!(
                    "compare with a text in quotes, such as \"{shape}\", if that is how the dates there are written"
                )
            }
            (Some(value @ (AttributeValue::Integer(_) | AttributeValue::Float(_) | AttributeValue::Bool(_))), _)
                if !self.ordered || found == ComparedType::Text =>
            {
                format!("put the value in quotes to compare it as a text: \"{}\"", shown(value))
            }
            (Some(AttributeValue::StringList(_)), ComparedType::Text) => {
                format!("use `{key} in [...]` for any of several texts")
            }
            (_, ComparedType::TextList) => "a list has no order: use = or in, which look for a text in the list".into(),
            (_, ComparedType::Text) => "compare with a text in quotes".into(),
        }
    }
}
