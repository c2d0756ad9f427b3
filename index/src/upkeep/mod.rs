//! Keeping the searchable vectors in step with the database.

mod refill;
#[cfg(test)]
mod scale_tests;
mod seal;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::{CancelToken, ChunkId, Embedding};
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::ann::{SegmentSet, Snapshot};
use crate::cache::{Cache, Manifest, SealLock};
use crate::database::{Change, Database};
use crate::{IndexError, IndexOptions, Result};

/// Pause after a failed attempt to make a segment in the background.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// A collection's database, its cache and its searchable vectors.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) database: Database,
    pub(crate) cache: Cache,
    pub(crate) vectors: SegmentSet,
    pub(crate) options: IndexOptions,
    /// Cancelled when the collection is closed.
    pub(crate) closing: CancelToken,
    /// Held while segments are made by this process.
    sealing: Mutex<()>,
    /// When the background may try again.
    not_before: Mutex<Option<Instant>>,
}

impl Upkeep {
    /// Opens the caches of `database` and brings them up to date.
    ///
    /// # Errors
    /// `NewerFormat` when a newer version wrote the cache, which stays as it is.
    pub(crate) fn open(database: Database, cache: Cache, options: IndexOptions) -> Result<Self> {
        let empty = Snapshot::new(database.identity().embedder.dimension, 0, -1, Vec::new());
        let vectors = SegmentSet::new(empty, options.exact_below, options.target_recall);
        let closing = CancelToken::new();
        let upkeep = Self {
            database,
            cache,
            vectors,
            options,
            closing,
            sealing: Mutex::default(),
            not_before: Mutex::default(),
        };
        upkeep.catch_up_now()?;
        upkeep.clear_leftovers();
        Ok(upkeep)
    }

    /// Removes what an interrupted process left in the cache folder, unless somebody is making segments there now.
    fn clear_leftovers(&self) {
        let cleared = match self.cache.lock() {
            Ok(Some(lock)) => self.cache.remove_leftovers(&lock),
            other => other.map(|_| ()),
        };
        if let Err(e) = cleared {
            tracing::debug!(error = %e, "leftovers stay in the cache folder for now");
        }
    }

    /// Brings the vectors up to the newest state of the database.
    pub(crate) fn catch_up_now(&self) -> Result<Arc<Snapshot>> {
        self.database.reader()?.transact(|connection| self.catch_up(connection))
    }

    /// Brings the vectors at least up to the state that `connection` sees in its transaction, whoever wrote it.
    pub(crate) fn catch_up(&self, connection: &Connection) -> Result<Arc<Snapshot>> {
        let seq = self.database.last_seq(connection)?;
        let current = self.vectors.snapshot();
        if current.seq() >= seq {
            return Ok(current);
        }
        self.vectors.update(|before| {
            if before.seq() >= seq {
                return Ok(None);
            }
            let trimmed = self.database.trimmed_seq(connection)?;
            if before.seq() >= trimmed && before.seq() >= 0 {
                return self.replay(connection, before, seq).map(Some);
            }
            let opened = self.open_newest(before, trimmed, None)?;
            if opened.seq() >= seq { Ok(Some(opened)) } else { self.replay(connection, &opened, seq).map(Some) }
        })
    }

    /// `before` with all changes after it, up to `seq`, which is the last that `connection` sees.
    fn replay(&self, connection: &Connection, before: &Snapshot, seq: i64) -> Result<Snapshot> {
        let mut removed = Vec::new();
        let mut added: Vec<(ChunkId, Embedding)> = Vec::new();
        self.database.changes_after(connection, before.seq(), |change| match change {
            Change::Removed(id) => removed.push(id),
            Change::Added(id, embedding) => added.push((id, embedding)),
        })?;
        before.changed(&removed, added.iter().map(|(id, e)| (*id, e.as_slice())), seq)
    }

