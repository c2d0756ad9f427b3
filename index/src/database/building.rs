//! Vectors that are made anew beside those that are searched, until they take their place in one transaction.
//!
//! Chunks are embedded in order of their ids, and ids rise, so every chunk up to the last one that has a vector has one.
//! That holds for vectors that were searched before and are completed, too.

use anser_core::{ChunkId, EmbedderInfo, Embedding};
use rusqlite::{Connection, params};
use time::OffsetDateTime;

use super::changes::vectors_reached;
use super::schema::embeddings_table;
use super::{Database, Generation, GenerationState, generations};
use crate::ann::to_blob;
use crate::{IndexError, Result};

/// A chunk to embed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkText {
    /// The chunk.
    pub id: ChunkId,
    /// Its document's title.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
}

/// How much of a generation is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EmbeddedChunks {
    /// Chunks that have a vector.
    pub done: u64,
    /// Chunks in all.
    pub total: u64,
}

impl Database {
    /// Every generation, by number.
    pub(crate) fn generations(&self) -> Result<Vec<Generation>> {
        self.reader()?.transact(|connection| generations::all(connection, &self.path))
    }

    /// Begins a generation of `embedder`'s vectors, or goes on with the one that there is: one that was begun before, or one
    /// that was searched before the current one. All others but the current one are dropped.
    pub(crate) fn begin_generation(&self, embedder: &EmbedderInfo) -> Result<()> {
        let model = &embedder.model;
        if embedder.fingerprint == self.identity.embedder.fingerprint {
            let message = format!("its vectors were made by \"{model}\" already; name another model");
            return Err(IndexError::invalid_param(message, "model"));
        }
        let json = generations::to_json(embedder)?;
        let failed = || self.failed("begin vectors in");
        self.transact(|connection| {
            let mut found = None;
            for generation in generations::all(connection, &self.path)? {
                if generation.state == GenerationState::Current {
                } else if generation.embedder.fingerprint == embedder.fingerprint && found.is_none() {
                    found = Some(generation.number);
                } else {
                    drop_generation(connection, generation.number).map_err(failed())?;
                }
            }
            if let Some(number) = found {
                return set_state(connection, number, GenerationState::Building).map_err(failed());
            }
            // What was searched before is there; anything else nobody can make.
            if embedder.is_external() {
                let message =
                    format!("the vectors \"{model}\" are brought along; only a model can embed a collection anew");
                return Err(IndexError::invalid_param(message, "model"));
            }
            let created = OffsetDateTime::now_utc().unix_timestamp();
            generations::insert(connection, &json, GenerationState::Building, created).map_err(failed())?;
            Ok(())
        })
    }

