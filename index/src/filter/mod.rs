//! Conditions on a document's attributes: comparisons joined by `and` and `or`, and `not`. One tree is read from two
//! notations, OpenAI's filter JSON, to which `not` is an extension, and an expression for the command line:
//! `score >= 4 and (lang = "en" or not tags in ["a", "b"])`.
//!
//! An attribute that a document does not have satisfies `ne` and `nin` and no other comparison. A list of texts satisfies
//! `eq` and `in` when one of its texts does, and has no order. Values of types that cannot be compared are not equal and
//! have no order. Whole and other numbers compare by value, texts by their code points, times as instants. Text in
//! RFC 3339 is a time, in filters as in documents.
//!
//! A collection refuses a comparison with a type that the attribute has in no document that has it, because that is not what
//! was meant, and says in how many documents the type is another ([`MismatchedKey`]).

mod display;
mod expression;
mod json;
mod lexer;
mod place;
#[cfg(test)]
mod tests;
mod types;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use anser_core::{AttributeValue, Attributes};
use serde::Serialize;

use crate::{IndexError, Result};
pub use place::FilterPlace;
pub(crate) use types::Compared;
pub use types::{ComparedType, MismatchedKey};

/// How deep conditions may lie in each other.
const MAX_DEPTH: usize = 32;
/// Most conditions of one filter, those that join others included.
const MAX_CONDITIONS: usize = 1000;
/// Most values in all lists of one filter together.
const MAX_VALUES: usize = 10_000;

/// A condition on attributes. Its JSON is OpenAI's: `{"type": "gte", "key": "score", "value": 4}`, joined by
/// `{"type": "and", "filters": [...]}`; [`FromStr`](std::str::FromStr) reads the expression, or the JSON where the text
/// begins with a brace, and [`Display`](std::fmt::Display) writes the expression.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Filter {
    /// The attribute has this value.
    Eq {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute has another value or none.
    Ne {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute is above this value.
    Gt {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute is this value or above it.
    Gte {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute is below this value.
    Lt {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute is this value or below it.
    Lte {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: AttributeValue,
    },
    /// The attribute has one of these values.
    In {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: Vec<AttributeValue>,
    },
    /// The attribute has none of these values.
    Nin {
        /// The attribute.
        key: String,
        /// What it is compared with.
        value: Vec<AttributeValue>,
    },
    /// All of these hold.
    And {
        /// The conditions.
        filters: Vec<Filter>,
    },
    /// One of these holds.
    Or {
        /// The conditions.
        filters: Vec<Filter>,
    },
    /// This does not hold.
    Not {
        /// The condition.
        filter: Box<Filter>,
    },
}

impl Filter {
    /// Whether a document with these attributes passes.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        let ordered = |key: &String, value: &AttributeValue, wanted: fn(Ordering) -> bool| {
            attributes.get(key).and_then(|found| compare(found, value)).is_some_and(wanted)
        };
        let equals =
            |key: &String, value: &AttributeValue| attributes.get(key).is_some_and(|found| equal(found, value));
        match self {
            Self::Eq { key, value } => equals(key, value),
            Self::Ne { key, value } => !equals(key, value),
            Self::Gt { key, value } => ordered(key, value, Ordering::is_gt),
            Self::Gte { key, value } => ordered(key, value, Ordering::is_ge),
            Self::Lt { key, value } => ordered(key, value, Ordering::is_lt),
            Self::Lte { key, value } => ordered(key, value, Ordering::is_le),
            Self::In { key, value } => value.iter().any(|value| equals(key, value)),
            Self::Nin { key, value } => !value.iter().any(|value| equals(key, value)),
            Self::And { filters } => filters.iter().all(|filter| filter.matches(attributes)),
            Self::Or { filters } => filters.iter().any(|filter| filter.matches(attributes)),
            Self::Not { filter } => !filter.matches(attributes),
        }
    }

    /// The attributes that it looks at.
    pub fn keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        self.visit(&mut |condition, _| keys.extend(condition.key()));
        keys
    }

    /// The attribute that a comparison looks at.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Eq { key, .. }
            | Self::Ne { key, .. }
            | Self::Gt { key, .. }
            | Self::Gte { key, .. }
            | Self::Lt { key, .. }
            | Self::Lte { key, .. }
            | Self::In { key, .. }
            | Self::Nin { key, .. } => Some(key),
            Self::And { .. } | Self::Or { .. } | Self::Not { .. } => None,
        }
    }

    /// Shows `each` every condition in it, itself first, with how deep it lies, from 1.
    fn visit<'a>(&'a self, each: &mut dyn FnMut(&'a Self, usize)) {
        let mut open = vec![(self, 1)];
        while let Some((condition, depth)) = open.pop() {
            each(condition, depth);
            match condition {
                Self::And { filters } | Self::Or { filters } => open.extend(filters.iter().map(|f| (f, depth + 1))),
                Self::Not { filter } => open.push((filter, depth + 1)),
                _ => {}
            }
        }
    }

    /// `InvalidInput` for more conditions, values or depth than any filter needs.
    fn check_size(&self) -> Result<()> {
        let (mut conditions, mut deepest, mut values) = (0, 0, 0);
        self.visit(&mut |condition, depth| {
            conditions += 1;
            deepest = deepest.max(depth);
            if let Self::In { value, .. } | Self::Nin { value, .. } = condition {
                values += value.len();
            }
        });
        if deepest > MAX_DEPTH {
            return Err(too_deep(FilterPlace::Whole));
        }
        for (what, count, most) in [("conditions", conditions, MAX_CONDITIONS), ("values", values, MAX_VALUES)] {
            if count > most {
                let reason = format!("it has {count} {what}, but at most {most} are allowed; split the query");
                return Err(IndexError::filter(FilterPlace::Whole, reason));
            }
        }
        Ok(())
    }
}

