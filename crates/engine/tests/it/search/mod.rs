//! Searches of a real store, with an embedder of word hashes and a reranker with a will of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests end the test that called them")]

mod arranging;
mod modes;
mod paging;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anser_core::storage::{DataDir, sha256_hex};
use anser_core::{
    AttributeValue, Attributes, CancelToken, Document, DocumentId, Embedder, Error, Generator, NoProgress, Reranker,
    Result,
};
use anser_engine::{
    Engine, EngineError, EngineOptions, ModelLoader, SearchReply, SearchRequest, ServedModels, TunedModel,
};
use tempfile::TempDir;

const WORDS: [&str; 12] =
    ["kettle", "garden", "coffee", "battery", "sweet", "broken", "blue", "parcel", "sugar", "window", "lamp", "paper"];

/// Gives every pair of query and passage a logit that nobody can foresee.
struct Oracle {
    read: Arc<AtomicUsize>,
}

impl Reranker for Oracle {
    fn model(&self) -> &'static str {
        "oracle"
    }

    fn rerank(&self, query: &str, passages: &[String], cancel: &CancelToken) -> Result<Vec<f32>> {
        cancel.check()?;
        self.read.fetch_add(passages.len(), Ordering::Relaxed);
        let logit = |passage: &String| {
            let digits = sha256_hex(format!("{query}|{passage}").as_bytes());
            let number = u32::from_str_radix(&digits[..6], 16).unwrap();
            f32::from(number as u16) / 3000.0 - 10.0
        };
        Ok(passages.iter().map(logit).collect())
    }
}

struct Loader {
    embedder: bool,
    read: Arc<AtomicUsize>,
}

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &'static str {
        "words"
    }
    fn reranker_name(&self) -> Option<&str> {
        Some("oracle")
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        if self.embedder { Ok(super::answer::word_embedder()) } else { Err(Error::internal("no embedder is wanted")) }
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Ok(Arc::new(Oracle { read: Arc::clone(&self.read) }))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
}

/// An engine in a folder of its own, with a collection called `shop`.
struct Shop {
    engine: Engine,
    /// Passages that the reranker has read.
    read: Arc<AtomicUsize>,
    folder: TempDir,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (engine, read) = open(&folder, true);
        engine.create_collection("shop").unwrap();
        Self { engine, read, folder }
    }

    /// A shop of so many documents of a few words each, every ninth a copy of an earlier one. Two of three have a `product`,
    /// of which there are 30.
    fn of(documents: usize) -> Self {
        let shop = Self::new();
        shop.add((0..documents).map(|at| document(&format!("d{at}"), at)).collect());
        shop
    }

    /// The same data with models that cannot be loaded.
    fn without_embedder(self) -> Self {
        let Self { engine, folder, .. } = self;
        drop(engine);
        let (engine, read) = open(&folder, false);
        Self { engine, read, folder }
    }

    fn add(&self, documents: Vec<Document>) {
        let report = self.engine.ingest_documents("shop", documents, &NoProgress, &CancelToken::new()).unwrap();
        assert_eq!(report.rejected, 0);
    }

    fn delete(&self, ids: &[DocumentId]) {
        assert_eq!(self.engine.collection("shop").unwrap().delete(ids).unwrap(), ids.len());
    }

    fn search(&self, request: &SearchRequest) -> std::result::Result<SearchReply, EngineError> {
        self.engine.search("shop", request, &CancelToken::new())
    }

    /// All pages one after the other, their sizes taken from `limits` round and round.
    fn walk(&self, request: &SearchRequest, limits: &[usize]) -> Vec<SearchReply> {
        let mut pages = Vec::new();
        let mut after = None;
        for limit in limits.iter().cycle() {
            let reply = self.search(&SearchRequest { limit: *limit, after: after.take(), ..request.clone() }).unwrap();
            assert!(reply.hits.len() == *limit || reply.next.is_none(), "only the last page may be short");
            after.clone_from(&reply.next);
            pages.push(reply);
            if after.is_none() {
                break;
            }
        }
        pages
    }
}

fn open(folder: &TempDir, embedder: bool) -> (Engine, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let models = ServedModels::new(Loader { embedder, read: Arc::clone(&read) });
    let data = DataDir::open(folder.path()).unwrap();
    (Engine::open(&data, models, None, EngineOptions::default()).unwrap(), read)
}

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

/// Document number `at` of a shop: the same number is always the same text.
fn document(name: &str, at: usize) -> Document {
    let of = if at % 9 == 8 { at - 8 } else { at };
    let mut state = of as u64 * 7919 + 13;
    let words: Vec<&str> = (0..4 + of % 5)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            WORDS[(state >> 33) as usize % WORDS.len()]
        })
        .collect();
    let product = AttributeValue::String(format!("p{}", at % 30));
    let mut attributes: Attributes = [("at".to_owned(), AttributeValue::Integer(at as i64))].into();
    if !at.is_multiple_of(3) {
        attributes.insert("product".to_owned(), product);
    }
    Document { id: id(name), title: None, text: format!("{} number {of}", words.join(" ")), attributes }
}

fn query(text: &str) -> SearchRequest {
    SearchRequest { query: text.to_owned(), ..SearchRequest::default() }
}

fn chunks(reply: &SearchReply) -> Vec<u64> {
    reply.hits.iter().map(|hit| hit.chunk.id.0).collect()
}
