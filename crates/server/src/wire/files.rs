//! Uploaded files as OpenAI's clients see them.

use anser_engine::{FilePurpose, StoredFile};
use serde::Serialize;

use crate::error::{ApiError, ApiResult, excerpt};
use crate::wire::list::Identified;

/// Seconds after which a file may be told to expire.
const EXPIRY_SECONDS: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// One file.
#[derive(Debug, Serialize)]
pub(crate) struct File {
    id: String,
    object: &'static str,
    bytes: u64,
    created_at: i64,
    expires_at: Option<i64>,
    filename: String,
    purpose: &'static str,
    status: &'static str,
    status_details: Option<String>,
}

impl From<StoredFile> for File {
    fn from(file: StoredFile) -> Self {
        Self {
            id: file.id,
            object: "file",
            bytes: file.bytes,
            created_at: file.created_at,
            expires_at: file.expires_at,
            filename: file.filename,
            purpose: file.purpose.as_str(),
            status: file.status.as_str(),
            status_details: file.status_details,
        }
    }
}

impl Identified for File {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The purposes that a caller may upload for; the others are those of results.
const UPLOADS: &str = "fine-tune, assistants, batch, vision, user_data or evals";

/// The purpose of an upload.
pub(crate) fn upload_purpose(text: &str) -> ApiResult<FilePurpose> {
    FilePurpose::parse(text)
        .filter(|purpose| purpose.is_uploaded())
        .ok_or_else(|| ApiError::invalid("purpose", format!("purpose is \"{}\"; send {UPLOADS}", excerpt(text))))
}

/// The purpose that a list is narrowed to.
pub(crate) fn listed_purpose(text: &str) -> ApiResult<FilePurpose> {
    FilePurpose::parse(text).ok_or_else(|| {
        let text = excerpt(text);
        let message =
            format!("purpose is \"{text}\"; use {UPLOADS}, or assistants_output, batch_output or fine-tune-results");
        ApiError::invalid("purpose", message)
    })
}

/// When an upload expires, from the two parts that say so; both or neither are sent.
pub(crate) fn expiry(anchor: Option<&str>, seconds: Option<&str>) -> ApiResult<Option<u64>> {
    const SECONDS: &str = "expires_after[seconds]";
    match anchor {
        None | Some("created_at") => {}
        Some(other) => {
            let message = format!("expires_after[anchor] is \"{}\"; the only anchor is created_at", excerpt(other));
            return Err(ApiError::invalid("expires_after[anchor]", message));
        }
    }
    let Some(seconds) = seconds else {
        return match anchor {
            None => Ok(None),
            Some(_) => Err(ApiError::invalid(SECONDS, format!("{SECONDS} is missing; send it beside the anchor"))),
        };
    };
    seconds.trim().parse().ok().filter(|seconds| EXPIRY_SECONDS.contains(seconds)).map(Some).ok_or_else(|| {
        let (least, most) = (EXPIRY_SECONDS.start(), EXPIRY_SECONDS.end());
        let seconds = excerpt(seconds);
        ApiError::invalid(SECONDS, format!("{SECONDS} is \"{seconds}\"; give a whole number from {least} to {most}"))
    })
}

/// The media type of a stored file, by the ending of its name. Nothing that a browser would run is among them.
pub(crate) fn media_type(filename: &str) -> &'static str {
    let ending = filename.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("jsonl" | "ndjson") => "application/jsonl",
        Some("json") => "application/json",
        Some("csv") => "text/csv; charset=utf-8",
        Some("tsv") => "text/tab-separated-values; charset=utf-8",
        Some("txt" | "md" | "log") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// A `Content-Disposition` that saves under the file's name: ASCII for old clients, the true name for others (RFC 6266).
pub(crate) fn disposition(filename: &str) -> String {
    use std::fmt::Write as _;
    let plain: String = filename
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_purposes_of_uploads_are_uploaded() {
        assert_eq!(upload_purpose("fine-tune").unwrap(), FilePurpose::FineTune);
        for refused in ["", "finetune", "fine-tune-results", "batch_output", "assistants_output"] {
            let error = upload_purpose(refused).unwrap_err().body().error;
            assert_eq!(error.param.as_deref(), Some("purpose"));
            assert!(error.message.contains("fine-tune, assistants"), "{}", error.message);
        }
        assert_eq!(listed_purpose("fine-tune-results").unwrap(), FilePurpose::FineTuneResults);
    }

    #[test]
    fn an_expiry_has_an_anchor_and_seconds_in_range() {
        assert_eq!(expiry(None, None).unwrap(), None);
        assert_eq!(expiry(Some("created_at"), Some("3600")).unwrap(), Some(3600));
        assert_eq!(expiry(None, Some("2592000")).unwrap(), Some(2_592_000));
        for (anchor, seconds, param) in [
            (Some("last_active_at"), Some("3600"), "expires_after[anchor]"),
            (Some("created_at"), None, "expires_after[seconds]"),
            (Some("created_at"), Some("3599"), "expires_after[seconds]"),
            (Some("created_at"), Some("a day"), "expires_after[seconds]"),
        ] {
            assert_eq!(expiry(anchor, seconds).unwrap_err().body().error.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn names_with_quotes_and_other_scripts_are_saved_as_they_are() {
        assert_eq!(
            disposition("a \"b\" é.csv"),
            "attachment; filename=\"a _b_ _.csv\"; filename*=UTF-8''a%20%22b%22%20%C3%A9.csv"
        );
    }

    #[test]
    fn nothing_that_a_browser_runs_is_served_as_such() {
        assert_eq!(media_type("x.HTML"), "application/octet-stream");
        assert_eq!(media_type("x.svg"), "application/octet-stream");
        assert_eq!(media_type("x.JSONL"), "application/jsonl");
    }

    proptest! {
        #[test]
        fn every_name_makes_a_header(name in "\\PC{0,40}") {
            prop_assert!(axum::http::HeaderValue::from_str(&disposition(&name)).is_ok());
        }
    }
}
