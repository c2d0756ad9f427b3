//! Keeping the searchable vectors in step with the database, and turning the tail into segments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anser_core::{CancelToken, ChunkId, Embedding};
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::ann::{
    HnswParams, Part, Segment, SegmentSet, Snapshot, build_graph, encoded, write_graph, write_vectors,
};
use crate::cache::{Cache, Manifest, SealLock};
use crate::database::{Change, Database, VECTORS_CACHE};
use crate::{IndexError, IndexOptions, Result};

/// A segment with fewer rows is compared row by row, which is as fast as walking a graph.
const MIN_GRAPH_ROWS: usize = 512;
/// So many segments of similar size are made into one.
const FAN_OUT: usize = 4;
/// Rows read at once when the vectors are rebuilt from the database.
const REBUILD_ROWS: usize = 8192;
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
    /// Held while a generation is made by this process.
    sealing: Mutex<()>,
    /// When the background may try again.
    not_before: Mutex<Option<Instant>>,
}

impl Upkeep {
    /// Opens the caches of `database` and brings them up to date.
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
        Ok(upkeep)
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
            match self.open_generation(before, trimmed) {
                Some(opened) if opened.seq() >= seq => Ok(Some(opened)),
                Some(opened) => self.replay(connection, &opened, seq).map(Some),
                None => self.rebuild(connection, seq).map(Some),
            }
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

    /// The newest generation on disk, if it is sound and newer than what was dropped from the change sequence.
    fn open_generation(&self, known: &Snapshot, trimmed: i64) -> Option<Snapshot> {
        let mut tried = None;
        loop {
            let manifest = match self.cache.manifest() {
                Ok(Some(manifest)) if tried != Some(manifest.generation) => manifest,
                Ok(Some(_)) => break,
                Ok(None) => {
                    if trimmed > 0 {
                        tracing::warn!(cache = %self.cache.folder().display(), "the vector cache is missing; rebuilding it");
                    }
                    return None;
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the vector cache cannot be used; rebuilding it");
                    return None;
                }
            };
            match self.open_manifest(&manifest, known, trimmed) {
                Ok(snapshot) => return Some(snapshot),
                Err(e) => tracing::warn!(error = %e, "the vector cache cannot be used; rebuilding it if it stays so"),
            }
            // Another process may have replaced it meanwhile.
            tried = Some(manifest.generation);
        }
        None
    }

    fn open_manifest(&self, manifest: &Manifest, known: &Snapshot, trimmed: i64) -> Result<Snapshot> {
        // Asked after the manifest was read: a restored backup of the database is older than its cache.
        let last = self.database.reader()?.transact(|connection| self.database.last_seq(connection))?;
        if manifest.seq < trimmed || manifest.seq > last {
            return Err(IndexError::corrupt("manifest", "it does not fit the database"));
        }
        self.cache.open(manifest, known.segments())
    }

    /// All vectors from the database itself.
    fn rebuild(&self, connection: &Connection, seq: i64) -> Result<Snapshot> {
        let mut made = Snapshot::new(self.database.identity().embedder.dimension, 0, seq, Vec::new());
        let mut rows: Vec<(ChunkId, Embedding)> = Vec::with_capacity(REBUILD_ROWS);
        let mut flush = |rows: &mut Vec<(ChunkId, Embedding)>| -> Result<()> {
            made = made.changed(&[], rows.iter().map(|(id, e)| (*id, e.as_slice())), seq)?;
            rows.clear();
            Ok(())
        };
        self.database.each_vector(connection, |id, embedding| {
            rows.push((id, embedding));
            if rows.len() == REBUILD_ROWS { flush(&mut rows) } else { Ok(()) }
        })?;
        flush(&mut rows)?;
        Ok(made)
    }

    /// Whether the background should make a segment now.
    pub(crate) fn wants_sealing(&self, snapshot: &Snapshot) -> bool {
        let due =
            snapshot.tail_len() >= self.options.seal_threshold || snapshot.segments().iter().any(needs_compaction);
        due && self.not_before.lock().is_none_or(|instant| Instant::now() >= instant)
    }

