//! Does search find the documents that are relevant to a query? Vector, keyword and hybrid search, with and without the
//! reranker, are measured on the same queries; each figure has its confidence interval and each difference its test.

mod lines;
mod qrels;
mod queries;
mod remark;
mod search;
mod test_set;
mod tuning;

use anser_core::{CancelToken, DocumentId, Progress, ProgressUnit};
use anser_index::SearchSettings;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use self::queries::RetrievalQuery;
pub use self::remark::{Remark, TestSetRemarks};
pub use self::search::RetrievalMethod;
use self::search::Searcher;
pub use self::test_set::{JudgedQuery, RetrievalTestSet};
pub use self::tuning::{RetrievalTuning, TunedChoice, TuningPoint};
use super::metrics::ranking::{average_precision, ndcg, recall, reciprocal_rank, relevant};
use super::{Estimate, PairedTest, bootstrap_mean, paired_bootstrap, share};
use crate::chart::retrieval_chart;
use crate::{Engine, EngineError};

/// Ranks that MRR and nDCG look at.
const CUTOFF: usize = 10;

/// Largest accepted `k`.
const MAX_K: usize = 50;

/// What is measured, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalOptions {
    /// The `k` of the recall, 1 to 50.
    pub k: usize,
    /// What is compared. Methods that need a reranker or an embedder which is not there are left out.
    pub methods: Vec<RetrievalMethod>,
    /// Most queries that are measured, drawn with the seed; `None` is all.
    pub sample: Option<usize>,
    /// Choose the collection's fusion and rerank depth on one half of the queries, and measure on the other half.
    pub tune: bool,
    /// Draws samples, halves and resamples; the same seed gives the same figures.
    pub seed: u64,
}

impl Default for RetrievalOptions {
    fn default() -> Self {
        Self { k: 10, methods: RetrievalMethod::ALL.to_vec(), sample: None, tune: false, seed: 0 }
    }
}

/// Retrieval measured. Ranks are of documents: a document stands where its best chunk stands. The first 100 hits of each
/// search are looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalEvaluation {
    /// The collection that was searched.
    pub collection: String,
    /// Queries measured.
    pub queries: usize,
    /// The `k` of the recall.
    pub k: usize,
    /// What drew samples and resamples.
    pub seed: u64,
    /// The collection's settings that hybrid search was measured with.
    pub settings: SearchSettings,
    /// One entry for each way of searching.
    pub methods: Vec<MethodFigures>,
    /// The way with the highest nDCG@10.
    pub best: RetrievalMethod,
    /// The best against each other one.
    pub comparisons: Vec<RetrievalComparison>,
    /// How settings were chosen, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<RetrievalTuning>,
    /// What of the test set did not fit together.
    pub remarks: TestSetRemarks,
    /// Why methods that were asked for are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// How good one way of searching is: means over queries with 95 % intervals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodFigures {
    /// The way.
    pub method: RetrievalMethod,
    /// Normalised discounted cumulative gain of the first 10 documents; gains are the grades.
    pub ndcg_at_10: Estimate,
    /// Share of the relevant documents among the first `k`.
    pub recall_at_k: Estimate,
    /// 1 / rank of the first relevant document, 0 beyond rank 10.
    pub mrr_at_10: Estimate,
    /// Mean average precision.
    pub map: Estimate,
    /// Share of queries with a relevant document among the first `k`.
    pub hit_rate_at_k: f64,
    /// Mean time of a search in milliseconds, embedding of the query included.
    pub mean_ms: f64,
    /// The time within which 95 % of the searches ended, in milliseconds.
    pub p95_ms: f64,
    /// Queries of which a relevant document is not among the first `k`.
    pub misses: Vec<RetrievalMiss>,
}

/// The best way of searching against another one, by nDCG@10 of the same queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalComparison {
    /// The other one.
    pub method: RetrievalMethod,
    /// The best minus the other one.
    pub test: PairedTest,
    /// Whether the interval of the difference includes 0.
    pub within_noise: bool,
}

/// A query of which a relevant document is not among the first `k`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalMiss {
    /// The query's id.
    pub id: String,
    /// The query.
    pub query: String,
    /// The relevant documents that were not found.
    pub missing: Vec<String>,
    /// The first `k` documents found, best first.
    pub found: Vec<DocumentId>,
}