    /// The newest segments on disk; what they lack, or all of it, comes from the database. Segments that `known` has open
    /// are taken from there. `lock` for a caller who has it.
    fn open_newest(&self, known: &Snapshot, trimmed: i64, lock: Option<&SealLock>) -> Result<Snapshot> {
        let mut tried = None;
        loop {
            let manifest = match self.cache.manifest() {
                Ok(Some(manifest)) if tried != Some(manifest.number) => manifest,
                Ok(Some(_)) => break,
                Ok(None) => {
                    if trimmed > 0 {
                        tracing::warn!(cache = %self.cache.folder().display(), "the vector cache is missing; rebuilding it");
                    }
                    break;
                }
                Err(e @ IndexError::NewerFormat { .. }) => return Err(e),
                Err(e) => {
                    tracing::warn!(error = %e, "the vector cache cannot be used; rebuilding it");
                    break;
                }
            };
            match self.open_manifest(&manifest, known, trimmed) {
                Ok((snapshot, true)) => return Ok(snapshot),
                // Another process may have replaced it meanwhile.
                Ok(_) if self.cache.manifest().ok().flatten().is_some_and(|m| m.number != manifest.number) => {}
                Ok((snapshot, false)) => return self.refill(&snapshot, lock),
                Err(e) => tracing::warn!(error = %e, "the vector cache cannot be used; rebuilding it if it stays so"),
            }
            tried = Some(manifest.number);
        }
        self.refill(&Snapshot::new(known.dimension(), 0, -1, Vec::new()), lock)
    }

    /// The snapshot that `manifest` describes, and whether it is complete.
    fn open_manifest(&self, manifest: &Manifest, known: &Snapshot, trimmed: i64) -> Result<(Snapshot, bool)> {
        // Asked after the manifest was read: a restored backup of the database is older than its cache.
        let last = self.database.reader()?.transact(|connection| self.database.last_seq(connection))?;
        if manifest.seq < trimmed || manifest.seq > last {
            return Err(IndexError::corrupt("manifest", "it does not fit the database"));
        }
        self.cache.open(manifest, known.segments())
    }

    /// Shows `made` in place of the current snapshot, with all changes since. Most of them are replayed before anybody
    /// has to wait.
    fn install(&self, made: &Snapshot, lock: Option<&SealLock>) -> Result<()> {
        let newest = |made: &Snapshot| {
            let replayed = self.database.reader()?.transact(|connection| {
                let seq = self.database.last_seq(connection)?;
                if made.seq() < self.database.trimmed_seq(connection)? {
                    return Ok(None);
                }
                self.replay(connection, made, seq.max(made.seq())).map(Some)
            })?;
            replayed.map_or_else(|| self.refill(made, lock), Ok)
        };
        let made = newest(made)?;
        // This transaction begins while nobody else can advance, so it sees all that the current snapshot reflects.
        self.vectors.update(|_| newest(&made).map(Some))?;
        Ok(())
    }

    /// Whether the background has something to do.
    pub(crate) fn wants_sealing(&self, snapshot: &Snapshot) -> bool {
        let unverified = snapshot.segments().iter().any(|p| !p.segment.is_verified());
        (unverified || self.is_due(snapshot)) && self.not_before.lock().is_none_or(|instant| Instant::now() >= instant)
    }

    /// Verifies segments that were opened without, and makes a segment if one is due, unless somebody does already;
    /// failures are logged and tried again later.
    pub(crate) fn seal_in_background(&self) {
        let done = self
            .verify()
            .and_then(|()| if self.is_due(&self.vectors.snapshot()) { self.seal(false) } else { Ok(true) });
        let failed = match &done {
            Err(e) if !self.closing.is_cancelled() => {
                tracing::warn!(error = %e, "cannot make a vector segment; searching goes on without it");
                true
            }
            // Another process is at it.
            Ok(false) => true,
            _ => false,
        };
        *self.not_before.lock() = failed.then(|| Instant::now() + RETRY_AFTER);
    }
}
