//! Embedding a collection anew by another model, beside its searches, and changing over in one step.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;

use anser_core::{CancelToken, ChunkId, EmbedderInfo, Embedding};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Collection;
use crate::ann::{Snapshot, dot, wrong_dimension};
use crate::cache::Cache;
use crate::database::{ChunkText, DATABASE_FILE, Database, EmbeddedChunks, Generation};
use crate::upkeep::Upkeep;
use crate::{IndexError, Result};

/// Held while vectors are made; lies in the collection's folder.
const LOCK_FILE: &str = "reembed.lock";

/// Vectors that are made for all chunks of a collection, while others are searched. One process at a time makes them; what
/// it stored is there for the next one. Dropping this leaves them as they are.
#[derive(Debug)]
pub struct Reembedding {
    /// The collection as it is searched meanwhile.
    searched: Arc<Collection>,
    folder: PathBuf,
    made: Database,
    /// The made vectors, once they can be searched.
    ready: Mutex<Option<Arc<Snapshot>>>,
    _lock: File,
}

/// How much the neighbours of chunks are the same among two generations of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Chunks whose neighbours were compared: each chunk's vector among the vectors of its own generation.
    pub queries: usize,
    /// Neighbours compared of each.
    pub k: usize,
    /// Mean share of neighbours that both have, in [0, 1]; 1 without queries.
    pub mean: f64,
    /// The smallest share.
    pub lowest: f64,
}

impl Collection {
    /// The vectors that there are, by number: those that are searched, those that were before, those that are being made.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        self.database()?.generations()
    }

    /// Begins to make vectors by `embedder`, or goes on with what was begun or searched before. Other vectors than those that
    /// are searched now are dropped.
    ///
    /// # Errors
    /// `InvalidInput` for the embedder that made the vectors that are searched, and for one that is no model; `Conflict`
    /// while somebody makes vectors for this collection.
    pub fn reembed(self: &Arc<Self>, embedder: &EmbedderInfo) -> Result<Reembedding> {
        let database = self.database()?;
        let lock = self.reembed_lock()?;
        database.begin_generation(embedder)?;
        self.remove_stray_caches()?;
        let made = Database::open_building(&self.folder.join(DATABASE_FILE))?;
        let (searched, folder) = (Arc::clone(self), self.folder.clone());
        Ok(Reembedding { searched, folder, made, ready: Mutex::default(), _lock: lock })
    }

    /// Drops the vectors that were searched before the present ones, and what was begun of others; false when there are
    /// none. They cannot be gone back to afterwards.
    ///
    /// # Errors
    /// `Conflict` while somebody makes vectors for this collection.
    pub fn drop_previous(&self) -> Result<bool> {
        let _lock = self.reembed_lock()?;
        let dropped = self.database()?.drop_previous()?;
        self.remove_stray_caches()?;
        self.reclaim_when_due();
        Ok(dropped)
    }

    /// Proof that nobody else makes vectors; `Conflict` while somebody does.
    pub(super) fn reembed_lock(&self) -> Result<File> {
        let path = self.folder.join(LOCK_FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(IndexError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(IndexError::Busy { name: self.name.clone() }),
            Err(TryLockError::Error(e)) => Err(IndexError::io("lock", &path)(e)),
        }
    }
}

impl Reembedding {
    /// Who makes the vectors.
    pub fn embedder(&self) -> &EmbedderInfo {
        &self.made.identity().embedder
    }

    /// The collection as it is searched meanwhile.
    pub fn searched(&self) -> &Collection {
        &self.searched
    }

    /// How many chunks have their vector.
    pub fn chunks(&self) -> Result<EmbeddedChunks> {
        self.made.embedded_chunks()
    }

    /// The next chunks to embed, up to `limit`; none once all have their vector.
    pub fn next(&self, limit: usize) -> Result<Vec<ChunkText>> {
        self.made.unembedded(limit)
    }

