//! Failures: those that keep the service from running, and those that a request is answered with.

use std::borrow::Cow;
use std::net::SocketAddr;

use anser_core::ErrorKind;
use anser_engine::EngineError;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::wire::error::{ErrorBody, ErrorDetail};

/// Tells clients that follow OpenAI's conventions whether to send the same request again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why the service cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program listens there.
    #[error("port {} is in use on {}; stop the program that holds it or choose another port with --listen", address.port(), address.ip())]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address can be reached from other machines, but no key is asked for.
    #[error(
        "{address} can be reached from other machines, so API keys are required; set at least one or listen on 127.0.0.1"
    )]
    KeysRequired {
        /// The address.
        address: SocketAddr,
    },
    /// A key cannot be used.
    #[error("{reason}; give each key as non-empty text")]
    BadKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A limit of 0 would refuse everything.
    #[error("{option} is 0, which would refuse every request; give a value above 0")]
    ZeroOption {
        /// The option's name.
        option: &'static str,
    },
    /// The listening socket failed.
    #[error("the service stopped because its socket failed: {source}")]
    Serve {
        /// What the system said.
        source: std::io::Error,
    },
}

impl ServerError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::PortInUse { .. } => ErrorKind::Conflict,
            Self::Bind { .. } | Self::Serve { .. } => ErrorKind::Io,
            Self::KeysRequired { .. } | Self::BadKey { .. } | Self::ZeroOption { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl From<ServerError> for anser_core::Error {
    fn from(error: ServerError) -> Self {
        Self::new(error.kind(), error.to_string()).with_source(error)
    }
}

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// What a request is answered with when it fails, in OpenAI's shape.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Cow<'static, str>,
    message: String,
    param: Option<String>,
    retry_after: Option<u64>,
    should_retry: Option<bool>,
}

