//! Ways of searching measured side by side, and settings chosen from what was measured.

#![expect(clippy::unwrap_used, reason = "helpers of tests end the test that called them")]

use std::sync::Arc;

use anser_core::storage::{DataDir, sha256_hex};
use anser_core::{
    CancelToken, Document, DocumentId, EmbedPurpose, Embedded, Embedder, EmbedderInfo, Embedding, Error, Generator,
    NoProgress, Reranker, Result,
};
use anser_engine::{
    Engine, EngineOptions, Fusion, ModelLoader, RetrievalEvaluation, RetrievalMethod, RetrievalOptions,
    RetrievalTestSet, SearchSettings, ServedModels, TunedModel,
};
use tempfile::TempDir;

/// Documents of the collection, and queries.
const DOCUMENTS: usize = 60;

/// Vectors that have nothing to do with what a text says.
struct Noise(EmbedderInfo);

impl Embedder for Noise {
    fn info(&self) -> &EmbedderInfo {
        &self.0
    }

    fn embed(&self, texts: &[String], _: EmbedPurpose, _: &CancelToken) -> Result<Vec<Embedded>> {
        let one = |text: &String| {
            let values = sha256_hex(text.as_bytes()).bytes().map(|byte| f32::from(byte % 32) - 15.5).collect();
            Ok(Embedded { embedding: Embedding::normalize(values)?, tokens: 3, truncated: false })
        };
        texts.iter().map(one).collect()
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }
}

/// The longer the passage, the better.
struct ByLength;

impl Reranker for ByLength {
    fn model(&self) -> &'static str {
        "by-length"
    }

    fn rerank(&self, _: &str, passages: &[String], _: &CancelToken) -> Result<Vec<f32>> {
        Ok(passages.iter().map(|passage| passage.len() as f32).collect())
    }
}

struct Loader {
    /// Whether vectors are noise rather than made of words.
    noise: bool,
    rerank: bool,
}

impl ModelLoader for Loader {
    fn embedder_name(&self) -> &'static str {
        "made-up"
    }
    fn reranker_name(&self) -> Option<&str> {
        self.rerank.then_some("by-length")
    }
    fn generator_name(&self) -> &'static str {
        "none"
    }
    fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        if !self.noise {
            return Ok(crate::answer::word_embedder());
        }
        let info = EmbedderInfo { model: "noise".into(), dimension: 64, max_tokens: 512, fingerprint: "noise".into() };
        Ok(Arc::new(Noise(info)))
    }
    fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        Ok(Arc::new(ByLength))
    }
    fn generator(&self) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
    fn tuned(&self, _: &TunedModel) -> Result<Arc<dyn Generator>> {
        Err(Error::internal("there is no chat model"))
    }
}

struct Shelf {
    engine: Engine,
    folder: TempDir,
}

impl Shelf {
    /// A collection of documents of which each holds a word that only it has.
    fn new(loader: Loader) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path().join("data")).unwrap();
        let engine = Engine::open(&data, ServedModels::new(loader), None, EngineOptions::default()).unwrap();
        let documents = (0..DOCUMENTS).map(|at| Document {
            id: DocumentId::new(format!("d{at}")).unwrap(),
            title: None,
            text: format!("the kettle named {} stands on the shelf", word(at)),
            attributes: anser_core::Attributes::new(),
        });
        engine.ingest_documents("c", documents.collect(), &NoProgress, &CancelToken::new()).unwrap();
        Self { engine, folder }
    }

    /// A query for each document, with a judgement and one of a document that is not there.
    fn set(&self) -> RetrievalTestSet {
        let (queries, qrels) = (self.folder.path().join("queries.tsv"), self.folder.path().join("qrels.tsv"));
        let lines: Vec<String> =
            (0..DOCUMENTS).map(|at| format!("q{at}\twhere is the kettle named {}\n", word(at))).collect();
        std::fs::write(&queries, lines.concat()).unwrap();
        let lines: Vec<String> = (0..DOCUMENTS).map(|at| format!("q{at}\td{at}\t2\n")).collect();
        std::fs::write(&qrels, format!("query-id\tcorpus-id\tscore\n{}q0\tgone\t1\n", lines.concat())).unwrap();
        RetrievalTestSet::read(&queries, &qrels).unwrap()
    }

    fn measure(&self, options: &RetrievalOptions) -> RetrievalEvaluation {
        self.engine.evaluate_retrieval("c", &self.set(), options, &NoProgress, &CancelToken::new()).unwrap()
    }

    fn settings(&self) -> SearchSettings {
        self.engine.collection("c").unwrap().search_settings().unwrap()
    }
}

/// A made-up word of letters.
fn word(at: usize) -> String {
    sha256_hex(&[at as u8]).bytes().take(9).map(|byte| char::from(b'a' + byte % 26)).collect()
}

fn ndcg(found: &RetrievalEvaluation, method: RetrievalMethod) -> f64 {
    found.methods.iter().find(|figures| figures.method == method).unwrap().ndcg_at_10.mean
}

