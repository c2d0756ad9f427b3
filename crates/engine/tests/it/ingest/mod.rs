//! Ingest from every format into a real store, with an embedder that makes vectors of hashes.

#![expect(clippy::unwrap_used, reason = "helpers of tests end the test that called them")]

mod columnar;
mod delimited;
mod external;
mod fuzz;
mod json;
mod prose;
mod resume;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anser_core::storage::{DataDir, sha256_hex};
use anser_core::{
    CancelToken, Chunk, Document, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, Error, ErrorKind,
    Generator, NoProgress, Reranker, Result,
};
use anser_engine::{
    Engine, EngineError, EngineOptions, FieldMapping, FileFormat, IngestOptions, IngestReport, ModelLoader,
    ServedModels, TunedModel,
};
use parking_lot::Mutex;
use tempfile::TempDir;

pub(super) const MAX_TOKENS: usize = 512;

/// Makes a vector of each text's hash; a token is a run of letters and digits, or one character of another script.
pub(super) struct HashEmbedder {
    info: EmbedderInfo,
    /// Texts embedded so far.
    pub(super) embedded: AtomicUsize,
    /// Calls that will be answered with `Overloaded`.
    pub(super) overloads: AtomicUsize,
    /// Cancels the token when so many more calls were answered.
    pub(super) cancel_after: Mutex<Option<(usize, CancelToken)>>,
    /// All texts as they were embedded.
    pub(super) texts: Mutex<Vec<String>>,
}

impl HashEmbedder {
    fn new(model: &str) -> Arc<Self> {
        Arc::new(Self {
            info: EmbedderInfo {
                model: model.to_owned(),
                dimension: 8,
                max_tokens: MAX_TOKENS,
                fingerprint: sha256_hex(model.as_bytes()),
            },
            embedded: AtomicUsize::new(0),
            overloads: AtomicUsize::new(0),
            cancel_after: Mutex::new(None),
            texts: Mutex::new(Vec::new()),
        })
    }
}

pub(super) fn count_tokens(text: &str) -> usize {
    let (mut tokens, mut in_word) = (0, false);
    for c in text.chars() {
        let word = c.is_ascii_alphanumeric();
        tokens += usize::from(!(c.is_whitespace() || word && in_word));
        in_word = word;
    }
    tokens
}

impl Embedder for HashEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        cancel.check()?;
        if self.overloads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::new(ErrorKind::Overloaded, "the queue is full"));
        }
        if let Some((left, token)) = self.cancel_after.lock().as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                token.cancel();
            }
        }
        self.embedded.fetch_add(texts.len(), Ordering::SeqCst);
        self.texts.lock().extend_from_slice(texts);
        texts
            .iter()
            .map(|text| {
                if text.contains("UNEMBEDDABLE") {
                    return Err(Error::invalid("this text is refused"));
                }
                let digest = sha256_hex(text.as_bytes());
                let values = digest.bytes().take(8).map(|b| f32::from(b) - 70.0).collect();
                let tokens = count_tokens(text) + 2;
                Ok(Embedded { embedding: Embedding::normalize(values)?, tokens, truncated: tokens > MAX_TOKENS })
            })
            .collect()
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(count_tokens(text))
    }
}

struct OneEmbedder(Arc<HashEmbedder>);

impl ModelLoader for OneEmbedder {
    fn embedder_name(&self) -> &str {
        &self.0.info.model
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Ok(Arc::clone(&self.0) as Arc<dyn Embedder>)
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::not_found("no reranker"))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::not_found("no chat model"))
    }
    fn tuned(&self, model: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(anser_core::Error::not_found(format!("no model {}", model.id)))
    }
}

/// An engine on a folder of its own.
pub(super) struct Bench {
    pub(super) folder: TempDir,
    pub(super) engine: Engine,
    pub(super) embedder: Arc<HashEmbedder>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_model("hash")
    }

    pub(super) fn with_model(model: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), model)
    }

    pub(super) fn at(folder: TempDir, model: &str) -> Self {
        let embedder = HashEmbedder::new(model);
        let data = DataDir::open(folder.path().join("data")).unwrap();
        let models = ServedModels::new(OneEmbedder(Arc::clone(&embedder)));
        let engine = Engine::open(&data, models, None, EngineOptions::default()).unwrap();
        Self { folder, engine, embedder }
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Ingests `bytes` as a file called `name` into the collection `c`.
    pub(super) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> std::result::Result<IngestReport, EngineError> {
        self.file_with(name, bytes, &IngestOptions::default())
    }

    pub(super) fn file_with(
        &self,
        name: &str,
        bytes: impl AsRef<[u8]>,
        options: &IngestOptions,
    ) -> std::result::Result<IngestReport, EngineError> {
        let path = self.write(name, bytes);
        self.engine.ingest_file("c", &path, options, &NoProgress, &CancelToken::new())
    }

    pub(super) fn reader(
        &self,
        format: FileFormat,
        bytes: impl AsRef<[u8]>,
    ) -> std::result::Result<IngestReport, EngineError> {
        let source = Box::new(std::io::Cursor::new(bytes.as_ref().to_vec()));
        self.engine.ingest_reader("c", format, source, &IngestOptions::default(), &NoProgress, &CancelToken::new())
    }

    /// All documents of the collection, by id.
    pub(super) fn documents(&self) -> BTreeMap<String, Document> {
        let documents = self.engine.collection("c").unwrap().documents(None, 1_000_000).unwrap();
        documents.into_iter().map(|document| (document.id.to_string(), document)).collect()
    }

    /// The chunks of one document.
    pub(super) fn chunks(&self, document: &Document) -> Vec<Chunk> {
        self.engine.collection("c").unwrap().chunks(&document.id).unwrap()
    }
}

pub(super) fn fields(id: Option<&str>, title: Option<&str>, text: Option<&str>) -> IngestOptions {
    let owned = |name: Option<&str>| name.map(str::to_owned);
    IngestOptions {
        fields: FieldMapping { id: owned(id), title: owned(title), text: owned(text), ..FieldMapping::default() },
        ..IngestOptions::default()
    }
}

/// Every row is accounted for.
pub(super) fn check_counts(report: &IngestReport) {
    assert_eq!(report.rows, report.inserted + report.replaced + report.unchanged + report.rejected, "{report:?}");
}
