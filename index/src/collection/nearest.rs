//! Nearest vectors by id, for callers who have the texts themselves.

use anser_core::{ChunkId, Embedding};

use super::Collection;
use crate::{IndexError, Result, SearchParams};

impl Collection {
    /// Ids and cosines of the `k` chunks nearest to `vector`, best first: a search by vector that reads no text. Mode, fusion
    /// and highlights of `params` do not matter here.
    ///
    /// # Errors
    /// `InvalidInput` when the vector has another dimension than the collection, or `k` is 0.
    pub fn nearest(&self, vector: &Embedding, params: &SearchParams) -> Result<Vec<(ChunkId, f32)>> {
        let database = self.database()?;
        if params.k == 0 {
            return Err(IndexError::invalid_param("a search for 0 hits finds nothing; ask for at least 1", "k"));
        }
        self.on_snapshot(|connection, snapshot| {
            let filter = params.filter.as_ref();
            let allowed = filter.map(|filter| self.allowed.get(filter, database, connection)).transpose()?;
            let query = self.upkeep.vectors.query(params.k, params.exact, params.ef_search);
            Ok(snapshot.search(vector, &query, allowed.as_deref())?.hits)
        })
    }
}
