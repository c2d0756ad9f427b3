//! Tuned models in memory: loaded when first asked for, and the least recently used given up when there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anser_core::{Generator, Result};
use lru::LruCache;
use parking_lot::Mutex;

/// A place for one model. Its lock is held while the model loads, so that all who want it wait for the same load.
#[derive(Default)]
struct Slot {
    model: Mutex<Option<Arc<dyn Generator>>>,
    bytes: AtomicU64,
    loaded: AtomicBool,
}

/// Loaded models, by name, in the order of their use.
pub(super) struct TunedCache {
    budget: u64,
    slots: Mutex<LruCache<String, Arc<Slot>>>,
}

impl TunedCache {
    /// A cache of so many bytes. A model that is larger alone is kept while it is the one used last.
    pub(super) fn new(budget: u64) -> Self {
        Self { budget, slots: Mutex::new(LruCache::unbounded()) }
    }

    /// The model called `name`, loaded by `load` if need be; callers that come meanwhile wait for the same load, those of
    /// other models do not. A failed load is not remembered.
    pub(super) fn get_or_load(
        &self,
        name: &str,
        load: impl FnOnce() -> Result<Arc<dyn Generator>>,
    ) -> Result<Arc<dyn Generator>> {
        let slot = Arc::clone(self.slots.lock().get_or_insert(name.to_owned(), Arc::default));
        let mut model = slot.model.lock();
        if let Some(model) = model.as_ref() {
            return Ok(Arc::clone(model));
        }
        let loaded = load()?;
        *model = Some(Arc::clone(&loaded));
        drop(model);
        slot.bytes.store(loaded.memory_bytes(), Ordering::Relaxed);
        slot.loaded.store(true, Ordering::Release);
        self.evict(name);
        Ok(loaded)
    }

    /// Whether the model is in memory.
    pub(super) fn is_loaded(&self, name: &str) -> bool {
        self.slots.lock().peek(name).is_some_and(|slot| slot.loaded.load(Ordering::Acquire))
    }

    /// Gives a model up.
    pub(super) fn forget(&self, name: &str) {
        self.slots.lock().pop(name);
    }

    /// Gives up the least recently used models until the rest fits, but never `keep`.
    fn evict(&self, keep: &str) {
        let mut slots = self.slots.lock();
        let mut total: u64 = slots.iter().map(|(_, slot)| slot.bytes.load(Ordering::Relaxed)).sum();
        let loaded = |(name, slot): (&String, &Arc<Slot>)| {
            (name != keep && slot.loaded.load(Ordering::Acquire)).then(|| name.clone())
        };
        // Most recently used first.
        let mut order: Vec<String> = slots.iter().filter_map(loaded).collect();
        while total > self.budget
            && let Some(name) = order.pop()
        {
            let bytes = slots.pop(&name).map_or(0, |slot| slot.bytes.load(Ordering::Relaxed));
            total = total.saturating_sub(bytes);
            tracing::debug!(name, bytes, "a tuned model was given up to make room");
        }
    }
}
