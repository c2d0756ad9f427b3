//! Vectors on their way into the file: found at once, written together by a thread of their own, so that callers never
//! wait for a transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anser_core::Embedded;
use parking_lot::{Condvar, Mutex};

use super::database::{CacheDatabase, Cached};
use super::key::{Key, Owner};

/// So many vectors are written without waiting for more.
const TOGETHER: usize = 256;
/// How long fewer are waited with: a crash costs no more than what came in this time.
const LINGER: Duration = Duration::from_millis(50);
/// How often a wait looks whether the thread is still there.
const LOOK: Duration = Duration::from_secs(1);
/// So many vectors may wait; whoever brings more waits for the file.
const MOST: usize = 4096;

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Changes {
    /// New vectors.
    pub(super) fresh: HashMap<Key, Cached>,
    /// Entries that were used, and by whom.
    pub(super) touched: HashMap<Key, Owner>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.touched.is_empty()
    }

    fn touch(&mut self, key: Key, owner: Owner) {
        self.touched.entry(key).and_modify(|by| *by = by.and(owner)).or_insert(owner);
    }

    fn len(&self) -> usize {
        self.fresh.len() + self.touched.len()
    }
}

#[derive(Default)]
struct State {
    waiting: Changes,
    writing: Arc<Changes>,
    /// Callers that wait for everything to be written.
    flushing: usize,
    stopping: bool,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// Whether somebody writes what waits.
    fn is_served(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The queue in front of the file and the thread behind it, which starts with the first vector.
pub(super) struct Writer {
    shared: Arc<Shared>,
    database: Arc<CacheDatabase>,
}

impl Writer {
    /// Nothing waits.
    pub(super) fn new(database: Arc<CacheDatabase>) -> Self {
        Self { shared: Arc::default(), database }
    }

    /// What is on its way, each where it is; `owner` uses it too.
    pub(super) fn find(&self, keys: &[Key], owner: Owner) -> Vec<Option<Embedded>> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let mut find = |key: &Key| {
            if let Some(cached) = state.waiting.fresh.get_mut(key) {
                cached.owner = cached.owner.and(owner);
                return Some(cached.embedded.clone());
            }
            let cached = state.writing.fresh.get(key)?;
            if cached.owner.and(owner) != cached.owner {
                state.waiting.touch(*key, owner);
            }
            Some(cached.embedded.clone())
        };
        keys.iter().map(&mut find).collect()
    }

    /// Takes vectors; waits while too many are there already.
    pub(super) fn push(&self, fresh: Vec<(Key, Cached)>) {
        let mut state = self.shared.state.lock();
        while state.waiting.len() >= MOST && state.is_served() {
            self.shared.changed.wait_for(&mut state, LOOK);
        }
        let before = state.waiting.len();
        for (key, cached) in fresh {
            let owner = state.waiting.fresh.get(&key).map_or(cached.owner, |before| before.owner.and(cached.owner));
            state.waiting.fresh.insert(key, Cached { owner, ..cached });
        }
        self.wake(&mut state, before);
    }

    /// Takes note that entries were used by `owner`.
    pub(super) fn touch(&self, keys: &[Key], owner: Owner) {
        if keys.is_empty() {
            return;
        }
        let mut state = self.shared.state.lock();
        let before = state.waiting.len();
        for key in keys {
            state.waiting.touch(*key, owner);
        }
        self.wake(&mut state, before);
    }

    /// Tells the thread when it has something to do for the first time, or enough: not for each of many small requests.
    fn wake(&self, state: &mut State, before: usize) {
        if state.thread.is_none() {
            let (shared, database) = (Arc::clone(&self.shared), Arc::clone(&self.database));
            let body = move || shared.write(&database);
            match thread::Builder::new().name("anser-cache".to_owned()).spawn(body) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    tracing::warn!(%error, "no thread for the cache of vectors; they are not kept");
                    state.waiting = Changes::default();
                }
            }
        }
        if before == 0 || state.waiting.len() >= TOGETHER {
            self.shared.changed.notify_all();
        }
    }

    /// Waits until everything is written.
    pub(super) fn flush(&self) {
        let mut state = self.shared.state.lock();
        state.flushing += 1;
        self.shared.changed.notify_all();
        while !(state.waiting.is_empty() && state.writing.is_empty()) && state.is_served() {
            self.shared.changed.wait_for(&mut state, LOOK);
        }
        state.flushing -= 1;
    }
}

impl Drop for Writer {
    /// Writes what waits.
    fn drop(&mut self) {
        let thread = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            state.thread.take()
        };
        self.shared.changed.notify_all();
        if let Some(thread) = thread {
            // It has said what went wrong; the vectors can be made again.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn write(&self, database: &CacheDatabase) {
        loop {
            let changes = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() && !state.stopping {
                    self.changed.wait(&mut state);
                }
                if state.waiting.is_empty() {
                    return;
                }
                // One wait at most: whoever brings more wakes it early, and then it goes on only when that was enough.
                let until = Instant::now() + LINGER;
                while state.waiting.len() < TOGETHER && state.flushing == 0 && !state.stopping {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
                state.writing = Arc::new(std::mem::take(&mut state.waiting));
                Arc::clone(&state.writing)
            };
            database.write(&changes);
            self.state.lock().writing = Arc::default();
            self.changed.notify_all();
        }
    }
}