impl RetrievalEvaluation {
    /// The figures as bars with their intervals: an SVG file.
    pub fn plot(&self) -> String {
        retrieval_chart(self)
    }
}

/// Whether an interval of a difference includes 0.
pub(super) fn within_noise(test: &PairedTest) -> bool {
    test.difference.low <= 0.0 && test.difference.high >= 0.0
}

impl Engine {
    /// Measures retrieval on the queries of `set`; with [`RetrievalOptions::tune`] it first chooses the collection's search
    /// settings and stores those that are better beyond chance.
    ///
    /// `InvalidInput` for a `k` out of range, no queries, or no method that can be measured.
    pub fn evaluate_retrieval(
        &self,
        collection: &str,
        set: &RetrievalTestSet,
        options: &RetrievalOptions,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<RetrievalEvaluation, EngineError> {
        if !(1..=MAX_K).contains(&options.k) {
            let message = format!("k is {}, but must lie between 1 and {MAX_K}", options.k);
            return Err(EngineError::invalid("k", message));
        }
        if set.queries.is_empty() {
            return Err(EngineError::invalid("queries", "there are no queries with relevant documents to measure on"));
        }
        let mut remarks = set.remarks.clone();
        self.note_unknown_documents(collection, set, &mut remarks)?;
        let (methods, left_out) = self.measurable(collection, set, options)?;
        let searcher = Searcher { engine: self, collection, cancel };
        let mut queries = drawn(&set.queries, options);
        let tuning = if options.tune {
            let (choosing, reporting) = tuning::halves(&queries)?;
            let can_rerank = methods.contains(&RetrievalMethod::HybridReranked);
            let tuning = tuning::Tuner { searcher: &searcher, progress, seed: options.seed, can_rerank }
                .run(choosing, reporting)?;
            queries.drain(..choosing.len());
            Some(tuning)
        } else {
            None
        };
        let settings = self.collection(collection)?.search_settings()?;
        let mut measured = Vec::with_capacity(methods.len());
        for &method in &methods {
            measured.push(Measured::of(&searcher, &queries, (method, &settings), options.k, progress)?);
        }
        let Some(best) =
            measured.iter().max_by(|a, b| a.mean_ndcg().total_cmp(&b.mean_ndcg()).then(b.method.cmp(&a.method)))
        else {
            return Err(EngineError::invalid("methods", format!("nothing can be measured: {}", left_out.join("; "))));
        };
        let comparisons = measured.iter().filter(|other| other.method != best.method).map(|other| {
            let test = paired_bootstrap(&other.ndcg, &best.ndcg, options.seed);
            RetrievalComparison { method: other.method, test, within_noise: within_noise(&test) }
        });
        Ok(RetrievalEvaluation {
            collection: collection.to_owned(),
            queries: queries.len(),
            k: options.k,
            seed: options.seed,
            settings,
            best: best.method,
            comparisons: comparisons.collect(),
            tuning,
            remarks,
            left_out,
            methods: measured.into_iter().map(|measured| measured.figures(options.seed)).collect(),
        })
    }

    /// The methods that this engine can measure on this collection, and why not the others.
    fn measurable(
        &self,
        collection: &str,
        set: &RetrievalTestSet,
        options: &RetrievalOptions,
    ) -> Result<(Vec<RetrievalMethod>, Vec<String>), EngineError> {
        let external = self.collection(collection)?.embedder().is_external();
        let vectors = !external || set.queries.iter().all(|judged| judged.query.vector.is_some());
        let reranker = self.models().reranker()?.is_some();
        let (mut methods, mut left_out) = (Vec::new(), Vec::new());
        for method in RetrievalMethod::ALL.into_iter().filter(|method| options.methods.contains(method)) {
            if method.needs_vector() && !vectors {
                left_out.push(format!(
                    "{} needs the vectors of the queries: give each query an \"embedding\", as \"{collection}\" holds vectors that you bring along",
                    method.name()
                ));
            } else if method == RetrievalMethod::HybridReranked && !reranker {
                left_out.push(format!("{} needs a reranker, and none is set", method.name()));
            } else {
                methods.push(method);
            }
        }
        Ok((methods, left_out))
    }
}

/// The queries to measure on, in an order drawn with the seed when only some are taken or they are divided.
fn drawn<'a>(queries: &'a [JudgedQuery], options: &RetrievalOptions) -> Vec<&'a JudgedQuery> {
    let mut drawn: Vec<&JudgedQuery> = queries.iter().collect();
    if options.tune || options.sample.is_some_and(|sample| sample < drawn.len()) {
        drawn.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
        drawn.truncate(options.sample.unwrap_or(usize::MAX));
    }
    drawn
}

