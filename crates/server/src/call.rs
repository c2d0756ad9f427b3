//! How a handler calls the engine: on a thread that may block, cancelled when the client goes away or time is up,
//! counted against the limit of requests in flight until the work has really ended.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anser_core::CancelToken;
use anser_engine::Engine;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{ApiError, ApiResult};
use crate::metrics::Metrics;
use crate::state::AppState;

/// The right to be worked on, and until when. Put into each request by the middleware that admits it.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) permit: Arc<OwnedSemaphorePermit>,
    pub(crate) deadline: Instant,
}

/// One call of the engine on behalf of one request.
pub(crate) struct EngineCall {
    pub(crate) work: Work,
    pub(crate) admission: Admission,
    pub(crate) guard: CancelOnDrop,
    pub(crate) running: Running,
}

/// What the work itself gets to see.
#[derive(Clone)]
pub(crate) struct Work {
    app: AppState,
    pub(crate) cancel: CancelToken,
}

impl Work {
    pub(crate) fn engine(&self) -> &Engine {
        &self.app.engine
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.app.metrics
    }

    /// Whether replies pass through the content filter.
    pub(crate) fn filters_replies(&self) -> bool {
        self.app.options.filter_replies
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.app.options.request_timeout
    }
}

impl FromRequestParts<AppState> for EngineCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        let admission = parts.extensions.get::<Admission>().cloned();
        let admission = admission.ok_or_else(|| {
            ApiError::of_kind(anser_core::ErrorKind::Internal, "this route calls the engine without being admitted")
        })?;
        let cancel = CancelToken::new();
        Ok(Self {
            work: Work { app: Arc::clone(app), cancel: cancel.clone() },
            admission,
            guard: CancelOnDrop(cancel.clone()),
            running: RunningCalls::register(&app.running, cancel),
        })
    }
}

impl EngineCall {
    /// Runs `work` to its end, or cancels it when the returned future is dropped.
    pub(crate) async fn run<T, F>(self, work: F) -> ApiResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Work) -> ApiResult<T> + Send + 'static,
    {
        let Self { work: shared, admission, guard, running } = self;
        let result = tokio::task::spawn_blocking(move || {
            let _held = (admission.permit, running);
            catch_panic(|| work(&shared))
        })
        .await;
        drop(guard);
        result.unwrap_or_else(|_| Err(ApiError::panicked()))
    }
}

/// Runs `work`; a panic inside becomes the error that a defect is answered with.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> ApiResult<T>) -> ApiResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ApiError::panicked()))
}

/// Cancels when dropped: the future or stream that owns it ends, or its client went away.
pub(crate) struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Cancels at a moment, unless dropped before.
pub(crate) struct CancelAt {
    timer: AbortHandle,
    expired: Arc<AtomicBool>,
}

impl CancelAt {
    /// Must be called inside the runtime.
    pub(crate) fn new(deadline: Instant, cancel: CancelToken) -> Self {
        let expired = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&expired);
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(deadline).await;
            flag.store(true, Ordering::Release);
            cancel.cancel();
        });
        Self { timer: timer.abort_handle(), expired }
    }

    /// Whether the moment has come.
    pub(crate) fn expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }
}

impl Drop for CancelAt {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// The calls that are running, so that a shutdown that waited long enough can stop them.
#[derive(Default)]
pub(crate) struct RunningCalls {
    next: AtomicU64,
    calls: Mutex<HashMap<u64, CancelToken>>,
}

impl RunningCalls {
    fn register(calls: &Arc<Self>, cancel: CancelToken) -> Running {
        let id = calls.next.fetch_add(1, Ordering::Relaxed);
        calls.calls.lock().insert(id, cancel);
        Running { id, calls: Arc::clone(calls) }
    }

    /// Cancels every call that is running and returns how many there were.
    pub(crate) fn cancel_all(&self) -> usize {
        let calls = self.calls.lock();
        calls.values().for_each(CancelToken::cancel);
        calls.len()
    }
}

/// Keeps one call in the list while it runs.
pub(crate) struct Running {
    id: u64,
    calls: Arc<RunningCalls>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.calls.calls.lock().remove(&self.id);
    }
}