#[test]
fn every_way_of_searching_is_measured_on_the_same_queries() {
    let shelf = Shelf::new(Loader { noise: true, rerank: true });
    let found = shelf.measure(&RetrievalOptions::default());
    assert_eq!(found.methods.iter().map(|figures| figures.method).collect::<Vec<_>>(), RetrievalMethod::ALL);
    assert_eq!((found.queries, found.remarks.unknown_documents.examples.clone()), (DOCUMENTS, vec!["gone".to_owned()]));
    // Words find each document, and noise finds it by accident.
    assert!(ndcg(&found, RetrievalMethod::Keyword) > 0.95, "{found:#?}");
    assert!(ndcg(&found, RetrievalMethod::Vector) < 0.5);
    assert_eq!(found.best, RetrievalMethod::Keyword);
    assert_eq!(found.comparisons.len(), 3);
    let vector = found.comparisons.iter().find(|c| c.method == RetrievalMethod::Vector).unwrap();
    assert!(!vector.within_noise && vector.test.significant() && vector.test.difference.low > 0.0);
    for figures in &found.methods {
        let estimate = figures.ndcg_at_10;
        assert!(estimate.low <= estimate.mean && estimate.mean <= estimate.high);
        assert!(figures.mean_ms > 0.0 && figures.p95_ms > 0.0 && figures.hit_rate_at_k <= 1.0);
    }
    let plot = found.plot();
    assert!(plot.contains("hybrid+rerank") && !plot.contains("NaN"));
    // The query with a judged document that is gone cannot be answered in full.
    let keyword = found.methods.iter().find(|figures| figures.method == RetrievalMethod::Keyword).unwrap();
    assert!(keyword.misses.iter().any(|miss| miss.id == "q0" && miss.missing == ["gone"]), "{:?}", keyword.misses);
}

#[test]
fn samples_and_figures_are_the_same_for_the_same_seed() {
    let shelf = Shelf::new(Loader { noise: true, rerank: false });
    let options = RetrievalOptions { sample: Some(25), seed: 4, ..RetrievalOptions::default() };
    let (first, second) = (shelf.measure(&options), shelf.measure(&options));
    assert_eq!(first.queries, 25);
    assert_eq!(first.methods.len(), 3, "without a reranker there is nothing to measure of it");
    assert!(first.left_out[0].contains("needs a reranker"), "{:?}", first.left_out);
    for (a, b) in first.methods.iter().zip(&second.methods) {
        assert_eq!((a.ndcg_at_10, a.map, &a.misses), (b.ndcg_at_10, b.map, &b.misses));
    }
}

#[test]
fn useless_vectors_lose_their_weight() {
    let shelf = Shelf::new(Loader { noise: true, rerank: false });
    let before = shelf.measure(&RetrievalOptions { tune: false, ..RetrievalOptions::default() });
    assert!(ndcg(&before, RetrievalMethod::Hybrid) < ndcg(&before, RetrievalMethod::Keyword) - 0.02, "{before:#?}");
    let found = shelf.measure(&RetrievalOptions { tune: true, ..RetrievalOptions::default() });
    let tuning = found.tuning.as_ref().unwrap();
    assert_eq!((tuning.chosen_on, tuning.checked_on, found.queries), (30, 30, 30));
    assert!(tuning.fusion.taken && tuning.after.fusion.vector_weight < 0.5, "{tuning:#?}");
    assert!(tuning.fusion.check.difference.low > 0.0);
    assert_eq!(shelf.settings(), tuning.after);
    assert!(ndcg(&found, RetrievalMethod::Hybrid) >= ndcg(&found, RetrievalMethod::Keyword) - 0.02);
    assert!(tuning.sentences()[0].starts_with("the fusion is now"), "{:?}", tuning.sentences());
}

#[test]
fn a_gain_within_noise_changes_nothing() {
    let shelf = Shelf::new(Loader { noise: false, rerank: true });
    let kept = SearchSettings {
        rerank_depth: 7,
        fusion: Fusion { vector_weight: 0.4, ..Fusion::default() },
        ..SearchSettings::default()
    };
    shelf.engine.collection("c").unwrap().set_search_settings(&kept).unwrap();
    let found = shelf.measure(&RetrievalOptions { tune: true, ..RetrievalOptions::default() });
    let tuning = found.tuning.as_ref().unwrap();
    assert!(!tuning.fusion.taken && !tuning.rerank_depth.as_ref().unwrap().taken, "{tuning:#?}");
    assert_eq!((tuning.before, tuning.after, shelf.settings()), (kept, kept, kept));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let shelf = Shelf::new(Loader { noise: true, rerank: false });
    let set = shelf.set();
    let refused = |set: &RetrievalTestSet, options: RetrievalOptions| {
        let found = shelf.engine.evaluate_retrieval("c", set, &options, &NoProgress, &CancelToken::new());
        found.unwrap_err().param().map(str::to_owned)
    };
    let options = RetrievalOptions::default();
    assert_eq!(refused(&set, RetrievalOptions { k: 0, ..options.clone() }).as_deref(), Some("k"));
    assert_eq!(refused(&RetrievalTestSet::default(), options.clone()).as_deref(), Some("queries"));
    let methods = vec![RetrievalMethod::HybridReranked];
    assert_eq!(refused(&set, RetrievalOptions { methods, ..options.clone() }).as_deref(), Some("methods"));
    let few = RetrievalOptions { tune: true, sample: Some(19), ..options };
    assert_eq!(refused(&set, few).as_deref(), Some("queries"));
}
