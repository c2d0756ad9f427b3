//! How many requests are worked on at the same time, and for how long.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use crate::call::Admission;
use crate::error::ApiError;
use crate::state::AppState;

/// Lets a request in while there is room, and answers it with a timeout once its time is over. Dropping the handler
/// then cancels what it was waiting for.
pub(crate) async fn admit(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&app.permits).try_acquire_owned() else {
        return ApiError::too_many_requests(app.options.max_in_flight).into_response();
    };
    let limit = app.options.request_timeout;
    let admission = Admission { permit: Arc::new(permit), deadline: Instant::now() + limit };
    let deadline = admission.deadline;
    request.extensions_mut().insert(admission);
    match timeout_at(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::timed_out(limit).into_response(),
    }
}
