//! Conditions on a document's attributes, in OpenAI's filter JSON: comparisons joined by `and` and `or`, and `not` as an
//! extension.
//!
//! An attribute that a document does not have satisfies `ne` and `nin` and no other comparison. A list of texts satisfies
//! `eq` and `in` when one of its texts does. Values of types that cannot be compared are not equal and have no order.

use std::cmp::Ordering;

use anser_core::{AttributeValue, Attributes};
use serde::{Deserialize, Serialize};

use crate::IndexError;

/// A condition on attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
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
}

impl std::str::FromStr for Filter {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        serde_json::from_str(text)
            .map_err(|e| IndexError::invalid_param(format!("the condition cannot be read: {e}"), "where"))
    }
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
        (Integer(found), Float(value)) => (*found as f64).partial_cmp(value),
        (Float(found), Integer(value)) => found.partial_cmp(&(*value as f64)),
        (Float(found), Float(value)) => found.partial_cmp(value),
        (String(found), String(value)) => Some(found.cmp(value)),
        (Time(found), Time(value)) => Some(found.cmp(value)),
        _ => None,
    }
}