    /// Stores the vectors of the chunks that [`next`](Self::next) gave, durably; chunks deleted meanwhile are left out.
    /// `InvalidInput` for a vector of another dimension than the embedder's.
    pub fn store(&self, vectors: &[(ChunkId, Embedding)]) -> Result<()> {
        let dimension = self.embedder().dimension;
        if let Some((_, wrong)) = vectors.iter().find(|(_, vector)| vector.dimension() != dimension) {
            return Err(wrong_dimension(wrong.dimension(), dimension));
        }
        self.made.store_vectors(vectors)
    }

    /// Makes segments of the vectors, so that searches by them are fast from their first moment on. False when chunks came
    /// meanwhile that have no vector yet: embed them and call again.
    pub fn prepare(&self, cancel: &CancelToken) -> Result<bool> {
        let unembedded = |e| match e {
            IndexError::Unembedded { .. } => Ok(false),
            other => Err(other),
        };
        let made = Database::open_building(&self.folder.join(DATABASE_FILE))?;
        let cache = Cache::new(&self.folder, made.identity());
        let mut upkeep = match Upkeep::open(made, cache, self.searched.upkeep.options.clone()) {
            Ok(upkeep) => upkeep,
            Err(e) => return unembedded(e),
        };
        upkeep.closing = cancel.clone();
        let sealed = upkeep.seal(true);
        // Whether or not chunks came, what was sealed can be compared.
        *self.ready.lock() = Some(upkeep.vectors.snapshot());
        sealed.map(|_| true).or_else(unembedded)
    }

    /// Compares the `k` nearest neighbours of `queries` chunks among the vectors that are searched and among those that
    /// [`prepare`](Self::prepare) made ready, each by the chunk's own vector there. The chunks are drawn by `seed`; every
    /// vector is compared. `None` while no vectors are ready, as when chunks came each time that they were prepared.
    pub fn overlap(&self, queries: usize, k: usize, seed: u64, cancel: &CancelToken) -> Result<Option<Overlap>> {
        let Some(made) = self.ready.lock().clone() else { return Ok(None) };
        let old = self.searched.upkeep.catch_up_now()?;
        let chunks = self.made.unordered_chunks()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drawn: Vec<ChunkId> = sample(&mut rng, chunks.len(), queries.min(chunks.len()))
            .iter()
            .filter_map(|at| chunks.get(at).copied())
            .collect();
        let vectors =
            |database: &Database| database.reader()?.transact(|connection| database.vectors_of(connection, &drawn));
        let (of_old, of_made) = (vectors(&self.searched.upkeep.database)?, vectors(&self.made)?);
        let (mut sum, mut lowest, mut compared) = (0.0, 1.0f64, 0);
        for chunk in &drawn {
            cancel.check()?;
            let (Some(before), Some(after)) = (of_old.get(chunk), of_made.get(chunk)) else { continue };
            let (before, after) = (neighbours(&old, *chunk, before, k), neighbours(&made, *chunk, after, k));
            let most = before.len().max(after.len());
            if most > 0 {
                let share = before.intersection(&after).count() as f64 / most as f64;
                (sum, lowest, compared) = (sum + share, lowest.min(share), compared + 1);
            }
        }
        let mean = if compared == 0 { 1.0 } else { sum / compared as f64 };
        Ok(Some(Overlap { queries: compared, k, mean, lowest }))
    }

    /// Makes these vectors those that are searched, in one step, and keeps those of before. Whoever has the collection open
    /// gets `Conflict` from now on and opens it anew. False when chunks came meanwhile that have no vector yet.
    pub fn swap(&self) -> Result<bool> {
        self.made.swap_in()
    }

    /// Gives up: vectors that were searched before stay, others are dropped.
    pub fn abandon(self) -> Result<()> {
        self.made.abandon_generation()?;
        self.searched.remove_stray_caches()
    }
}

/// The `k` chunks nearest to `vector`, without `chunk` itself.
fn neighbours(snapshot: &Snapshot, chunk: ChunkId, vector: &Embedding, k: usize) -> HashSet<ChunkId> {
    let score = |id: ChunkId, other: &[f32]| (id != chunk).then(|| dot(vector.as_slice(), other));
    snapshot.scan(k, None, &score).into_iter().map(|(id, _)| id).collect()
}
