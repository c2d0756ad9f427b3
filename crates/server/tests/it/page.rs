//! The page at `/`.

use axum::body::Body;
use axum::http::Request;

use crate::support::Service;

#[tokio::test]
async fn the_page_is_served_and_kept_from_doing_what_it_must_not() {
    let service = Service::new();
    let page = service.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("Anser"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));

    let etag = page.header("etag").unwrap();
    let again = Request::get("/").header("if-none-match", etag).body(Body::empty()).unwrap();
    let again = service.send(again).await;
    assert_eq!(again.status, 304);
    assert!(again.body.is_empty());
}

#[tokio::test]
async fn every_file_that_the_page_names_is_there() {
    let service = Service::new();
    let page = service.get("/").await.text();
    let named = page.split('"').filter(|part| part.starts_with("/assets/"));
    for path in named {
        let file = service.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_ne!(file.header("content-type"), Some("application/octet-stream"), "{path}");
    }
    service.get("/assets/nothing.js").await.failure(404);
    service.get("/assets/../../Cargo.toml").await.failure(404);
}