    /// Makes a segment in the background, unless somebody does already; failures are logged and tried again later.
    pub(crate) fn seal_in_background(&self) {
        let sealed = self.seal(false);
        let failed = match &sealed {
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

    /// Turns the tail, and segments that are due for it, into one new segment. False when another process was doing so
    /// and `wait` was not wanted.
    pub(crate) fn seal(&self, wait: bool) -> Result<bool> {
        let _sealing = self.sealing.lock();
        let Some(lock) = self.cache.lock(wait)? else { return Ok(false) };
        self.adopt_newer_generation()?;
        let before = self.catch_up_now()?;
        let (merged, kept) = choose(&before, self.options.seal_threshold);
        if before.tail_len() == 0 && merged.is_empty() {
            return Ok(true);
        }
        let on_disk = self.cache.manifest().ok().flatten().map_or(0, |m| m.generation);
        let generation = on_disk.max(before.generation()) + 1;
        let mut parts: Vec<Part> = kept.into_iter().cloned().collect();
        if let Some(segment) = self.make_segment(generation, &before, &merged, &lock)? {
            parts.push(Part { segment: Arc::new(segment), removed: Arc::default() });
        }
        self.cache.publish(generation, before.seq(), &parts, &lock)?;
        self.install(&Snapshot::new(before.dimension(), generation, before.seq(), parts.clone()))?;
        self.database.cache_reached(VECTORS_CACHE, before.seq())?;
        self.cache.remove_others(&parts, &lock)?;
        Ok(true)
    }

    /// Takes over what another process published, so that the next generation builds on it.
    fn adopt_newer_generation(&self) -> Result<()> {
        let Ok(Some(manifest)) = self.cache.manifest() else { return Ok(()) };
        if manifest.generation <= self.vectors.snapshot().generation() {
            return Ok(());
        }
        let trimmed = self.database.reader()?.transact(|connection| self.database.trimmed_seq(connection))?;
        match self.open_generation(&self.vectors.snapshot(), trimmed) {
            Some(opened) => self.install(&opened),
            None => Ok(()),
        }
    }

    /// Shows `made` in place of the current snapshot, with all changes since. Most of them are replayed before anybody
    /// has to wait.
    fn install(&self, made: &Snapshot) -> Result<()> {
        let replay_all = |made: &Snapshot| {
            self.database.reader()?.transact(|connection| {
                let seq = self.database.last_seq(connection)?;
                if made.seq() < self.database.trimmed_seq(connection)? {
                    return self.rebuild(connection, seq);
                }
                self.replay(connection, made, seq.max(made.seq()))
            })
        };
        let made = replay_all(made)?;
        // This transaction begins while nobody else can advance, so it sees all that the current snapshot reflects.
        self.vectors.update(|_| replay_all(&made).map(Some))?;
        Ok(())
    }

    /// Writes the tail and the rows of `merged` as one segment; `None` when no row is left.
    fn make_segment(
        &self,
        generation: u64,
        before: &Snapshot,
        merged: &[&Part],
        lock: &SealLock,
    ) -> Result<Option<Segment>> {
        let started = Instant::now();
        let mut rows: Vec<(ChunkId, &[f32])> = merged.iter().flat_map(|p| p.rows()).chain(before.tail_rows()).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        rows.sort_unstable_by_key(|(id, _)| *id);
        self.closing.check()?;
        let name = self.cache.new_segment_folder(generation, lock)?;
        let folder = self.cache.folder().join(&name);
        let vectors = Arc::new(write_vectors(&folder, before.dimension(), rows.into_iter())?);
        let graph = if vectors.len() < MIN_GRAPH_ROWS {
            None
        } else {
            let IndexOptions { m, ef_construction, threads, builder, .. } = self.options;
            let bytes = build_graph(&vectors, &encoded(&vectors)?, &HnswParams { m, ef_construction, threads, builder }, &self.closing)?;
            Some(write_graph(&folder, &bytes, vectors.len())?)
        };
        let segment = Segment::seal(self.cache.folder(), name, vectors, graph)?;
        tracing::info!(
            rows = segment.files.rows,
            generation,
            seconds = started.elapsed().as_secs_f32(),
            "segment made"
        );
        Ok(Some(segment))
    }
}

/// A quarter of its rows no longer count.
fn needs_compaction(part: &Part) -> bool {
    part.removed.len() as usize * 4 > part.segment.vectors.len()
}

/// Which segments to merge with the tail, and which to keep: small ones and those with many removed rows are merged, and
/// so are those of similar size once there are enough of them, so that a row is rewritten only a logarithmic number of
/// times.
fn choose(snapshot: &Snapshot, small: usize) -> (Vec<&Part>, Vec<&Part>) {
    let (mut merged, kept): (Vec<&Part>, Vec<&Part>) =
        snapshot.segments().iter().partition(|p| p.live() < small || needs_compaction(p));
    let rows = snapshot.tail_len() + merged.iter().map(|p| p.live()).sum::<usize>();
    let (similar, larger): (Vec<&Part>, Vec<&Part>) = kept.into_iter().partition(|p| p.live() <= 2 * rows);
    if similar.len() + 1 >= FAN_OUT {
        merged.extend(similar);
        return (merged, larger);
    }
    (merged, similar.into_iter().chain(larger).collect())
}
