//! Analyses as jobs over a real store, with an embedder that knows which words two texts share.

#![expect(clippy::unwrap_used, reason = "helpers of tests end the test that called them")]

mod classify;
mod cluster;
mod diversity;
mod duplicates;
mod evaluate;
mod frame;
mod outliers;
mod predictors;
mod projection;
mod regress;

use std::sync::Arc;

use anser_core::storage::{DataDir, sha256_hex};
use anser_core::{
    CancelToken, Document, DocumentId, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, Error, Generator,
    NoProgress, Reranker, Result, StopSignal,
};
use anser_engine::{
    Analysis, AnalysisRequest, AnalysisSource, Engine, EngineOptions, Job, JobState, ModelLoader, ServedModels,
    TunedModel,
};
use tempfile::TempDir;

const DIMENSION: usize = 64;

/// The sum of one random direction for each word, so that texts are as near as the words they share.
struct WordEmbedder(EmbedderInfo);

impl WordEmbedder {
    fn new() -> Self {
        Self(EmbedderInfo {
            model: "words".to_owned(),
            dimension: DIMENSION,
            max_tokens: 512,
            fingerprint: "words".to_owned(),
        })
    }
}

/// A direction of its own for each word.
fn direction(word: &str) -> impl Iterator<Item = f32> {
    sha256_hex(word.as_bytes()).into_bytes().into_iter().take(DIMENSION).map(|b| f32::from(b % 32) - 15.5)
}

impl Embedder for WordEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, cancel: &CancelToken) -> Result<Vec<Embedded>> {
        let one = |text: &String| {
            cancel.check()?;
            let mut sum = vec![0.001_f32; DIMENSION];
            for word in text.split_whitespace() {
                let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
                sum.iter_mut().zip(direction(&word)).for_each(|(s, d)| *s += d);
            }
            Ok(Embedded { embedding: Embedding::normalize(sum)?, tokens: text.split(' ').count(), truncated: false })
        };
        texts.iter().map(one).collect()
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split(' ').count())
    }
}

struct Loader;

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &'static str {
        "words"
    }
    fn reranker_name(&self) -> Option<&str> {
        None
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        Ok(Arc::new(WordEmbedder::new()))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Err(Error::internal("there is no reranker"))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
}

/// An engine in a folder of its own.
pub(super) struct Bench {
    pub(super) engine: Arc<Engine>,
    pub(super) folder: TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path().join("data")).unwrap();
        let engine = Engine::open(&data, ServedModels::new(Loader), None, EngineOptions::default()).unwrap();
        Self { engine: Arc::new(engine), folder }
    }

    /// Fills a collection with rows of id, text and attributes as JSON.
    pub(super) fn fill<'a>(
        &self,
        collection: &str,
        rows: impl IntoIterator<Item = (&'a str, &'a str, serde_json::Value)>,
    ) {
        let documents = rows.into_iter().map(|(id, text, attributes)| Document {
            id: DocumentId::new(id).unwrap(),
            title: None,
            text: text.to_owned(),
            attributes: serde_json::from_value(attributes).unwrap(),
        });
        self.engine.ingest_documents(collection, documents.collect(), &NoProgress, &CancelToken::new()).unwrap();
    }

    /// Runs an analysis of a whole collection to its end, whatever that is.
    pub(super) fn run(&self, collection: &str, analysis: Analysis) -> Job {
        self.run_over(AnalysisSource::Collection { name: collection.to_owned(), filter: None }, analysis)
    }

    pub(super) fn run_over(&self, source: AnalysisSource, analysis: Analysis) -> Job {
        let job = self.engine.create_analysis_job(&AnalysisRequest { source, analysis }).unwrap();
        self.engine.run_job_here(&job.id, &StopSignal::default(), &mut |_| {}, &NoProgress).unwrap()
    }

    /// The report of an analysis that must succeed.
    pub(super) fn report<T: serde::de::DeserializeOwned>(&self, collection: &str, analysis: Analysis) -> T {
        let job = self.run(collection, analysis);
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
        self.engine.job_report(&job.id).unwrap()
    }
}
