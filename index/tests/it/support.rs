//! Small made-up collections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anser_core::storage::DataDir;
use anser_core::{AttributeValue, ByteSpan, CancelToken, Document, DocumentId, EmbedderInfo, Embedding, NoProgress};
use anser_index::{Collection, IndexOptions, NewChunk, NewDocument, SearchParams, Store};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A data folder that vanishes with the test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> DataDir {
        DataDir::open(self.dir.path()).unwrap()
    }

    pub(crate) fn store(&self) -> Store {
        self.store_with(options())
    }

    pub(crate) fn store_with(&self, options: IndexOptions) -> Store {
        Store::open(&self.data(), options).unwrap()
    }

    pub(crate) fn folder(&self, collection: &str) -> PathBuf {
        self.data().collection(collection).unwrap()
    }

    pub(crate) fn cache(&self, collection: &str) -> PathBuf {
        self.folder(collection).join("cache")
    }

    /// The one file below the cache folder whose name ends so.
    pub(crate) fn cache_file(&self, collection: &str, end: &str) -> PathBuf {
        let mut found: Vec<PathBuf> = files(&self.cache(collection));
        found.retain(|p| p.to_string_lossy().ends_with(end));
        assert_eq!(found.len(), 1, "{end}: {found:?}");
        found.remove(0)
    }
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .flat_map(|e| {
            let path = e.unwrap().path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

pub(crate) fn options() -> IndexOptions {
    IndexOptions { threads: 2, ..IndexOptions::default() }
}

pub(crate) fn embedder(dimension: usize) -> EmbedderInfo {
    EmbedderInfo { model: "made-up".into(), dimension, max_tokens: 64, fingerprint: "0123".into() }
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Rewrites everything without what is gone.
pub(crate) fn compact(collection: &Collection) {
    let done = collection.compact(&NoProgress, &CancelToken::new()).unwrap();
    assert!(done.erased, "nobody else reads it");
}

/// A random direction.
pub(crate) fn direction(rng: &mut ChaCha8Rng, dimension: usize) -> Embedding {
    Embedding::normalize((0..dimension).map(|_| rng.random_range(-1.0f32..1.0)).collect()).unwrap()
}

pub(crate) fn id(text: impl Into<String>) -> DocumentId {
    DocumentId::new(text).unwrap()
}

/// A document of one chunk for each vector; its text and fingerprint say `version`.
pub(crate) fn document(name: impl Into<String>, version: &str, vectors: &[Embedding]) -> NewDocument {
    let name = name.into();
    let mut text = String::new();
    let mut chunks = Vec::new();
    for (i, embedding) in vectors.iter().enumerate() {
        let piece = format!("piece {i} of {name}, {version}. ");
        let start = text.len();
        text.push_str(&piece);
        let span = ByteSpan::new(start, text.len()).unwrap();
        chunks.push(NewChunk { span, text: piece, tokens: 7, embedding: embedding.clone() });
    }
    let attributes = [("version".to_owned(), AttributeValue::String(version.to_owned()))].into();
    NewDocument {
        document: Document { id: id(&name), title: Some(format!("Title of {name}")), text, attributes },
        fingerprint: format!("{name}-{version}-{}", vectors.len()),
        chunks,
    }
}

/// A document of one chunk for each piece of text, each with its vector.
pub(crate) fn written(name: &str, fingerprint: String, pieces: &[(String, Embedding)]) -> NewDocument {
    let mut text = String::new();
    let mut chunks = Vec::new();
    for (piece, embedding) in pieces {
        let start = text.len();
        text.push_str(piece);
        let span = ByteSpan::new(start, text.len()).unwrap();
        text.push('\n');
        chunks.push(NewChunk { span, text: piece.clone(), tokens: 7, embedding: embedding.clone() });
    }
    let document = Document { id: id(name), title: None, text, attributes: anser_core::Attributes::new() };
    NewDocument { document, fingerprint, chunks }
}

/// Copies what lies below a folder.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// `count` documents of one random vector each, called `d0`, `d1`, ...
pub(crate) fn documents(seed: u64, count: usize, dimension: usize) -> Vec<NewDocument> {
    let mut rng = rng(seed);
    (0..count).map(|i| document(format!("d{i}"), "v1", &[direction(&mut rng, dimension)])).collect()
}

/// A collection called `c` that holds `documents`.
pub(crate) fn filled(store: &Store, dimension: usize, documents: &[NewDocument]) -> Arc<Collection> {
    let collection = store.create("c", &embedder(dimension)).unwrap();
    collection.upsert(documents).unwrap();
    collection
}

/// Document ids and scores of the `k` best hits.
pub(crate) fn hits(collection: &Collection, query: &Embedding, k: usize) -> Vec<(String, f32)> {
    hits_with(collection, query, &SearchParams::new(k))
}

pub(crate) fn hits_with(collection: &Collection, query: &Embedding, params: &SearchParams) -> Vec<(String, f32)> {
    let found = collection.search(query, params).unwrap().hits;
    found.into_iter().map(|h| (h.chunk.document_id.to_string(), h.score)).collect()
}

/// Answers to a fixed set of exact searches, to compare a collection with itself later.
pub(crate) fn answers(collection: &Collection, dimension: usize) -> Vec<Vec<(String, f32)>> {
    let mut rng = rng(99);
    let params = SearchParams { exact: Some(true), ..SearchParams::new(10) };
    (0..20).map(|_| hits_with(collection, &direction(&mut rng, dimension), &params)).collect()
}
