//! OpenAI's error shape, used by every route.

use std::borrow::Cow;

use serde::Serialize;

/// The body of every failed reply.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetail,
}

/// What went wrong; all four keys are always present.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDetail {
    pub(crate) message: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Cow<'static, str>,
}
