//! Lists, in the shape of OpenAI's pages.

use serde::Serialize;

/// One page of things.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    /// Always `list`.
    pub(crate) object: &'static str,
    /// The things, in order.
    pub(crate) data: Vec<T>,
    /// Whether more come after the last one.
    pub(crate) has_more: bool,
}

impl<T> List<T> {
    /// A page that `has_more` says is followed by others.
    pub(crate) fn page(data: Vec<T>, has_more: bool) -> Self {
        Self { object: "list", data, has_more }
    }

    /// Everything at once.
    pub(crate) fn all(data: Vec<T>) -> Self {
        Self::page(data, false)
    }
}
