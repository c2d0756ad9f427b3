//! Who may call: holders of a key, or, when none is asked for, programs on this machine that no web page has tricked.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, ApiResult, excerpt};
use crate::options::ApiKey;
use crate::state::AppState;

/// Lets a request with a valid key pass. Without configured keys every request passes.
pub(crate) async fn require_key(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if app.options.api_keys.is_empty() || presents_key(request.headers(), &app.options.api_keys) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}

fn presents_key(headers: &HeaderMap, keys: &[ApiKey]) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let Some((scheme, key)) = value.split_once(' ') else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && ApiKey::is_any_of(keys, key.trim())
}

/// Without keys, refuses requests that a web page of another origin sent, also when a name of its own resolves to
/// this machine (DNS rebinding).
pub(crate) async fn require_local_origin(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if app.options.api_keys.is_empty()
        && let Err(error) = check_origin(&request, &app.options.allowed_hosts)
    {
        return error.into_response();
    }
    next.run(request).await
}

fn check_origin(request: &Request, allowed: &[String]) -> ApiResult<()> {
    let header_text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = header_text(header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    if let Some(host) = host
        && !is_accepted(host, allowed)
    {
        return Err(ApiError::forbidden(format!(
            "the host \"{}\" is not this machine; call 127.0.0.1 or localhost, or set API keys to serve other names",
            excerpt(host)
        )));
    }
    if let Some(origin) = header_text(header::ORIGIN)
        && !origin.split_once("://").is_some_and(|(_, host)| is_accepted(host, allowed))
    {
        return Err(ApiError::forbidden(format!(
            "a web page of \"{}\" may not call this service; set API keys to serve other origins",
            excerpt(origin)
        )));
    }
    Ok(())
}

/// Whether `host`, with or without a port, is a loopback name or one of those allowed.
fn is_accepted(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let is_loopback = name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    is_loopback
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|one| one.eq_ignore_ascii_case(name) || one.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_allowed_hosts_are_accepted() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:8080"] {
            assert!(is_accepted(host, &[]), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:8080",
            "localhost.example.com",
            "10.0.0.1",
            "[::2]:1",
            "127.0.0.1.x.com",
            "null",
        ] {
            assert!(!is_accepted(host, &[]), "{host}");
        }
        assert!(is_accepted("Shop.lan:8080", &["shop.lan".to_owned()]));
        assert!(is_accepted("shop.lan:8080", &["shop.lan:8080".to_owned()]));
        assert!(!is_accepted("shop.lan:9", &["shop.lan:8080".to_owned()]));
    }
}
