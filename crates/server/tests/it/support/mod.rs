//! A service over scripted models, and requests to it without a socket.

pub(crate) mod fake;
pub(crate) mod trainer;
pub(crate) mod wire;

use std::sync::Arc;
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_engine::{Engine, EngineOptions, ServedModels};
use anser_server::{ServerOptions, router};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) use fake::{CHAT, EMBEDDER, Fake, RERANKER};
use trainer::FakeTrainer;

/// A service in a folder of its own.
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) engine: Arc<Engine>,
    pub(crate) fake: Fake,
    pub(crate) trainer: FakeTrainer,
    folder: tempfile::TempDir,
}

/// A reply, read to its end.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A service whose options differ from those of the tests.
    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::with_fake(Fake::default(), change)
    }

    pub(crate) fn with_fake(fake: Fake, change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), fake, change)
    }

    fn over(folder: tempfile::TempDir, fake: Fake, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let data = DataDir::open(folder.path()).unwrap();
        let (models, trainer) = (ServedModels::new(fake.clone()), FakeTrainer::default());
        let engine = Engine::open(&data, models, Some(Arc::new(trainer.clone())), EngineOptions::default()).unwrap();
        let engine = Arc::new(engine);
        let mut options = ServerOptions { request_timeout: Duration::from_mins(1), ..ServerOptions::default() };
        change(&mut options);
        Self { router: router(Arc::clone(&engine), options), engine, fake, trainer, folder }
    }

    /// The same data in a new service whose models cannot be loaded.
    pub(crate) fn with_unloadable_models(self) -> Self {
        let Self { router, engine, folder, .. } = self;
        drop((router, engine));
        let fake = Fake::default();
        fake.set_unloadable(true);
        Self::over(folder, fake, |_| {})
    }

    /// The reply as soon as its status is known; its body may still be coming.
    pub(crate) async fn begin(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.begin(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(post(path, body)).await
    }

    pub(crate) async fn post_as(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Reply {
        self.send(Request::post(path).header("content-type", content_type).body(body.into()).unwrap()).await
    }

    /// A collection `shop` of three short documents.
    pub(crate) async fn with_shop(self) -> Self {
        assert_eq!(self.post("/v1/collections", &json!({"name": "shop"})).await.status, 201);
        let documents = json!([
            {"id": "returns", "title": "Returns", "text": "Parcels are returned within 30 days."},
            {"id": "postage", "title": "Postage", "text": "Postage is free above 50 euros."},
            {"id": "hours", "title": "Hours", "text": "The shop opens at nine."},
        ]);
        assert_eq!(self.post("/v1/collections/shop/documents", &documents).await.status, 200);
        self
    }

    /// Files below the data folder that hold, or are to hold, what was uploaded.
    pub(crate) fn files_on_disk(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("files")).map_or(0, Iterator::count)
    }

    /// The value of one line of `/metrics`, given its name with labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// A form of parts, each with a name, perhaps a file name, and its contents: its content type and its bytes.
pub(crate) fn form(parts: &[(&str, Option<&str>, &str)]) -> (String, String) {
    const BOUNDARY: &str = "a-boundary-of-the-tests";
    let mut body = String::new();
    for (name, filename, contents) in parts {
        let filename =
            filename.map_or(String::new(), |filename| format!("; filename=\"{}\"", filename.replace('"', "\\\"")));
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\n\r\n");
        body.extend([head.as_str(), contents, "\r\n"]);
    }
    body.extend(["--", BOUNDARY, "--\r\n"]);
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// Uploads a file and returns its id.
pub(crate) async fn upload(service: &Service, purpose: &str, name: &str, bytes: &[u8]) -> String {
    const MARK: &str = "@the contents@";
    let (content_type, body) = form(&[("purpose", None, purpose), ("file", Some(name), MARK)]);
    let (head, tail) = body.split_once(MARK).unwrap();
    let body = [head.as_bytes(), bytes, tail.as_bytes()].concat();
    let reply = service.post_as("/v1/files", &content_type, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

/// One line of training data.
pub(crate) fn training_line(text: &str) -> String {
    let messages = json!([{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]);
    format!("{}\n", json!({ "messages": messages }))
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks status and shape of a failure and returns its parameter, code and message.
    #[track_caller]
    pub(crate) fn failure(&self, status: u16) -> (Option<String>, String, String) {
        assert_eq!(self.status, status, "{}", self.text());
        let error = &self.json()["error"];
        let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert!(error["type"].is_string());
        let param = error["param"].as_str().map(str::to_owned);
        (param, error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }

    /// The parameter at fault of a 400.
    #[track_caller]
    pub(crate) fn bad_param(&self) -> String {
        self.failure(400).0.unwrap_or_else(|| panic!("no param: {}", self.text()))
    }
}

/// Waits until `ready` says so, for at most 20 seconds.
pub(crate) async fn eventually(what: &str, ready: impl Fn() -> bool) {
    for _ in 0..2000 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
