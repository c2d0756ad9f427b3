//! Reading requests: bodies within their limit, JSON with errors that name the place, path and query parameters.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Duration, timeout};
use tokio_stream::StreamExt;

use crate::error::{ApiError, ApiResult, excerpt};
use crate::state::AppState;

/// How long the rest of a refused body is read, so that its sender comes to see the reply instead of a reset.
const DRAIN: Duration = Duration::from_secs(2);

/// A JSON body of ordinary size.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be as large as one with documents.
pub(crate) struct LargeJson<T>(pub(crate) T);

/// A body as it came, at most as large as one with documents may be.
pub(crate) struct LargeBody(pub(crate) Bytes);

/// Parameters of the path, decoded.
pub(crate) struct Path<T>(pub(crate) T);

/// Parameters of the query; an unknown one is refused by name.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> ApiResult<Self> {
        json_body(request, app.options.max_json_bytes).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for LargeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> ApiResult<Self> {
        json_body(request, app.options.max_body_bytes).await.map(Self)
    }
}

impl FromRequest<AppState> for LargeBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> ApiResult<Self> {
        read_body(request, app.options.max_body_bytes).await.map(Self)
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        match AxumPath::from_request_parts(parts, app).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::invalid("path", format!("the path cannot be read: {rejection}"))),
        }
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        match AxumQuery::from_request_parts(parts, app).await {
            Ok(AxumQuery(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let param = quoted(&text).map_or_else(|| "query".to_owned(), str::to_owned);
                Err(ApiError::invalid(param, text))
            }
        }
    }
}

async fn json_body<T: DeserializeOwned>(request: Request, limit: usize) -> ApiResult<T> {
    if content_type(request.headers()).as_deref() != Some("application/json") {
        return Err(ApiError::unsupported_media_type(
            "this route reads JSON; send it with the header Content-Type: application/json",
        ));
    }
    parse_json(&read_body(request, limit).await?)
}

/// The media type of a request's body without its parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

/// Parses a body. Errors name the line and column, and the key at fault as their parameter.
pub(crate) fn parse_json<'de, T: serde::Deserialize<'de>>(body: &'de [u8]) -> ApiResult<T> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        json_error(&path, error.inner())
    })?;
    reader.end().map_err(|error| json_error(".", &error))?;
    Ok(value)
}

/// Reads an object that was parsed already.
pub(crate) fn from_value<T: DeserializeOwned>(object: serde_json::Map<String, Value>) -> ApiResult<T> {
    serde_path_to_error::deserialize(Value::Object(object))
        .map_err(|error| json_error(&error.path().to_string(), error.inner()))
}

/// Reads a value that was parsed already and lay below `key`.
pub(crate) fn from_value_at<T: DeserializeOwned>(value: Value, key: &str) -> ApiResult<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." | "?" => key.to_owned(),
            below => format!("{key}.{below}"),
        };
        json_error(&path, error.inner())
    })
}

fn json_error(path: &str, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return ApiError::malformed(format!("the body is not valid JSON: {text}"));
    }
    let api = match field_at_fault(path, &text) {
        Some(field) => ApiError::invalid(field, format!("the body cannot be used: {text}")),
        None => ApiError::malformed(format!("the body cannot be used: {text}")),
    };
    if text.starts_with("unknown field") { api.with_code("unknown_parameter") } else { api }
}

/// The key that an error is about: the one it names, below the path at which it happened.
fn field_at_fault(path: &str, text: &str) -> Option<String> {
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| text.strip_prefix(start)?.split('`').next());
    match (path, named) {
        ("." | "?", None) => None,
        ("." | "?", Some(name)) => Some(excerpt(name)),
        (path, Some(name)) if path != name && !path.ends_with(&format!(".{name}")) => {
            Some(excerpt(&format!("{path}.{name}")))
        }
        (path, _) => Some(excerpt(path)),
    }
}

/// The first name between backquotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

/// The whole body, or `413` once it is known to be larger than `limit`.
pub(crate) async fn read_body(request: Request, limit: usize) -> ApiResult<Bytes> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let waits_for_go_ahead = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    if announced.is_some_and(|length: u64| length > limit as u64) {
        // As much in all as of a body whose length was not announced: what stays unread resets the connection under the answer.
        if !waits_for_go_ahead {
            drain(body, limit.saturating_mul(2)).await;
        }
        return Err(ApiError::body_too_large(limit));
    }
    let mut read = Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::malformed(format!("the request body broke off after {} bytes: {error}", read.len()))
        })?;
        if chunk.len() > limit - read.len() {
            drain(Body::from_stream(chunks), limit).await;
            return Err(ApiError::body_too_large(limit));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// Reads on for a short time and at most about `most` bytes, keeping nothing.
async fn drain(body: Body, most: usize) {
    let mut chunks = body.into_data_stream();
    let reading = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            read += chunk.len();
            if read > most {
                break;
            }
        }
    };
    let _ = timeout(DRAIN, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::answers::AnswerBody;
    use crate::wire::collections::DeleteDocuments;
    use crate::wire::error::ErrorDetail;
    use crate::wire::search::SearchBody;
    use proptest::prelude::*;

    fn failure<'de, T: serde::Deserialize<'de>>(body: &'de str) -> ErrorDetail {
        parse_json::<T>(body.as_bytes()).err().unwrap().body().error
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let error = failure::<SearchBody>("{\n  \"query\": }");
        assert!(error.message.contains("line 2 column 12"), "{}", error.message);
        assert_eq!(error.code, "invalid_json");
        assert!(failure::<SearchBody>("{\"query\":\"a\"} x").message.contains("trailing"));
    }

    #[test]
    fn keys_at_fault_are_named() {
        let unknown = failure::<SearchBody>(r#"{"query":"a","qurey":1}"#);
        assert_eq!((unknown.param.as_deref(), unknown.code.as_ref()), (Some("qurey"), "unknown_parameter"));
        assert!(unknown.message.contains("qurey") && unknown.message.contains("`query`"), "{}", unknown.message);
        assert_eq!(failure::<AnswerBody>("{}").param.as_deref(), Some("question"));
        assert_eq!(failure::<SearchBody>(r#"{"query":"a","limit":"x"}"#).param.as_deref(), Some("limit"));
        assert_eq!(failure::<DeleteDocuments>(r#"{"ids":["a",""]}"#).param.as_deref(), Some("ids[1]"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_json::<SearchBody>(&body);
        }
    }
}