fn too_deep(place: FilterPlace) -> IndexError {
    let reason = format!("its conditions lie more than {MAX_DEPTH} deep in each other; make it flatter");
    IndexError::filter(place, reason)
}

fn equal(found: &AttributeValue, value: &AttributeValue) -> bool {
    match (found, value) {
        (AttributeValue::StringList(found), AttributeValue::String(value)) => found.contains(value),
        (AttributeValue::StringList(found), AttributeValue::StringList(value)) => found == value,
        _ => compare(found, value) == Some(Ordering::Equal),
    }
}

/// How two values of comparable types are ordered. Integers and floats compare by value.
fn compare(found: &AttributeValue, value: &AttributeValue) -> Option<Ordering> {
    use AttributeValue::{Bool, Float, Integer, String, Time};
    match (found, value) {
        (Bool(found), Bool(value)) => Some(found.cmp(value)),
        (Integer(found), Integer(value)) => Some(found.cmp(value)),
        (Integer(found), Float(value)) => compare_numbers(*found, *value),
        (Float(found), Integer(value)) => compare_numbers(*value, *found).map(Ordering::reverse),
        (Float(found), Float(value)) => found.partial_cmp(value),
        (String(found), String(value)) => Some(found.cmp(value)),
        (Time(found), Time(value)) => Some(found.cmp(value)),
        _ => None,
    }
}

/// How a whole number and another lie on the line of numbers, without rounding either; `None` for NaN.
fn compare_numbers(whole: i64, other: f64) -> Option<Ordering> {
    /// 2^63, the first number above every `i64`.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if other >= ABOVE {
        return Some(Ordering::Less);
    }
    if other < -ABOVE {
        return Some(Ordering::Greater);
    }
    // Within these bounds the whole part of a float is an i64 exactly.
    let ordering = whole.cmp(&(other.trunc() as i64));
    other.fract().partial_cmp(&0.0).map(|fraction| ordering.then(fraction.reverse()))
}
