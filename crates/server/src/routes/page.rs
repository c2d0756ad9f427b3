//! The web page at `/`, embedded at build time, or a plain page that says how to build it.

use std::sync::LazyLock;

use anser_core::storage::sha256_hex;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// The built page's files: path below the page's root, and bytes. Empty when it was not built.
const BUILT: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// Shown at `/` when the page was not built.
const PLAIN: &str = include_str!("page/plain.html");

/// The folder whose files carry a hash of their content in their name.
const HASHED: &str = "assets/";

/// Scripts, styles, fonts and data from here alone; no frames around or inside the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// One file ready to be sent.
struct PageFile {
    /// Its path, from `/` on.
    path: String,
    content_type: &'static str,
    /// Its hash, in quotes.
    etag: String,
    cache: &'static str,
    bytes: &'static [u8],
}

static FILES: LazyLock<Vec<PageFile>> = LazyLock::new(|| {
    if BUILT.is_empty() {
        return vec![page_file("index.html", PLAIN.as_bytes())];
    }
    BUILT.iter().map(|(name, bytes)| page_file(name, bytes)).collect()
});

fn page_file(name: &str, bytes: &'static [u8]) -> PageFile {
    let cache = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
    let etag = format!("\"{}\"", &sha256_hex(bytes)[..32]);
    PageFile { path, content_type: content_type(name), etag, cache, bytes }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// The page's files outside `assets/`, for the table of routes.
pub(crate) fn root_paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path.as_str()).filter(|path| !path[1..].starts_with(HASHED))
}

/// One file of the page.
pub(crate) async fn get(request: Request) -> Response {
    let path = request.uri().path();
    match FILES.iter().find(|file| file.path == path) {
        Some(file) => send(file, request.headers()),
        None => ApiError::unknown_route(request.method().as_str(), path).into_response(),
    }
}

fn send(file: &PageFile, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
        tags.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == file.etag)
    });
    let headers = [(header::ETAG, file.etag.as_str()), (header::CACHE_CONTROL, file.cache)];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response()
}

/// Puts the headers that keep browsers from doing what the page never asks for on every reply.
pub(crate) async fn protect(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    response
}
