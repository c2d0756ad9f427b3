//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anser_engine::{Engine, ServedRole};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::ServerOptions;
use crate::call::RunningCalls;
use crate::metrics::Metrics;

/// Shared by all handlers; clones are cheap.
pub(crate) type AppState = Arc<App>;

/// One service.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) options: ServerOptions,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) running: Arc<RunningCalls>,
    /// One permit for each request that may be worked on.
    pub(crate) permits: Arc<Semaphore>,
    /// Seconds since 1970.
    pub(crate) started_at: i64,
}

impl App {
    pub(crate) fn new(engine: Arc<Engine>, options: ServerOptions) -> AppState {
        let permits = Arc::new(Semaphore::new(options.max_in_flight.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            engine,
            options,
            metrics: Metrics::new(),
            readiness: Readiness::default(),
            running: Arc::default(),
            permits,
            started_at: unix_now(),
        })
    }

    /// Loads the models. Blocks; called again after a failure. The embedder decides whether the service is ready.
    pub(crate) fn load_models(&self) -> Result<(), anser_core::Error> {
        let models = self.engine.models();
        models.embedder().inspect_err(|error| self.readiness.failed(error))?;
        self.readiness.succeeded();
        models.generator()?;
        models.reranker()?;
        Ok(())
    }

    /// Why the service cannot answer yet; `None` when it can. Blocks.
    pub(crate) fn unready_reason(&self) -> Option<String> {
        if let Err(error) = self.engine.collections() {
            return Some(format!("the collections cannot be read: {error}"));
        }
        let loaded = |role| self.engine.models().list().iter().any(|model| model.role == role && model.loaded);
        if !self.readiness.is_ready() && loaded(ServedRole::Embedder) {
            self.readiness.succeeded();
        }
        self.readiness.reason()
    }
}

/// Whether the embedder has been loaded. Once it has, it stays loaded.
#[derive(Default)]
pub(crate) struct Readiness {
    ready: AtomicBool,
    last_failure: Mutex<Option<String>>,
}

impl Readiness {
    fn succeeded(&self) {
        self.ready.store(true, Ordering::Release);
    }

    fn failed(&self, error: &anser_core::Error) {
        *self.last_failure.lock() = Some(error.to_string());
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn reason(&self) -> Option<String> {
        if self.is_ready() {
            return None;
        }
        Some(match self.last_failure.lock().as_deref() {
            Some(failure) => format!("the embedder cannot be loaded: {failure}"),
            None => "the embedder is not loaded yet".to_owned(),
        })
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