/// What one method did, query by query.
struct Measured {
    method: RetrievalMethod,
    ndcg: Vec<f64>,
    recall: Vec<f64>,
    reciprocal_rank: Vec<f64>,
    average_precision: Vec<f64>,
    hits: usize,
    milliseconds: Vec<f64>,
    misses: Vec<RetrievalMiss>,
}

impl Measured {
    fn of(
        searcher: &Searcher<'_>,
        queries: &[&JudgedQuery],
        (method, settings): (RetrievalMethod, &SearchSettings),
        k: usize,
        progress: &dyn Progress,
    ) -> Result<Self, EngineError> {
        let mut measured = Self {
            method,
            ndcg: Vec::with_capacity(queries.len()),
            recall: Vec::new(),
            reciprocal_rank: Vec::new(),
            average_precision: Vec::new(),
            hits: 0,
            milliseconds: Vec::new(),
            misses: Vec::new(),
        };
        let plan = method.plan(settings);
        progress.start(&format!("{} search", method.name()), Some(queries.len() as u64), ProgressUnit::Items);
        if let Some(first) = queries.first() {
            // The first search of all reads models and files; it is not one whose time counts.
            searcher.ranking(&first.query, None, &plan)?;
        }
        for (done, judged) in (1..).zip(queries) {
            let (ranking, elapsed) = searcher.ranking(&judged.query, None, &plan)?;
            measured.add(judged, &ranking, k);
            measured.milliseconds.push(elapsed);
            progress.set(done);
        }
        progress.finish();
        Ok(measured)
    }

    fn add(&mut self, judged: &JudgedQuery, ranking: &[String], k: usize) {
        let ids: Vec<&str> = ranking.iter().map(String::as_str).collect();
        let grades = &judged.grades;
        let found = recall(&ids, grades, k);
        self.ndcg.push(ndcg(&ids, grades, CUTOFF));
        self.recall.push(found);
        self.reciprocal_rank.push(reciprocal_rank(&ids, grades, CUTOFF));
        self.average_precision.push(average_precision(&ids, grades));
        let first = &ids[..k.min(ids.len())];
        let missing: Vec<String> = grades
            .iter()
            .filter(|(id, grade)| **grade > 0 && !first.contains(&id.as_str()))
            .map(|(id, _)| id.clone())
            .collect();
        self.hits += usize::from(missing.len() < relevant(grades));
        if !missing.is_empty() {
            self.misses.push(RetrievalMiss {
                id: judged.query.id.clone(),
                query: judged.query.text.clone(),
                missing,
                found: first.iter().filter_map(|id| DocumentId::new(*id).ok()).collect(),
            });
        }
    }

    fn mean_ndcg(&self) -> f64 {
        mean(&self.ndcg)
    }

    fn figures(mut self, seed: u64) -> MethodFigures {
        let mean_ms = mean(&self.milliseconds);
        self.milliseconds.sort_by(f64::total_cmp);
        let last = (self.milliseconds.len() * 95).div_ceil(100).saturating_sub(1);
        MethodFigures {
            method: self.method,
            ndcg_at_10: bootstrap_mean(&self.ndcg, seed),
            recall_at_k: bootstrap_mean(&self.recall, seed),
            mrr_at_10: bootstrap_mean(&self.reciprocal_rank, seed),
            map: bootstrap_mean(&self.average_precision, seed),
            hit_rate_at_k: share(self.hits, self.ndcg.len()),
            mean_ms,
            p95_ms: self.milliseconds.get(last).copied().unwrap_or(0.0),
            misses: self.misses,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}
