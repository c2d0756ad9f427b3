//! Lists, in the shape of OpenAI's pages, and the query parameters that ask for one.

use serde::Serialize;

use crate::error::{ApiError, ApiResult};

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

/// Something that a page can go on after.
pub(crate) trait Identified {
    /// Its id.
    fn id(&self) -> &str;
}

/// One page that tells the ids of its first and last thing; the next one is asked for with `after`.
#[derive(Debug, Serialize)]
pub(crate) struct CursorList<T> {
    object: &'static str,
    data: Vec<T>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

impl<T: Identified> CursorList<T> {
    pub(crate) fn new(data: Vec<T>, has_more: bool) -> Self {
        let id = |one: Option<&T>| one.map(|one| one.id().to_owned());
        Self { object: "list", first_id: id(data.first()), last_id: id(data.last()), data, has_more }
    }
}

/// The pairs of a query. Unknown ones are tolerated, as OpenAI's clients may send more than is listed here.
pub(crate) type QueryPairs = Vec<(String, String)>;

/// The last value given for `name`; an empty one counts as none.
pub(crate) fn parameter<'a>(pairs: &'a QueryPairs, name: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// How many things a page may hold: unless said otherwise, and at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    pub(crate) default: usize,
    pub(crate) most: usize,
}

/// Reads `after`, `limit` and `order`; without an order, the newest come first.
pub(crate) fn page_request(pairs: &QueryPairs, size: PageSize) -> ApiResult<anser_engine::PageRequest> {
    let most = size.most;
    let limit = match parameter(pairs, "limit") {
        None => size.default,
        Some(text) => text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
            let text = crate::error::excerpt(text);
            ApiError::invalid("limit", format!("limit is \"{text}\"; give a whole number between 1 and {most}"))
        })?,
    };
    let ascending = match parameter(pairs, "order") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            let other = crate::error::excerpt(other);
            return Err(ApiError::invalid("order", format!("order is \"{other}\"; use asc or desc")));
        }
    };
    Ok(anser_engine::PageRequest { after: parameter(pairs, "after").map(str::to_owned), limit, ascending })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> QueryPairs {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const SIZE: PageSize = PageSize { default: 20, most: 100 };

    #[test]
    fn a_page_is_asked_for_by_cursor_limit_and_order() {
        let page = page_request(&pairs(&[("after", "x"), ("limit", "7"), ("order", "asc"), ("new", "1")]), SIZE);
        let page = page.unwrap();
        assert_eq!((page.after.as_deref(), page.limit, page.ascending), (Some("x"), 7, true));
        let page = page_request(&pairs(&[("after", "")]), SIZE).unwrap();
        assert_eq!((page.after, page.limit, page.ascending), (None, 20, false));
    }

    #[test]
    fn limits_and_orders_that_cannot_be_are_named() {
        for (name, value) in [("limit", "0"), ("limit", "101"), ("limit", "ten"), ("limit", "-1"), ("order", "up")] {
            let error = page_request(&pairs(&[(name, value)]), SIZE).unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some(name));
            assert!(error.message.contains(value), "{}", error.message);
        }
    }
}
