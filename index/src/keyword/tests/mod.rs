//! What a search by words finds, whatever happened to the collection before.

mod damage;
mod formula;
mod fused;
mod model;

use std::path::PathBuf;
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{ByteSpan, Document, DocumentId, EmbedderInfo, Embedding};

use crate::{
    Collection, IndexOptions, NewChunk, NewDocument, SearchMode, SearchOutcome, SearchParams, SearchQuery, Store,
};

/// A data folder that vanishes with the test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> DataDir {
        DataDir::open(self.0.path()).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(&self.data(), IndexOptions { threads: 1, ..IndexOptions::default() }).unwrap()
    }

    fn create(&self) -> Arc<Collection> {
        let embedder =
            EmbedderInfo { model: "made-up".into(), dimension: 2, max_tokens: 64, fingerprint: "0123".into() };
        self.store().create("c", &embedder).unwrap()
    }

    /// The collection as another process has it.
    fn open(&self) -> Arc<Collection> {
        self.store().get("c").unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.data().collection("c").unwrap().join("keywords")
    }

    /// All files of the keyword index.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.folder()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

fn unit(x: f32, y: f32) -> Embedding {
    Embedding::normalize(vec![x, y]).unwrap()
}

/// A document of one chunk.
fn document(id: &str, title: Option<&str>, text: &str) -> NewDocument {
    let chunk = NewChunk {
        span: ByteSpan { start: 0, end: text.len() },
        text: text.to_owned(),
        tokens: 1,
        embedding: unit(1.0, 0.5),
    };
    let title = title.map(str::to_owned);
    NewDocument {
        fingerprint: format!("{id}-{title:?}-{text}"),
        document: Document {
            id: DocumentId::new(id).unwrap(),
            title,
            text: text.to_owned(),
            attributes: anser_core::Attributes::default(),
        },
        chunks: vec![chunk],
    }
}

fn texts(collection: &Collection, texts: &[&str]) {
    let documents: Vec<_> = texts.iter().enumerate().map(|(i, text)| document(&format!("d{i}"), None, text)).collect();
    collection.upsert(&documents).unwrap();
}

fn search(collection: &Collection, text: &str) -> SearchOutcome {
    let params = SearchParams { mode: Some(SearchMode::Keyword), ..SearchParams::new(1000) };
    collection.search(SearchQuery { vector: None, text: Some(text) }, &params).unwrap()
}

/// Ids and scores of the hits.
fn hits(collection: &Collection, text: &str) -> Vec<(String, f32)> {
    let found = search(collection, text).hits;
    found.into_iter().map(|hit| (hit.chunk.document_id.to_string(), hit.score)).collect()
}

/// Ids of the hits.
fn ids(collection: &Collection, text: &str) -> Vec<String> {
    hits(collection, text).into_iter().map(|(id, _)| id).collect()
}

/// Ids of the hits, whatever their order.
fn set(collection: &Collection, text: &str) -> Vec<String> {
    let mut ids = ids(collection, text);
    ids.sort();
    ids
}