    /// Whether a chunk has no vector of this generation yet.
    pub(super) fn has_unembedded(&self, connection: &Connection) -> Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM chunks WHERE chunk_id > {})", self.last_embedded());
        connection
            .prepare_cached(&sql)
            .and_then(|mut select| select.query_row([], |row| row.get(0)))
            .map_err(self.failed("read"))
    }

    /// The first `limit` chunks without a vector of this generation, in order of their ids.
    pub(crate) fn unembedded(&self, limit: usize) -> Result<Vec<ChunkText>> {
        let sql = format!(
            "SELECT k.chunk_id, d.title, k.text FROM chunks k JOIN documents d ON d.key = k.document \
             WHERE k.chunk_id > {} ORDER BY k.chunk_id LIMIT ?1",
            self.last_embedded()
        );
        self.reader()?.transact(|connection| {
            let mut select = connection.prepare_cached(&sql).map_err(self.failed("read"))?;
            let rows = select.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(ChunkText { id: ChunkId(row.get::<_, i64>(0)? as u64), title: row.get(1)?, text: row.get(2)? })
            });
            rows.and_then(Iterator::collect).map_err(self.failed("read"))
        })
    }

    /// The ids of all chunks, in no particular order.
    pub(crate) fn unordered_chunks(&self) -> Result<Vec<ChunkId>> {
        self.reader()?.transact(|connection| {
            let mut select = connection.prepare("SELECT chunk_id FROM chunks").map_err(self.failed("read"))?;
            let rows = select.query_map([], |row| Ok(ChunkId(row.get::<_, i64>(0)? as u64)));
            rows.and_then(Iterator::collect).map_err(self.failed("read"))
        })
    }

    /// How many chunks have a vector of this generation.
    pub(crate) fn embedded_chunks(&self) -> Result<EmbeddedChunks> {
        self.reader()?.transact(|connection| {
            let count = |condition: &str| {
                let sql = format!("SELECT count(*) FROM chunks {condition}");
                connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_err(self.failed("read"))
            };
            let done = count(&format!("WHERE chunk_id <= {}", self.last_embedded()))? as u64;
            Ok(EmbeddedChunks { done, total: count("")? as u64 })
        })
    }

    /// Stores vectors of this generation, which must be those of the next chunks in order, in one durable transaction.
    /// Chunks that have left meanwhile are left out.
    pub(crate) fn store_vectors(&self, vectors: &[(ChunkId, Embedding)]) -> Result<()> {
        let sql = format!(
            "INSERT OR IGNORE INTO {} (chunk_id, vector) SELECT chunk_id, ?2 FROM chunks WHERE chunk_id = ?1",
            self.embeddings
        );
        self.transact(|connection| {
            let mut insert = connection.prepare_cached(&sql).map_err(self.failed("write to"))?;
            for (id, vector) in vectors {
                insert.execute(params![id.0 as i64, to_blob(vector)]).map_err(self.failed("write to"))?;
            }
            Ok(())
        })
    }

    /// Makes the vectors of this generation those that are searched, and those that are searched now the previous ones.
    /// False when some chunk has none yet.
    pub(crate) fn swap_in(&self) -> Result<bool> {
        let failed = || self.failed("exchange the vectors of");
        self.transact(|connection| {
            if self.has_unembedded(connection)? {
                return Ok(false);
            }
            let seq = self.last_seq(connection)?;
            for number in generations::numbers(connection).map_err(failed())? {
                if generations::state(connection, number).map_err(failed())? == Some(GenerationState::Current) {
                    let sql =
                        "UPDATE generations SET state = ?2, sealed_seq = coalesce(sealed_seq, 0) WHERE number = ?1";
                    connection.execute(sql, params![number, GenerationState::Previous]).map_err(failed())?;
                    forget_cache(connection, number).map_err(failed())?;
                }
            }
            set_state(connection, self.identity.generation, GenerationState::Current).map_err(failed())?;
            let sql = "UPDATE generations SET sealed_seq = ?2 WHERE number = ?1";
            connection.execute(sql, [self.identity.generation, seq]).map_err(failed())?;
            generations::note_searched(connection, self.identity.generation).map_err(failed())?;
            Ok(true)
        })
    }

    /// Gives up making this generation: vectors that were searched before stay the previous ones, others are dropped.
    pub(crate) fn abandon_generation(&self) -> Result<()> {
        let number = self.identity.generation;
        let failed = || self.failed("drop vectors of");
        self.transact(|connection| {
            let all = generations::all(connection, &self.path)?;
            let searched = all.iter().any(|g| g.number == number && g.sealed_seq.is_some());
            if searched {
                set_state(connection, number, GenerationState::Previous).map_err(failed())
            } else {
                drop_generation(connection, number).map_err(failed())
            }
        })
    }

    /// Drops the vectors of every generation but the current one; false when there are none. Nobody may be making vectors.
    pub(crate) fn drop_previous(&self) -> Result<bool> {
        self.transact(|connection| {
            let all = generations::all(connection, &self.path)?;
            let others = || all.iter().filter(|g| g.state != GenerationState::Current);
            for other in others() {
                drop_generation(connection, other.number).map_err(self.failed("drop vectors of"))?;
            }
            Ok(others().next().is_some())
        })
    }

    /// SQL for the last chunk that has a vector of this generation.
    fn last_embedded(&self) -> String {
        format!("(SELECT coalesce(max(chunk_id), 0) FROM {})", self.embeddings)
    }
}

fn set_state(connection: &Connection, number: i64, state: GenerationState) -> rusqlite::Result<()> {
    connection.execute("UPDATE generations SET state = ?2 WHERE number = ?1", params![number, state])?;
    Ok(())
}

fn drop_generation(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("DROP TABLE {}", embeddings_table(number)))?;
    connection.execute("DELETE FROM generations WHERE number = ?1", [number])?;
    forget_cache(connection, number)
}

/// Changes are not kept for a cache that nobody brings up to date.
fn forget_cache(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM meta WHERE key = ?1", [vectors_reached(number)])?;
    Ok(())
}
