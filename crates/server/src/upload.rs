//! Bodies of `multipart/form-data` (RFC 7578), read part by part without being held in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::header;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

use crate::error::{ApiError, ApiResult};
use crate::extract::content_type;

/// Pieces of a file that may wait for the disk before the network waits too.
const CHANNEL: usize = 8;

/// Most bytes of a part that is not the file.
const MAX_FIELD: usize = 4096;

/// Most bytes between the end of one part and the beginning of the next one's contents.
const MAX_HEAD: u64 = 64 << 10;

/// Most bytes of all parts that are not the file, with what stands between them.
const OVERHEAD: u64 = 1 << 20;

/// How long the rest of a refused body is read, so that its sender comes to see the reply instead of a reset.
const DRAIN: Duration = Duration::from_secs(2);

/// What comes out of an upload, in the order of the body. [`Piece::End`] is the last one of a body that is whole; a body
/// that broke off ends without it.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A part with a short text.
    Field { name: String, value: String },
    /// The part `file` begins.
    File { name: String },
    /// More of the file.
    Bytes(Bytes),
    /// The body is whole.
    End,
}

/// A multipart body that has not been read yet.
pub(crate) struct Upload {
    multipart: Multipart,
    source: Arc<Mutex<Source>>,
    limit: u64,
}

/// The body, with what was read of it.
struct Source {
    body: BodyDataStream,
    /// All bytes so far, and those since the last part or piece that came out.
    read: u64,
    pending: u64,
    limit: u64,
    failure: Option<ApiError>,
    /// Whether the last poll gave a piece: the next one gives way, so that the reader takes one piece at a time instead
    /// of gathering all that the network holds.
    gave: bool,
}

impl Upload {
    /// Takes over a request whose file may have `limit` bytes.
    pub(crate) async fn open(request: Request, limit: u64) -> ApiResult<Self> {
        if content_type(request.headers()).as_deref() != Some("multipart/form-data") {
            return Err(ApiError::unsupported_media_type(
                "this route reads a form; send it as multipart/form-data with the parts purpose and file",
            ));
        }
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        let waits_for_go_ahead = request.headers().contains_key(header::EXPECT);
        let (parts, body) = request.into_parts();
        let whole = limit.saturating_add(OVERHEAD);
        let source =
            Source { body: body.into_data_stream(), read: 0, pending: 0, limit: whole, failure: None, gave: false };
        let source = Arc::new(Mutex::new(source));
        if announced.is_some_and(|length| length > whole) {
            if !waits_for_go_ahead {
                drain(&source).await;
            }
            return Err(ApiError::file_too_large(limit));
        }
        let mut request = Request::from_parts(parts, Body::from_stream(SharedSource(Arc::clone(&source))));
        DefaultBodyLimit::disable().apply(&mut request);
        let multipart = Multipart::from_request(request, &()).await;
        let multipart = multipart.map_err(|rejection| {
            ApiError::malformed_form(format!(
                "the form cannot be read: {rejection}; the Content-Type must name the boundary"
            ))
        })?;
        Ok(Self { multipart, source, limit })
    }

    /// Reads the body into the channel that is returned. The future must be driven while the pieces are taken; it ends
    /// with the failure of the body itself, if there is one. When nobody takes the pieces any more, it reads on for a
    /// short time and ends without one.
    pub(crate) fn read(self) -> (impl Future<Output = ApiResult<()>> + Send, Receiver<Piece>) {
        let (sender, pieces) = channel(CHANNEL);
        (self.run(sender), pieces)
    }

