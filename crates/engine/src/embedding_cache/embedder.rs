//! An embedder that asks the cache first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anser_core::{CancelToken, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Error, Result};

use super::EmbeddingCache;
use super::key::{Key, Keys, Owner, Salt};

/// How many texts one user of an embedder did not have to embed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reused(Arc<AtomicU64>);

impl Reused {
    /// Texts so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Embeds only texts whose vectors are not known.
pub(super) struct CachedEmbedder {
    embedder: Arc<dyn Embedder>,
    cache: Arc<EmbeddingCache>,
    keys: Keys,
    /// Who uses what is kept in the file; `None`: only queries are kept, in memory.
    owner: Option<Owner>,
    reused: Reused,
}

impl CachedEmbedder {
    pub(super) fn new(
        embedder: Arc<dyn Embedder>,
        cache: Arc<EmbeddingCache>,
        salt: &Salt,
        (owner, reused): (Option<Owner>, Reused),
    ) -> Self {
        let keys = Keys::new(salt, embedder.as_ref());
        Self { embedder, cache, keys, owner, reused }
    }

    fn queries(&self, texts: &[String], cancel: &CancelToken) -> Result<Vec<Embedded>> {
        let keys: Vec<Key> = texts.iter().map(|text| self.keys.of(text, EmbedPurpose::Query)).collect();
        let found = {
            let mut queries = self.cache.queries.lock();
            keys.iter().map(|key| queries.get(key).cloned()).collect()
        };
        let (embedded, fresh) = self.complete((texts, &keys), found, EmbedPurpose::Query, cancel)?;
        let mut queries = self.cache.queries.lock();
        for (key, embedded) in fresh {
            queries.put(key, embedded);
        }
        Ok(embedded)
    }

    fn passages(&self, texts: &[String], owner: Owner, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        let keys: Vec<Key> = texts.iter().map(|text| self.keys.of(text, EmbedPurpose::Passage)).collect();
        let found = self.cache.find(&keys, self.embedder.info().dimension, owner);
        let (embedded, fresh) = self.complete((texts, &keys), found, EmbedPurpose::Passage, cancel)?;
        if !fresh.is_empty() {
            self.cache.keep(fresh, owner);
        }
        Ok(embedded)
    }

    /// Embeds what was not found, equal texts once, and returns everything in order and what is new.
    #[expect(clippy::type_complexity, reason = "both halves are used by the two callers above and named there")]
    fn complete(
        &self,
        (texts, keys): (&[String], &[Key]),
        mut found: Vec<Option<Embedded>>,
        purpose: EmbedPurpose,
        cancel: &CancelToken,
    ) -> Result<(Vec<Embedded>, Vec<(Key, Embedded)>)> {
        let mut first: HashMap<Key, usize> = HashMap::new();
        let mut missing: Vec<(Key, String)> = Vec::new();
        for ((key, text), _) in keys.iter().zip(texts).zip(&found).filter(|(_, found)| found.is_none()) {
            first.entry(*key).or_insert_with(|| {
                missing.push((*key, text.clone()));
                missing.len() - 1
            });
        }
        let (missing_keys, missing): (Vec<Key>, Vec<String>) = missing.into_iter().unzip();
        let embedded = if missing.is_empty() { Vec::new() } else { self.embedder.embed(&missing, purpose, cancel)? };
        if embedded.len() != missing.len() {
            let (got, wanted) = (embedded.len(), missing.len());
            return Err(Error::internal(format!("the embedder returned {got} vectors for {wanted} texts")));
        }
        self.cache.count(texts.len() - missing.len(), missing.len());
        self.reused.0.fetch_add((texts.len() - missing.len()) as u64, Ordering::Relaxed);
        for (slot, key) in found.iter_mut().zip(keys).filter(|(slot, _)| slot.is_none()) {
            *slot = first.get(key).and_then(|at| embedded.get(*at)).cloned();
        }
        Ok((found.into_iter().flatten().collect(), missing_keys.into_iter().zip(embedded).collect()))
    }
}

impl Embedder for CachedEmbedder {
    fn info(&self) -> &EmbedderInfo {
        self.embedder.info()
    }

    fn backend(&self) -> &str {
        self.embedder.backend()
    }

    fn shorter_dimensions(&self) -> &[usize] {
        self.embedder.shorter_dimensions()
    }

    fn embed(&self, texts: &[String], purpose: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        cancel.check()?;
        // The embedder refuses blank texts and says which: it has to see all of them for that.
        if texts.iter().any(|text| text.trim().is_empty()) {
            return self.embedder.embed(texts, purpose, cancel);
        }
        match (purpose, self.owner) {
            (EmbedPurpose::Query, _) => self.queries(texts, cancel),
            (EmbedPurpose::Passage, Some(owner)) => self.passages(texts, owner, cancel),
            (EmbedPurpose::Passage, None) => self.embedder.embed(texts, purpose, cancel),
        }
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        self.embedder.count_tokens(text)
    }
}
