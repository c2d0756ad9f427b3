//! Deleting documents by what their attributes say.

use anser_core::{CancelToken, Document, DocumentId};
use anser_index::Filter;

use crate::{Engine, EngineError};

/// Documents that are looked at, and deleted, together.
const BATCH: usize = 1000;

impl Engine {
    /// Deletes the documents that `filter` lets through and counts them. Each is looked at again in the transaction that
    /// deletes it. A thousand at a time go together: when the call is cancelled, what was deleted until then is gone.
    ///
    /// `InvalidInput` when the filter compares with a type that no document has, or looks at an attribute that none has: a
    /// slip in a condition such as `ne` would let everything through.
    pub fn delete_where(&self, collection: &str, filter: &Filter, cancel: &CancelToken) -> Result<usize, EngineError> {
        let collection = self.collection(collection)?;
        if let Some(unknown) = collection.explain_filter(filter)?.unknown_keys.first()
            && collection.info()?.documents > 0
        {
            return Err(EngineError::invalid("filter", format!("nothing was deleted: {unknown}")));
        }
        let passes = |document: &Document| filter.matches(&document.attributes);
        let (mut deleted, mut after) = (0, None::<DocumentId>);
        loop {
            cancel.check()?;
            let page = collection.documents(after.as_ref(), BATCH)?;
            let Some(last) = page.last() else { return Ok(deleted) };
            after = Some(last.id.clone());
            let ids: Vec<DocumentId> = page.into_iter().filter(passes).map(|document| document.id).collect();
            if !ids.is_empty() {
                deleted += collection.delete_chosen(&ids, &mut |found| {
                    found.values().filter(|document| passes(document)).map(|document| document.id.clone()).collect()
                })?;
            }
        }
    }
}
