//! Request ids, one log line and the metrics of every request, kept until the last byte of its reply.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};

use crate::error::Failure;
use crate::state::AppState;

/// Carries a request's id in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id accepted from a caller, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The status in logs and metrics of a request whose client left before there was a reply.
const CLIENT_CLOSED: u16 = 499;

/// Gives the request an id, and logs and counts it when its reply has been sent or dropped.
pub(crate) async fn observe(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = incoming_id(&request).unwrap_or_else(new_id);
    // Handlers and inner layers see the id that is really used.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut record = Record::begin(app, &request, &id);
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    record.status = response.status().as_u16();
    record.answered_after = Some(record.began.elapsed());
    record.failure = response.extensions_mut().remove::<Failure>().map(|failure| failure.0);
    response.map(|inner| Body::new(ObservedBody { inner, record }))
}

fn incoming_id(request: &Request) -> Option<HeaderValue> {
    let id = request.headers().get(REQUEST_ID)?;
    let sane = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let bytes = id.as_bytes();
    (!bytes.is_empty() && bytes.len() <= MAX_ID_BYTES && bytes.iter().all(sane)).then(|| id.clone())
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// One request; written down when dropped.
struct Record {
    app: AppState,
    began: Instant,
    id: HeaderValue,
    method: String,
    /// The route's template, so that ids and names in paths stay out of logs and metrics.
    route: String,
    status: u16,
    answered_after: Option<Duration>,
    completed: bool,
    failure: Option<String>,
}

impl Record {
    fn begin(app: AppState, request: &Request, id: &HeaderValue) -> Self {
        app.metrics.request_began();
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        Self {
            began: Instant::now(),
            id: id.clone(),
            method: method_label(request.method()).to_owned(),
            route: route.to_owned(),
            status: CLIENT_CLOSED,
            answered_after: None,
            completed: false,
            failure: None,
            app,
        }
    }
}

/// Methods that nobody uses would let a caller invent labels without end.
fn method_label(method: &axum::http::Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "OTHER",
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.app.metrics.request_ended(&self.route, &self.method, self.status, took);
        let id = self.id.to_str().unwrap_or_default();
        let ms = took.as_secs_f64() * 1e3;
        let first_byte_ms = self.answered_after.unwrap_or(took).as_secs_f64() * 1e3;
        let (method, route, status, completed) = (&*self.method, &*self.route, self.status, self.completed);
        if let Some(error) = &self.failure {
            tracing::error!(method, route, status, ms, first_byte_ms, completed, id, error, "request failed");
        } else {
            tracing::info!(method, route, status, ms, first_byte_ms, completed, id, "request");
        }
    }
}

/// A reply's body that keeps the record of its request until it ends.
struct ObservedBody {
    inner: Body,
    record: Record,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if frame.is_none() || self.inner.is_end_stream() {
            self.record.completed = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Writes down what a handler's panic said.
pub(crate) fn log_panic(panic: &(dyn std::any::Any + Send)) {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    tracing::error!(message, "a handler panicked");
}
