//! Where in a filter something is wrong.

use std::fmt;

/// The place of a fault in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterPlace {
    /// The filter as a whole.
    Whole,
    /// A place in the JSON, such as `filters[1].value`.
    Path(String),
    /// A character of the expression, counted from 1.
    Column(usize),
}

impl FilterPlace {
    /// The place `path` in the JSON; an empty path is the whole.
    pub(super) fn path(path: &str) -> Self {
        if path.is_empty() { Self::Whole } else { Self::Path(path.to_owned()) }
    }
}

/// Begins the sentence that says what is wrong.
impl fmt::Display for FilterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Path(path) => write!(f, "{path}: "),
            Self::Column(column) => write!(f, "column {column}: "),
        }
    }
}
