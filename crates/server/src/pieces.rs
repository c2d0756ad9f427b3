//! Bodies that are written while they are sent: results of jobs and exports.

use std::io::{self, Write};

use anser_engine::EngineError;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use crate::call::{EngineCall, Work, catch_panic};
use crate::error::{ApiError, ApiResult};

/// Bytes that are sent at a time, and how many such pieces may wait for the network.
const PIECE: (usize, usize) = (64 << 10, 4);

/// Sends what `write` writes of what `open` opened, piece by piece, after the headers that it gives. A reader who is not
/// done in time is cut off.
pub(crate) async fn stream<T: Send + 'static>(
    call: EngineCall,
    open: impl FnOnce(&Work) -> ApiResult<(T, HeaderMap)> + Send + 'static,
    write: impl FnOnce(T, &Work, &mut Pieces) -> Result<(), EngineError> + Send + 'static,
) -> ApiResult<Response> {
    let EngineCall { work, admission, guard, running } = call;
    let opening = tokio::task::spawn_blocking(move || catch_panic(|| open(&work)).map(|opened| (work, opened)));
    let (work, (opened, headers)) = opening.await.unwrap_or_else(|_| Err(ApiError::panicked()))?;
    let (sender, pieces) = channel(PIECE.1);
    let mut out = Pieces { sender, runtime: Handle::current(), deadline: admission.deadline, waiting: Vec::new() };
    tokio::task::spawn_blocking(move || {
        let _held = (admission.permit, running, guard);
        let written = catch_panic(|| Ok(write(opened, &work, &mut out)?));
        if let Err(error) = written.and_then(|()| out.flush().map_err(|e| ApiError::malformed(e.to_string()))) {
            tracing::warn!(error = error.message(), "a body could not be sent whole");
            // A body that ends with an error is a broken connection to the client, not a shorter file.
            out.fail(error.message());
        }
    });
    Ok((headers, Body::from_stream(ReceiverStream::new(pieces))).into_response())
}

/// Sends what is written in pieces of one size, waiting while the network is slower.
pub(crate) struct Pieces {
    sender: Sender<io::Result<Bytes>>,
    runtime: Handle,
    deadline: Instant,
    waiting: Vec<u8>,
}

impl Pieces {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sending = async { timeout_at(self.deadline, self.sender.send(piece)).await };
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader was too slow")),
        }
    }

    fn fail(&self, why: &str) {
        let _ = self.send(Err(io::Error::other(why.to_owned())));
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE.0 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.waiting);
        if piece.is_empty() { Ok(()) } else { self.send(Ok(piece.into())) }
    }
}
