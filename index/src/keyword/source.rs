//! What the keyword index reads of the database.

use anser_core::ChunkId;
use rusqlite::Connection;

use crate::Result;
use crate::database::Database;

/// Is shown a chunk with its document's title and its text; an error ends the reading.
type EachText<'a> = dyn FnMut(ChunkId, Option<&str>, &str) -> Result<()> + 'a;

impl Database {
    /// Shows `each` every chunk with an id above `after`, in order of id, with its document's title and its text.
    pub(super) fn each_chunk_text(&self, connection: &Connection, after: u64, each: &mut EachText<'_>) -> Result<()> {
        let sql = "SELECT k.chunk_id, d.title, k.text FROM chunks k CROSS JOIN documents d ON d.key = k.document \
                   WHERE k.chunk_id > ?1 ORDER BY k.chunk_id";
        let failed = || self.failed("read the texts of");
        let mut select = connection.prepare_cached(sql).map_err(failed())?;
        let mut rows = select.query([after as i64]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let chunk = ChunkId(row.get::<_, i64>(0).map_err(failed())? as u64);
            let title = row.get_ref(1).and_then(|title| Ok(title.as_str_or_null()?)).map_err(failed())?;
            let text = row.get_ref(2).and_then(|text| Ok(text.as_str()?)).map_err(failed())?;
            each(chunk, title, text)?;
        }
        Ok(())
    }

    /// Shows `each` every chunk id up to `last`, ascending.
    pub(super) fn each_chunk_id(
        &self,
        connection: &Connection,
        last: u64,
        each: &mut dyn FnMut(ChunkId),
    ) -> Result<()> {
        let failed = || self.failed("read the chunks of");
        let sql = "SELECT chunk_id FROM chunks WHERE chunk_id <= ?1 ORDER BY chunk_id";
        let mut select = connection.prepare_cached(sql).map_err(failed())?;
        let mut rows = select.query([last as i64]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            each(ChunkId(row.get::<_, i64>(0).map_err(failed())? as u64));
        }
        Ok(())
    }
}
