//! Server-sent events from work that blocks: a bounded channel between the thread that makes them and the connection.
//!
//! A client that reads slowly slows the work down; one that goes away cancels it; one that stops reading is given up
//! when the request's time is over.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::call::{CancelAt, EngineCall, Work, catch_panic};
use crate::error::{ApiError, ApiResult};

/// Events that may wait for a slow client before the work waits too.
const CHANNEL: usize = 64;

/// How often a comment is sent while nothing else is, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long the status line waits for the first event. A failure within it is answered with its own status; a later
/// one can only be told inside the stream.
const FIRST_EVENT: Duration = Duration::from_secs(1);

/// How a family of routes writes its failures into a stream.
pub(crate) type FailureEvent = fn(&ApiError) -> Event;

/// Where the work puts its events.
pub(crate) struct EventSink<'a> {
    sender: Sender<ApiResult<Event>>,
    runtime: Handle,
    deadline: Instant,
    work: &'a Work,
}

impl EventSink<'_> {
    /// Sends one event of data alone.
    pub(crate) fn data(&self, data: &impl Serialize) -> ApiResult<()> {
        self.send(json_event(Event::default(), data)?);
        Ok(())
    }

    /// Sends one event with a name.
    pub(crate) fn named(&self, name: &str, data: &impl Serialize) -> ApiResult<()> {
        self.send(json_event(Event::default().event(name), data)?);
        Ok(())
    }

    /// Sends one event whose data is not JSON.
    pub(crate) fn text(&self, text: &str) {
        self.send(Event::default().data(text));
    }

    /// Waits for room while the client is slow. When it is gone, or time is up, the work is cancelled instead.
    fn send(&self, event: Event) {
        let delivered = match self.sender.try_send(Ok(event)) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(event)) => {
                let sent = self.runtime.block_on(timeout_at(self.deadline, self.sender.send(event)));
                matches!(sent, Ok(Ok(())))
            }
        };
        if !delivered {
            self.work.cancel.cancel();
        }
    }
}

fn json_event(event: Event, data: &impl Serialize) -> ApiResult<Event> {
    event.json_data(data).map_err(|error| {
        ApiError::of_kind(anser_core::ErrorKind::Internal, format!("an event could not be written: {error}"))
    })
}

impl EngineCall {
    /// Runs `work` and streams the events it sends. A failure before the first event is returned; a later one becomes
    /// an event made by `failure`, after which the stream ends.
    pub(crate) async fn stream<F>(self, failure: FailureEvent, work: F) -> ApiResult<Response>
    where
        F: FnOnce(&Work, &EventSink<'_>) -> ApiResult<()> + Send + 'static,
    {
        let Self { work: shared, admission, guard, running } = self;
        let (sender, mut events) = channel(CHANNEL);
        let (runtime, deadline) = (Handle::current(), admission.deadline);
        let timer = CancelAt::new(deadline, shared.cancel.clone());
        tokio::task::spawn_blocking(move || {
            let _held = (admission.permit, running);
            let result = catch_panic(|| {
                work(&shared, &EventSink { sender: sender.clone(), runtime: runtime.clone(), deadline, work: &shared })
            });
            let result = match result {
                Err(_) if timer.expired() => Err(ApiError::timed_out(shared.timeout())),
                other => other,
            };
            if let Err(error) = result {
                // A client that reads nothing does not learn why either.
                let grace = Instant::now() + FIRST_EVENT;
                let _ = runtime.block_on(timeout_at(grace, sender.send(Err(error))));
            }
        });

        let first = match timeout(FIRST_EVENT, events.recv()).await {
            Ok(Some(Err(error))) => return Err(error),
            Ok(first) => first,
            Err(_) => None,
        };
        Ok(respond(first, events, failure, guard))
    }
}

fn respond<G>(
    first: Option<ApiResult<Event>>,
    events: Receiver<ApiResult<Event>>,
    failure: FailureEvent,
    guard: G,
) -> Response
where
    G: Send + 'static,
{
    let first = tokio_stream::iter(first);
    let stream = first.chain(ReceiverStream::new(events)).map(move |item| {
        let _held = &guard;
        let event = item.unwrap_or_else(|error| {
            tracing::warn!(error = error.message(), "a stream ended early");
            failure(&error)
        });
        Ok::<_, Infallible>(event)
    });
    // Proxies that buffer would hold the text back until it is complete.
    let headers = [("x-accel-buffering", "no")];
    (headers, Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))).into_response()
}

/// OpenAI's clients take any data with a key `error` for a failure.
pub(crate) fn openai_failure(error: &ApiError) -> Event {
    json_event(Event::default(), &error.body()).unwrap_or_default()
}

/// An event of the responses API, which its clients raise because it has a key `error` as well.
pub(crate) fn responses_failure(error: &ApiError) -> Event {
    let body = error.body().error;
    let (code, message, param) = (&body.code, &body.message, &body.param);
    let data = serde_json::json!({"type": "error", "code": code, "message": message, "param": param, "error": body});
    json_event(Event::default().event("error"), &data).unwrap_or_default()
}

/// Our own streams name every event.
pub(crate) fn native_failure(error: &ApiError) -> Event {
    json_event(Event::default().event("error"), &error.body()).unwrap_or_default()
}
