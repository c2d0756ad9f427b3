//! The sequence of changes: what happened to chunks and documents, so that caches can catch up, and how far they have.

use anser_core::{ChunkId, Embedding};
use rusqlite::{Connection, OptionalExtension};

use super::{Database, GenerationState};
use crate::ann::from_blob;
use crate::{IndexError, Result};

/// Begins the key in `meta` of how far a cache has got.
const REACHED: &str = "reached:";
/// A cache that is so many changes behind is no longer waited for: making it anew costs no more than catching up.
const WAIT_FOR: i64 = 250_000;

/// The segments of vectors, as [`Database::cache_reached`] calls them.
pub(crate) const VECTORS_CACHE: &str = "vectors";

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeOp {
    /// A chunk came; the subject is its id.
    ChunkAdded,
    /// A chunk left; the subject is its id.
    ChunkRemoved,
    /// A document was stored, or its attributes changed; the subject is its key.
    DocumentStored,
    /// A document was removed; the subject is its key.
    DocumentRemoved,
}

impl ChangeOp {
    /// How it is stored.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::ChunkAdded => 0,
            Self::ChunkRemoved => 1,
            Self::DocumentStored => 2,
            Self::DocumentRemoved => 3,
        }
    }

    fn of(code: i64) -> Option<Self> {
        [Self::ChunkAdded, Self::ChunkRemoved, Self::DocumentStored, Self::DocumentRemoved]
            .into_iter()
            .find(|op| op.code() == code)
    }
}

/// One entry of the change sequence, of chunks that still matter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A chunk came; absent when it has left again since.
    Added(ChunkId, Embedding),
    /// A chunk left.
    Removed(ChunkId),
}

/// Appends to the sequence, in the transaction that `connection` is in.
pub(super) fn log(connection: &Connection, op: ChangeOp, subject: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO changes (op, subject) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute([op.code(), subject])?;
    Ok(())
}

impl Database {
    /// The number of the last change ever made.
    ///
    /// # Errors
    /// `Conflict` where vectors are being made and some chunk has none yet: then no number says how far they are.
    pub(crate) fn last_seq(&self, connection: &Connection) -> Result<i64> {
        if self.serves == GenerationState::Building && self.has_unembedded(connection)? {
            let (path, model) = (self.path.clone(), self.identity.embedder.model.clone());
            return Err(IndexError::Unembedded { path, model });
        }
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'changes'";
        let seq = connection.prepare_cached(sql).and_then(|mut s| s.query_row([], |row| row.get(0)).optional());
        Ok(seq.map_err(self.failed("read"))?.unwrap_or(0))
    }

    /// The number of the last change that is no longer in the change sequence.
    pub(crate) fn trimmed_seq(&self, connection: &Connection) -> Result<i64> {
        let sql = "SELECT value FROM meta WHERE key = 'trimmed_seq'";
        connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed("read"))
    }

    /// Calls `each` with every change after `seq` and what it is about, in order.
    pub(crate) fn each_change(
        &self,
        connection: &Connection,
        seq: i64,
        each: &mut dyn FnMut(ChangeOp, i64),
    ) -> Result<()> {
        let failed = || self.failed("read the changes of");
        let sql = "SELECT op, subject FROM changes WHERE seq > ?1 ORDER BY seq";
        let mut select = connection.prepare_cached(sql).map_err(failed())?;
        let mut rows = select.query([seq]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let code: i64 = row.get(0).map_err(failed())?;
            let op = ChangeOp::of(code).ok_or_else(|| {
                let place = format!("change sequence of {}", self.path.display());
                IndexError::corrupt(place, format!("there is no operation {code}"))
            })?;
            each(op, row.get(1).map_err(failed())?);
        }
        Ok(())
    }

    /// Calls `each` with every change of vectors after `seq`, in order.
    pub(crate) fn changes_after(&self, connection: &Connection, seq: i64, mut each: impl FnMut(Change)) -> Result<()> {
        let sql = format!(
            "SELECT c.op, c.subject, e.vector FROM changes c \
             LEFT JOIN {} e ON c.op = 0 AND e.chunk_id = c.subject WHERE c.seq > ?1 AND c.op < 2 ORDER BY c.seq",
            self.embeddings
        );
        let failed = || self.failed("read the changes of");
        let mut select = connection.prepare_cached(&sql).map_err(failed())?;
        let mut rows = select.query([seq]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let id = ChunkId(row.get::<_, i64>(1).map_err(failed())? as u64);
            if row.get::<_, i64>(0).map_err(failed())? != 0 {
                each(Change::Removed(id));
            } else if let Some(blob) = row.get_ref(2).and_then(|v| Ok(v.as_blob_or_null()?)).map_err(failed())? {
                each(Change::Added(id, from_blob(id, blob, self.identity.embedder.dimension)?));
            }
        }
        Ok(())
    }

    /// Notes that the cache on disk called `cache` reflects all changes up to `seq`, and drops those that every cache
    /// reflects. A cache that is opened from now on and is older must be made anew.
    pub(crate) fn cache_reached(&self, cache: &str, seq: i64) -> Result<()> {
        let key = self.reached_key(cache);
        let failed = || self.failed("trim");
        self.transact(|connection| {
            connection
                .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", (key, seq))
                .map_err(failed())?;
            trim(connection, seq).map_err(failed())
        })
    }

    /// Forgets a cache that is no longer kept, so that changes are not kept for it either.
    pub(crate) fn cache_dropped(&self, cache: &str) -> Result<()> {
        let key = self.reached_key(cache);
        self.transact(|connection| {
            connection.execute("DELETE FROM meta WHERE key = ?1", [key]).map_err(self.failed("trim"))?;
            Ok(())
        })
    }

    /// Vectors are cached for each generation.
    fn reached_key(&self, cache: &str) -> String {
        if cache == VECTORS_CACHE { vectors_reached(self.identity.generation) } else { format!("{REACHED}{cache}") }
    }
}

/// The key in `meta` of how far the vectors of a generation have got.
pub(super) fn vectors_reached(generation: i64) -> String {
    format!("{REACHED}{VECTORS_CACHE}:{generation}")
}

fn trim(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    // A semicolon is the letter after the colon that ends the prefix.
    let sql = "SELECT min(value) FROM meta WHERE key >= 'reached:' AND key < 'reached;' AND value >= ?1";
    let slowest: Option<i64> = connection.query_row(sql, [seq - WAIT_FOR], |row| row.get(0))?;
    let seq = slowest.map_or(seq, |slowest| slowest.min(seq));
    connection.execute("DELETE FROM changes WHERE seq <= ?1", [seq])?;
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'trimmed_seq' AND value < ?1", [seq])?;
    Ok(())
}
