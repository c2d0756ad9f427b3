//! Pages of lists, walked with the id of the last item seen.

use crate::EngineError;

/// Most items on one page.
const MAX_LIMIT: usize = 10_000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Id of the item behind which the page begins; `None` begins at the start.
    pub after: Option<String>,
    /// Most items, 1 to 10,000.
    pub limit: usize,
    /// Oldest first instead of newest first.
    pub ascending: bool,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { after: None, limit: 20, ascending: false }
    }
}

impl PageRequest {
    /// The newest items, as many as a page can hold.
    pub fn all() -> Self {
        Self { limit: MAX_LIMIT, ..Self::default() }
    }

    /// The limit, once it is in range.
    pub(crate) fn checked_limit(&self) -> Result<usize, EngineError> {
        if (1..=MAX_LIMIT).contains(&self.limit) {
            return Ok(self.limit);
        }
        let message = format!("limit is {}, but must lie between 1 and {MAX_LIMIT}", self.limit);
        Err(EngineError::invalid("limit", message))
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in the order asked for.
    pub items: Vec<T>,
    /// Whether more come behind the last one.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page made of one item more than was asked for, if there are so many.
    pub(crate) fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }

    /// The same page of other items.
    pub(crate) fn try_map<U, E>(self, map: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page { items: self.items.into_iter().map(map).collect::<Result<_, E>>()?, has_more: self.has_more })
    }
}
