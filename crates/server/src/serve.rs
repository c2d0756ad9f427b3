//! Listening, serving, and stopping without cutting anybody off.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anser_engine::{Engine, RunnerOptions};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::router::router_for;
use crate::state::{App, AppState};
use crate::{ServerError, ServerOptions};

/// How long to wait before a failed model load is tried again: at first, and at most.
const RELOAD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// How long cancelled requests may take to say so after the grace is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Listens on `address`; port 0 takes any free one.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortInUse { address },
        _ => ServerError::Bind { address, source },
    })
}

/// Serves and runs jobs until `shutdown` is ready, then lets running requests, streams included, finish within
/// [`ServerOptions::shutdown_grace`]; what still runs after that is cancelled. Jobs stop at once with their state saved,
/// and go on when jobs are run again.
///
/// Fails at once with [`ServerError::KeysRequired`] when other machines can reach the listener and no key is set.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    options: ServerOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    let address = listener.local_addr().map_err(|source| ServerError::Serve { source })?;
    options.validate_for(address)?;
    let (grace, preload) = (options.shutdown_grace, options.preload);
    let jobs = engine.run_jobs(&RunnerOptions { analyses: options.analyses });
    let app = App::new(engine, options);
    let loading = preload.then(|| tokio::spawn(load_models(Arc::clone(&app))));

    // Pieces of a stream are small; waiting to send them together would delay each.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let (stopping, stop_begun) = oneshot::channel();
    let server = axum::serve(listener, router_for(&app)).with_graceful_shutdown(async move {
        shutdown.await;
        tracing::info!("shutting down: no new requests are taken, running ones may finish");
        let _ = stopping.send(());
    });
    let (stop_jobs, jobs_stop) = oneshot::channel::<()>();
    // Stopping takes a moment; the requests that may finish need not wait for it.
    let jobs = tokio::spawn(async move {
        let _ = jobs_stop.await;
        let _ = tokio::task::spawn_blocking(move || jobs.shutdown()).await;
    });
    tracing::info!(%address, "listening");

    let mut server = std::pin::pin!(server.into_future());
    let mut stop_jobs = Some(stop_jobs);
    let grace_over = async {
        match stop_begun.await {
            Ok(()) => {
                drop(stop_jobs.take());
                tokio::time::sleep(grace).await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = &mut server => result,
        () = grace_over => {
            let cancelled = app.running.cancel_all();
            tracing::warn!(cancelled, "the grace for running requests is over; those left are cancelled");
            tokio::time::timeout(LAST_WORDS, server).await.unwrap_or(Ok(()))
        }
    };
    if let Some(loading) = loading {
        loading.abort();
    }
    drop(stop_jobs);
    if jobs.await.is_err() {
        tracing::error!("the jobs could not be stopped in an orderly way; they go on at the next start");
    }
    result.map_err(|source| ServerError::Serve { source })
}

/// Loads the models in the background, trying again after failures.
async fn load_models(app: AppState) {
    let (mut wait, longest) = RELOAD;
    loop {
        let loader = Arc::clone(&app);
        match tokio::task::spawn_blocking(move || loader.load_models()).await {
            Ok(Ok(())) => {
                tracing::info!("all models are loaded");
                return;
            }
            Ok(Err(error)) => tracing::warn!(%error, retry_s = wait.as_secs(), "a model cannot be loaded yet"),
            Err(error) => tracing::error!(%error, retry_s = wait.as_secs(), "loading the models failed"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}
