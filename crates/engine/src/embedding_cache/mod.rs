//! Vectors of texts that were embedded before, so that the same text costs no inference again, whichever collection it
//! goes to and whatever document it belongs to.
//!
//! One file in the data folder, shared by all processes on it. It holds no text: an entry is found by a keyed hash of
//! everything on which the vector depends (`key`). It is a cache: when it is damaged it is made anew, when it cannot be
//! read or written the texts are embedded, and when it is full what was not used for longest goes (`database`).
//!
//! A vector tells something about its text. So only passages of documents and texts that callers want vectors of are kept,
//! not what people ask, what is written to them or what is looked through for harm; queries are kept in memory. And each
//! entry remembers which collection used it: deleting or compacting a collection removes its entries too, those that
//! another collection shares included. [`EmbeddingCache::clear`] removes everything.

mod database;
mod embedder;
mod key;
mod pending;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{Embedded, Embedder};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;

use database::{CacheDatabase, Cached};
use embedder::CachedEmbedder;
pub(crate) use embedder::Reused;
use key::{Key, Owner};
use pending::Writer;

/// Queries kept in memory: pages of one search and repeated questions find theirs here.
const QUERIES: usize = 1024;

/// What the cache of vectors holds and what it was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct EmbeddingCacheStatistics {
    /// Most bytes that it may take; 0: it is switched off.
    pub limit_bytes: u64,
    /// Bytes that it takes in its file.
    pub bytes: u64,
    /// Texts whose vectors it holds.
    pub entries: u64,
    /// Texts whose vector was found, since this process started.
    pub hits: u64,
    /// Texts that had to be embedded, since this process started.
    pub misses: u64,
}

/// Whose texts are embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUser<'a> {
    /// Whoever asks, answers or moderates: queries are kept in memory and nothing else is kept.
    Questions,
    /// Callers who want vectors.
    Callers,
    /// The collection of that name, for its documents.
    Collection(&'a str),
}

/// The cache of one data folder. Nothing is opened before it is needed.
pub(crate) struct EmbeddingCache {
    limit_bytes: u64,
    database: Arc<CacheDatabase>,
    writer: Writer,
    queries: Mutex<LruCache<Key, Embedded>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl EmbeddingCache {
    /// The cache in the file `path`, of at most `limit_bytes`; 0 switches it off, which leaves the file alone.
    pub(crate) fn new(path: PathBuf, limit_bytes: u64) -> Arc<Self> {
        let database = Arc::new(CacheDatabase::new(path, limit_bytes));
        Arc::new(Self {
            limit_bytes,
            writer: Writer::new(Arc::clone(&database)),
            database,
            queries: Mutex::new(LruCache::new(NonZeroUsize::new(QUERIES).unwrap_or(NonZeroUsize::MIN))),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// `embedder` with this cache in front of it, and how many texts it did not have to embed.
    pub(crate) fn in_front_of(
        self: &Arc<Self>,
        embedder: Arc<dyn Embedder>,
        user: CacheUser<'_>,
    ) -> (Arc<dyn Embedder>, Reused) {
        let reused = Reused::default();
        let salt = if self.limit_bytes > 0 { self.database.salt() } else { None };
        let Some(salt) = salt else { return (embedder, reused) };
        let owner = match user {
            CacheUser::Questions => None,
            CacheUser::Callers => Some(Owner::NOBODY),
            CacheUser::Collection(name) => Some(Owner::collection(name)),
        };
        let cached = CachedEmbedder::new(embedder, Arc::clone(self), &salt, (owner, reused.clone()));
        (Arc::new(cached), reused)
    }

    /// What is kept for `keys`, each where it is known.
    fn find(&self, keys: &[Key], dimension: usize, owner: Owner) -> Vec<Option<Embedded>> {
        let mut found = self.writer.find(keys, owner);
        let missing: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<Key> = missing.iter().map(|at| keys[*at]).collect();
            let (stored, stale) = self.database.find(&wanted, dimension, owner);
            self.writer.touch(&stale, owner);
            for (at, cached) in missing.into_iter().zip(stored) {
                found[at] = cached;
            }
        }
        found
    }

    /// Keeps vectors. They are found at once and written soon after.
    fn keep(&self, fresh: Vec<(Key, Embedded)>, owner: Owner) {
        self.writer.push(fresh.into_iter().map(|(key, embedded)| (key, Cached { embedded, owner })).collect());
    }

    fn count(&self, hits: usize, misses: usize) {
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add(misses as u64, Ordering::Relaxed);
    }

    /// Removes the entries that `collection` used, also those that others use too, from the file and its log. `false` when
    /// somebody still reads an older state, so that they stay in the log until they are done, or when it failed.
    pub(crate) fn forget_collection(&self, collection: &str) -> bool {
        self.writer.flush();
        self.database.forget(Owner::collection(collection))
    }

    /// Removes everything, from memory too. `false` as for [`EmbeddingCache::forget_collection`].
    pub(crate) fn clear(&self) -> bool {
        self.writer.flush();
        self.queries.lock().clear();
        self.database.clear()
    }

    /// What it holds now.
    pub(crate) fn statistics(&self) -> EmbeddingCacheStatistics {
        let (entries, bytes) = self.database.size();
        EmbeddingCacheStatistics {
            limit_bytes: self.limit_bytes,
            bytes,
            entries,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
