//! Does search find the documents that answer a question?

use std::time::Instant;

use anser_core::{CancelToken, DocumentId, Progress, ProgressUnit};
use serde::Serialize;

use super::{LabelledQuestion, share};
use crate::retrieve::milliseconds;
use crate::{Engine, EngineError, SearchRequest};

/// Ranks that MRR and nDCG look at.
const CUTOFF: usize = 10;

/// Largest accepted `k`.
const MAX_K: usize = 50;

/// Retrieval measured on the answerable ones of a set of questions. Ranks are of documents: a document stands where its
/// best chunk stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalEvaluation {
    /// Questions measured: those that have answering documents.
    pub questions: usize,
    /// The `k` of the recall.
    pub k: usize,
    /// Whether hits were reranked.
    pub reranked: bool,
    /// Mean share of the answering documents among the first `k`.
    pub recall_at_k: f64,
    /// Share of questions with at least one answering document among the first `k`.
    pub hit_rate_at_k: f64,
    /// Mean of 1 / rank of the first answering document, 0 beyond rank 10.
    pub mrr_at_10: f64,
    /// Mean normalised discounted cumulative gain over the first 10 ranks; gain 1 for an answering document.
    pub ndcg_at_10: f64,
    /// Mean time of one search, in milliseconds.
    pub mean_ms: f64,
    /// Questions whose answering documents are not all among the first `k`.
    pub misses: Vec<RetrievalMiss>,
}

/// A question whose answering documents were not all found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalMiss {
    /// The question's id.
    pub id: String,
    /// The question.
    pub question: String,
    /// The documents that answer it.
    pub expected: Vec<DocumentId>,
    /// The first `k` documents found, best first.
    pub found: Vec<DocumentId>,
}

impl Engine {
    /// Measures retrieval on the answerable ones of `questions`; `k` from 1 to 50.
    pub fn evaluate_retrieval(
        &self,
        collection: &str,
        questions: &[LabelledQuestion],
        k: usize,
        rerank: bool,
        progress: &dyn Progress,
        cancel: &CancelToken,
    ) -> Result<RetrievalEvaluation, EngineError> {
        if !(1..=MAX_K).contains(&k) {
            return Err(EngineError::invalid("k", format!("k is {k}, but must lie between 1 and {MAX_K}")));
        }
        // Twice as many chunks as documents wanted, so that documents with several chunks still leave enough others.
        let limit = 2 * k.max(CUTOFF);
        let rerank = rerank && self.models().reranker()?.is_some();
        let answerable: Vec<&LabelledQuestion> = questions.iter().filter(|q| q.answerable()).collect();
        progress.start("searching", Some(answerable.len() as u64), ProgressUnit::Items);
        let mut tally = Tally::default();
        let started = Instant::now();
        for (done, question) in (1..).zip(&answerable) {
            let request = SearchRequest { query: question.question.clone(), limit, rerank, ..Default::default() };
            let reply = self.search(collection, &request, cancel)?;
            let mut ranking: Vec<DocumentId> = Vec::new();
            for hit in reply.hits {
                if !ranking.contains(&hit.chunk.document_id) {
                    ranking.push(hit.chunk.document_id);
                }
            }
            tally.add(question, &ranking, k);
            progress.set(done);
        }
        progress.finish();
        let count = answerable.len();
        let mean = |sum: f64| if count == 0 { 0.0 } else { sum / count as f64 };
        Ok(RetrievalEvaluation {
            questions: count,
            k,
            reranked: rerank,
            recall_at_k: mean(tally.recall),
            hit_rate_at_k: share(tally.hits, count),
            mrr_at_10: mean(tally.reciprocal_rank),
            ndcg_at_10: mean(tally.ndcg),
            mean_ms: mean(milliseconds(started)),
            misses: tally.misses,
        })
    }
}

/// Sums over questions.
#[derive(Debug, Default)]
struct Tally {
    recall: f64,
    hits: usize,
    reciprocal_rank: f64,
    ndcg: f64,
    misses: Vec<RetrievalMiss>,
}

impl Tally {
    fn add(&mut self, question: &LabelledQuestion, ranking: &[DocumentId], k: usize) {
        let relevant = &question.answers;
        let found = ranking.iter().take(k).filter(|id| relevant.contains(id)).count();
        self.recall += share(found, relevant.len());
        self.hits += usize::from(found > 0);
        let first = ranking.iter().take(CUTOFF).position(|id| relevant.contains(id));
        self.reciprocal_rank += first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64);
        let gain: f64 = (0..)
            .zip(ranking.iter().take(CUTOFF))
            .filter(|(_, id)| relevant.contains(id))
            .map(|(i, _)| discount(i))
            .sum();
        let ideal: f64 = (0..relevant.len().min(CUTOFF)).map(discount).sum();
        self.ndcg += if ideal > 0.0 { gain / ideal } else { 0.0 };
        if found < relevant.len() {
            self.misses.push(RetrievalMiss {
                id: question.id.clone(),
                question: question.question.clone(),
                expected: relevant.clone(),
                found: ranking.iter().take(k).cloned().collect(),
            });
        }
    }
}

/// What a document at `position` (from 0) adds to the discounted cumulative gain: 1 / log2(position + 2).
fn discount(position: usize) -> f64 {
    1.0 / ((position + 2) as f64).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<DocumentId> {
        names.iter().map(|n| DocumentId::new(*n).unwrap()).collect()
    }

    fn tally(relevant: &[&str], ranking: &[&str], k: usize) -> Tally {
        let question = LabelledQuestion {
            id: "q".into(),
            question: "?".into(),
            answers: ids(relevant),
            key_fact: Vec::new(),
            reference: None,
        };
        let mut tally = Tally::default();
        tally.add(&question, &ids(ranking), k);
        tally
    }

    #[test]
    fn a_document_at_rank_two_counts_a_half() {
        let tally = tally(&["b"], &["a", "b", "c"], 5);
        assert!((tally.recall - 1.0).abs() < 1e-12);
        assert!((tally.reciprocal_rank - 0.5).abs() < 1e-12);
        assert!((tally.ndcg - 1.0 / 3f64.log2()).abs() < 1e-12);
        assert!(tally.misses.is_empty());
    }

    #[test]
    fn half_of_the_documents_is_half_the_recall_and_a_miss() {
        let tally = tally(&["a", "z"], &["a", "b"], 1);
        assert!((tally.recall - 0.5).abs() < 1e-12);
        assert_eq!(tally.hits, 1);
        let ideal = 1.0 + 1.0 / 3f64.log2();
        assert!((tally.ndcg - 1.0 / ideal).abs() < 1e-12);
        assert_eq!(tally.misses[0].found, ids(&["a"]));
    }

    #[test]
    fn ranks_beyond_the_cutoff_do_not_count() {
        let ranking: Vec<String> = (0..12).map(|i| format!("d{i}")).collect();
        let ranking: Vec<&str> = ranking.iter().map(String::as_str).collect();
        let tally = tally(&["d11"], &ranking, 5);
        assert_eq!((tally.hits, tally.misses.len()), (0, 1));
        assert!(tally.reciprocal_rank.abs() < 1e-12 && tally.ndcg.abs() < 1e-12);
    }
}