    async fn run(mut self, sender: Sender<Piece>) -> ApiResult<()> {
        let result = self.parts(&sender).await;
        // Without the piece that ends an upload, whoever takes the pieces gives it up.
        drop(sender);
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                drain(&self.source).await;
                Ok(())
            }
            Err(error) => {
                drain(&self.source).await;
                Err(error)
            }
        }
    }

    /// Whether everything was taken.
    async fn parts(&mut self, sender: &Sender<Piece>) -> ApiResult<bool> {
        let (source, limit) = (Arc::clone(&self.source), self.limit);
        let failed = |error: MultipartError| failure(&source, &error, limit);
        while let Some(mut field) = self.multipart.next_field().await.map_err(failed)? {
            source.lock().pending = 0;
            let name = field.name().unwrap_or_default().to_owned();
            if name == "file" {
                let name = field.file_name().unwrap_or_default().to_owned();
                if sender.send(Piece::File { name }).await.is_err() {
                    return Ok(false);
                }
                while let Some(bytes) = field.chunk().await.map_err(failed)? {
                    source.lock().pending = 0;
                    if sender.send(Piece::Bytes(bytes)).await.is_err() {
                        return Ok(false);
                    }
                }
                continue;
            }
            let mut value = Vec::new();
            while let Some(bytes) = field.chunk().await.map_err(failed)? {
                source.lock().pending = 0;
                if value.len() + bytes.len() > MAX_FIELD {
                    let name = crate::error::excerpt(&name);
                    let message = format!(
                        "the part {name} has more than {MAX_FIELD} bytes; the data itself goes into the part file"
                    );
                    return Err(ApiError::invalid(name, message));
                }
                value.extend_from_slice(&bytes);
            }
            let value = String::from_utf8(value).map_err(|_| {
                let name = crate::error::excerpt(&name);
                let message = format!("the part {name} is not UTF-8; send it as text");
                ApiError::invalid(name, message)
            })?;
            if sender.send(Piece::Field { name, value }).await.is_err() {
                return Ok(false);
            }
        }
        Ok(sender.send(Piece::End).await.is_ok())
    }
}

/// Why the body cannot be read on: what its source says, or else how it is put together.
fn failure(source: &Mutex<Source>, error: &MultipartError, limit: u64) -> ApiError {
    let mut source = source.lock();
    if source.read > source.limit {
        return ApiError::file_too_large(limit);
    }
    source.failure.take().unwrap_or_else(|| {
        let text = error.body_text();
        ApiError::malformed_form(format!("the form cannot be read: {text}; send it again as multipart/form-data"))
    })
}

/// Reads on for a short time, keeping nothing.
async fn drain(source: &Arc<Mutex<Source>>) {
    {
        let mut source = source.lock();
        source.failure = None;
        source.pending = 0;
        source.limit = source.read.saturating_mul(2).max(source.limit);
    }
    let mut rest = SharedSource(Arc::clone(source));
    let reading = async {
        while let Some(Ok(_)) = rest.next().await {
            rest.0.lock().pending = 0;
        }
    };
    let _ = timeout(DRAIN, reading).await;
}

struct SharedSource(Arc<Mutex<Source>>);

impl Stream for SharedSource {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut source = self.0.lock();
        if std::mem::take(&mut source.gave) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let stopped = || Poll::Ready(Some(Err(std::io::Error::other("the body is not read on"))));
        match std::task::ready!(Pin::new(&mut source.body).poll_next(context)) {
            None => Poll::Ready(None),
            Some(Err(error)) => {
                let text = format!("the request body broke off after {} bytes: {error}", source.read);
                source.failure = Some(ApiError::malformed_form(text));
                stopped()
            }
            Some(Ok(bytes)) => {
                source.read += bytes.len() as u64;
                source.pending += bytes.len() as u64;
                if source.read > source.limit {
                    return stopped();
                }
                // One piece may hold the end of a file and much more; only what came after it counts.
                if source.pending > MAX_HEAD + bytes.len() as u64 {
                    let text = format!(
                        "the form has more than {MAX_HEAD} bytes without a part; send purpose and file as its parts"
                    );
                    source.failure = Some(ApiError::malformed_form(text));
                    return stopped();
                }
                source.gave = true;
                Poll::Ready(Some(Ok(bytes)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HEAD: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";

    #[tokio::test]
    async fn what_the_disk_has_not_taken_stays_in_the_network() {
        let pulled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&pulled);
        let pieces =
            std::iter::once(Bytes::from(HEAD)).chain(std::iter::repeat_n(Bytes::from(vec![b'x'; 1 << 16]), 10_000));
        let pieces = pieces.map(move |piece| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece)
        });
        let request = Request::post("/").header("content-type", "multipart/form-data; boundary=b");
        let request = request.body(Body::from_stream(tokio_stream::iter(pieces))).unwrap();
        let upload = Upload::open(request, 1 << 30).await.ok().unwrap();
        let (reading, mut taken) = upload.read();
        let mut reading = Box::pin(reading);
        assert!(timeout(Duration::from_millis(50), &mut reading).await.is_err(), "nobody takes the pieces");
        let waiting = pulled.load(Ordering::Relaxed);
        assert!(waiting <= CHANNEL + 4, "{waiting} pieces were gathered");
        assert!(matches!(taken.recv().await, Some(Piece::File { .. })));
    }
}