/// Left on a failed response so that the log line can say why.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) String);

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: Cow::Borrowed(code),
            message: message.into(),
            param: None,
            retry_after: None,
            should_retry: None,
        }
    }

    /// A failure of this kind: the one place that decides status, type and code.
    pub(crate) fn of_kind(kind: ErrorKind, message: impl Into<String>) -> Self {
        use StatusCode as S;
        let (status, wire_type, code) = match kind {
            ErrorKind::InvalidInput => (S::BAD_REQUEST, "invalid_request_error", "invalid_value"),
            ErrorKind::NotFound => (S::NOT_FOUND, "invalid_request_error", "not_found"),
            ErrorKind::Conflict => (S::CONFLICT, "invalid_request_error", "conflict"),
            ErrorKind::TooLarge => (S::PAYLOAD_TOO_LARGE, "invalid_request_error", "too_large"),
            ErrorKind::Overloaded => (S::TOO_MANY_REQUESTS, "rate_limit_error", "overloaded"),
            ErrorKind::Cancelled => (S::SERVICE_UNAVAILABLE, "server_error", "cancelled"),
            ErrorKind::Unavailable => (S::SERVICE_UNAVAILABLE, "server_error", "unavailable"),
            ErrorKind::Corrupt => (S::INTERNAL_SERVER_ERROR, "server_error", "corrupt_data"),
            ErrorKind::Io => (S::INTERNAL_SERVER_ERROR, "server_error", "io_error"),
            ErrorKind::Internal => (S::INTERNAL_SERVER_ERROR, "server_error", "internal_error"),
        };
        let error = Self::new(status, wire_type, code, message);
        match kind {
            ErrorKind::Conflict => Self { should_retry: Some(false), ..error },
            ErrorKind::Overloaded => Self { retry_after: Some(1), ..error },
            _ => error,
        }
    }

    /// The request holds something that cannot be accepted.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of_kind(ErrorKind::InvalidInput, message).with_param(param)
    }

    /// A parameter of OpenAI's that this service does not implement and that changes the reply.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(param, message).with_code("unsupported_parameter")
    }

    /// Something named in the path or body does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::of_kind(ErrorKind::NotFound, message)
    }

    /// No model of that name does what was asked; `hint` says which one does.
    pub(crate) fn model_not_found(name: &str, hint: &str) -> Self {
        let message = format!("the model `{}` is not served here; {hint}", excerpt(name));
        Self::not_found(message).with_code("model_not_found").with_param("model")
    }

    /// A base model cannot be deleted: it belongs to the service, not to its callers.
    pub(crate) fn base_model_kept(name: &str) -> Self {
        let message =
            format!("the model `{}` is a base model and stays; only tuned models can be deleted", excerpt(name));
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", "base_model", message).with_param("model")
    }

    /// The body is not JSON.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::of_kind(ErrorKind::InvalidInput, message).with_code("invalid_json")
    }

    /// The body is not a form whose parts can be read.
    pub(crate) fn malformed_form(message: impl Into<String>) -> Self {
        Self::of_kind(ErrorKind::InvalidInput, message).with_code("invalid_form")
    }

    /// A file above its limit.
    pub(crate) fn file_too_large(limit: u64) -> Self {
        let message =
            format!("the file is larger than the limit of {limit} bytes; split it and send the parts one by one");
        Self::of_kind(ErrorKind::TooLarge, message).with_code("file_too_large").with_param("file")
    }

    /// A body above its limit.
    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than the limit of {limit} bytes; send it in smaller parts");
        Self::of_kind(ErrorKind::TooLarge, message).with_code("body_too_large")
    }

    /// A body whose `Content-Type` is missing or not one of those accepted.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "invalid_request_error", "unsupported_media_type", message)
    }

    /// No route of that path.
    pub(crate) fn unknown_route(method: &str, path: &str) -> Self {
        let message = format!("there is nothing at {method} {}; see GET / or the README for the routes", excerpt(path));
        Self::not_found(message).with_code("unknown_url")
    }

    /// The route exists, but not with that method.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("{} does not accept {method}; the Allow header lists what it accepts", excerpt(path));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "method_not_allowed", message)
    }

    /// No key, or one that is not known.
    pub(crate) fn unauthorized() -> Self {
        let message = "a valid API key is required; send it as \"Authorization: Bearer <key>\"";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", "invalid_api_key", message)
    }

    /// A request that a foreign web page may have caused.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", "foreign_origin", message)
    }

    /// More requests than are worked on at the same time.
    pub(crate) fn too_many_requests(limit: usize) -> Self {
        let message = format!("{limit} requests are being worked on, which is the limit; try again in a moment");
        Self::of_kind(ErrorKind::Overloaded, message)
    }

    /// The request took longer than it may. Sending it again would take as long, so clients are told not to.
    pub(crate) fn timed_out(after: std::time::Duration) -> Self {
        let message = format!("the request took longer than the limit of {} s and was stopped", after.as_secs_f64());
        let error = Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "timeout", message);
        Self { should_retry: Some(false), ..error }
    }

    /// The service is not ready.
    pub(crate) fn not_ready(reason: impl Into<String>) -> Self {
        let error = Self::of_kind(ErrorKind::Unavailable, reason).with_code("not_ready");
        Self { retry_after: Some(1), ..error }
    }

    /// A defect: something panicked. What it said is in the log, not in the reply.
    pub(crate) fn panicked() -> Self {
        Self::of_kind(
            ErrorKind::Internal,
            "the request failed because of a defect in the service; the log has the details under the request's id",
        )
    }

    #[must_use]
    pub(crate) fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Cow::Borrowed(code);
        self
    }

    /// Chat clients expect an overlong conversation as 400 with a code of its own, not as a body that is too large.
    #[must_use]
    pub(crate) fn into_context_overflow(mut self, param: &'static str) -> Self {
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            self.status = StatusCode::BAD_REQUEST;
            self = self.with_code("context_length_exceeded").with_param(param);
        }
        self
    }

    /// The JSON that goes into the body or into a stream.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail {
                message: self.message.clone(),
                kind: self.kind,
                param: self.param.clone(),
                code: self.code.clone(),
            },
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// The first characters of something the caller sent, safe to put into a message.
pub(crate) fn excerpt(text: &str) -> String {
    anser_core::excerpt(text, 80)
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        // A collection's failure knows the parameter at fault once it is one of the shared kind.
        let error = match error {
            EngineError::Index(index) => EngineError::Core(index.into()),
            other => other,
        };
        let api = Self::of_kind(error.kind(), error.to_string());
        let api = match &error {
            EngineError::TrainingFile { .. } => api.with_code("invalid_training_file"),
            EngineError::WrongState { .. } => api.with_code("wrong_state"),
            error if error.kind() == ErrorKind::NotFound && error.param() == Some("model") => {
                api.with_code("model_not_found")
            }
            _ => api,
        };
        match error.param() {
            Some(param) => api.with_param(param),
            None => api,
        }
    }
}

impl From<anser_core::Error> for ApiError {
    fn from(error: anser_core::Error) -> Self {
        Self::from(EngineError::from(error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(retry) = self.should_retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(if retry { "true" } else { "false" }));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status.is_server_error() {
            response.extensions_mut().insert(Failure(self.message));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_conflict_is_not_retried_and_an_overload_says_when() {
        let conflict = ApiError::of_kind(ErrorKind::Conflict, "taken").into_response();
        assert_eq!(conflict.status(), 409);
        assert_eq!(conflict.headers()["x-should-retry"], "false");
        let full = ApiError::of_kind(ErrorKind::Overloaded, "full").into_response();
        assert_eq!(full.status(), 429);
        assert_eq!(full.headers()["retry-after"], "1");
    }

    #[test]
    fn all_four_keys_are_always_present() {
        let json = serde_json::to_value(ApiError::not_found("gone").body()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"error": {"message": "gone", "type": "invalid_request_error", "param": null, "code": "not_found"}})
        );
    }

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt("a\nb"), "a\\nb");
        assert_eq!(excerpt(&"x".repeat(100)).chars().count(), 81);
    }
}
