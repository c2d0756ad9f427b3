//! Choosing how a collection's rankings are fused and how much the reranker reads: on one half of the queries, checked on
//! the other. What is not better there beyond chance is not taken.

use anser_core::{EmbedPurpose, Progress, ProgressUnit, ScoredChunk};
use anser_index::{Fusion, FusionMethod, SearchMode, SearchSettings};
use serde::Serialize;

use super::search::{Plan, Searcher, documents};
use super::{CUTOFF, JudgedQuery, mean, within_noise};
use crate::EngineError;
use crate::evaluate::metrics::ranking::ndcg;
use crate::evaluate::{Estimate, PairedTest, paired_bootstrap};
use crate::retrieve::relevance;

/// Fewest queries that can be divided: on fewer than ten in each half nothing can be told from chance.
const FEWEST: usize = 20;

/// Steps between a share of vectors of 0 and one of 1.
const WEIGHT_STEPS: u8 = 10;

/// Depths of reranking that are tried. The reranker's time grows with them.
const DEPTHS: [usize; 5] = [5, 10, 20, 30, 50];

/// Most queries of each half that are reranked to choose a depth: each takes as long as dozens of searches.
const RERANKED: usize = 100;

/// How settings were chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalTuning {
    /// Queries that the choice was made on.
    pub chosen_on: usize,
    /// Other queries, on which it was checked.
    pub checked_on: usize,
    /// The settings before.
    pub before: SearchSettings,
    /// The settings that are stored now.
    pub after: SearchSettings,
    /// The fusion that was best on the first half, checked on the other.
    pub fusion: TunedChoice<Fusion>,
    /// The rerank depth, likewise; `None` without a reranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_depth: Option<TunedChoice<usize>>,
}

/// One setting that was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunedChoice<T> {
    /// What was tried.
    pub tried: Vec<TuningPoint<T>>,
    /// The best of it on the first half.
    pub best: T,
    /// nDCG@10 of the best minus that of the setting before, on the second half.
    pub check: PairedTest,
    /// Whether it was taken: the interval of the gain lies above 0.
    pub taken: bool,
}

/// One value of a setting, with how good it was on the first half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TuningPoint<T> {
    /// The value.
    pub value: T,
    /// Mean nDCG@10.
    pub ndcg_at_10: f64,
}

impl RetrievalTuning {
    /// What was chosen and why, a sentence for each setting.
    pub fn sentences(&self) -> Vec<String> {
        let gain = |test: &PairedTest| {
            let Estimate { mean, low, high } = test.difference;
            format!("{mean:+.4} nDCG@10 [{low:+.4}, {high:+.4}] on {} other queries", test.count)
        };
        let mut said = vec![if self.fusion.best == self.before.fusion {
            format!(
                "the fusion stays {}: nothing tried was better on {} queries",
                fusion_name(self.before.fusion),
                self.chosen_on
            )
        } else if self.fusion.taken {
            format!("the fusion is now {}: {}", fusion_name(self.fusion.best), gain(&self.fusion.check))
        } else {
            format!(
                "the fusion stays {}: {} was best on {} queries, but the gain is within noise: {}",
                fusion_name(self.before.fusion),
                fusion_name(self.fusion.best),
                self.chosen_on,
                gain(&self.fusion.check)
            )
        }];
        said.extend(self.rerank_depth.as_ref().map(|depth| {
            let before = self.before.rerank_depth;
            if depth.best == before {
                format!("the rerank depth stays {before}: nothing tried was better")
            } else if depth.taken {
                format!("the rerank depth is now {}: {}", depth.best, gain(&depth.check))
            } else {
                format!(
                    "the rerank depth stays {before}: {} was best, but the gain is within noise: {}",
                    depth.best,
                    gain(&depth.check)
                )
            }
        }));
        said
    }
}

/// A fusion in words.
fn fusion_name(fusion: Fusion) -> String {
    let method = match fusion.method {
        FusionMethod::ReciprocalRank => "reciprocal rank",
        FusionMethod::WeightedScores => "weighted scores",
    };
    format!("{method} with vectors at {:.1}", fusion.vector_weight)
}

/// The queries to choose on and those to check on. `InvalidInput` when there are too few.
pub(super) fn halves<'a, 'b>(
    queries: &'b [&'a JudgedQuery],
) -> Result<(&'b [&'a JudgedQuery], &'b [&'a JudgedQuery]), EngineError> {
    if queries.len() < FEWEST {
        let message = format!(
            "there are {} queries with relevant documents; to choose on one half and check on the other takes at least {FEWEST}",
            queries.len()
        );
        return Err(EngineError::invalid("queries", message));
    }
    Ok(queries.split_at(queries.len() / 2))
}

/// A query with its vector, so that it is embedded once.
type Embedded<'a> = (&'a JudgedQuery, Vec<f32>);

/// Chooses settings.
pub(super) struct Tuner<'a> {
    pub(super) searcher: &'a Searcher<'a>,
    pub(super) progress: &'a dyn Progress,
    pub(super) seed: u64,
    pub(super) can_rerank: bool,
}

impl Tuner<'_> {
    /// Chooses on the one queries, checks on the others, and stores what holds.
    pub(super) fn run(
        &self,
        choosing: &[&JudgedQuery],
        checking: &[&JudgedQuery],
    ) -> Result<RetrievalTuning, EngineError> {
        let collection = self.searcher.engine.collection(self.searcher.collection)?;
        let before = collection.search_settings()?;
        let (choosing, checking) = (self.embed(choosing)?, self.embed(checking)?);
        let fusion = self.choose_fusion(before.fusion, &choosing, &checking)?;
        let mut after = before;
        if fusion.taken {
            after.fusion = fusion.best;
        }
        let rerank_depth = if self.can_rerank {
            let first = |queries: &'_ [Embedded<'_>]| queries.len().min(RERANKED);
            let (choosing, checking) = (&choosing[..first(&choosing)], &checking[..first(&checking)]);
            let choice = self.choose_depth(&after, choosing, checking)?;
            if choice.taken {
                after.rerank_depth = choice.best;
            }
            Some(choice)
        } else {
            None
        };
        if after != before {
            collection.set_search_settings(&after)?;
        }
        let (chosen_on, checked_on) = (choosing.len(), checking.len());
        Ok(RetrievalTuning { chosen_on, checked_on, before, after, fusion, rerank_depth })
    }

    fn embed<'q>(&self, queries: &[&'q JudgedQuery]) -> Result<Vec<Embedded<'q>>, EngineError> {
        self.progress.start("embedding queries", Some(queries.len() as u64), ProgressUnit::Items);
        let mut embedded = Vec::with_capacity(queries.len());
        for (done, judged) in (1..).zip(queries) {
            let vector = if let Some(vector) = &judged.query.vector {
                vector.clone()
            } else {
                let embedder = self.searcher.engine.models().embedder()?;
                let texts = [judged.query.text.clone()];
                let mut found = embedder.embed(&texts, EmbedPurpose::Query, self.searcher.cancel)?;
                let nothing = || EngineError::internal("the embedder returned nothing for a query");
                found.pop().ok_or_else(nothing)?.embedding.into_vec()
            };
            embedded.push((*judged, vector));
            self.progress.set(done);
        }
        self.progress.finish();
        Ok(embedded)
    }

    fn choose_fusion(
        &self,
        before: Fusion,
        choosing: &[Embedded<'_>],
        checking: &[Embedded<'_>],
    ) -> Result<TunedChoice<Fusion>, EngineError> {
        let fusions = fusions(before);
        self.progress.start("trying fusions", Some((fusions.len() * choosing.len()) as u64), ProgressUnit::Items);
        let mut tried = Vec::with_capacity(fusions.len());
        for (at, value) in fusions.into_iter().enumerate() {
            let scores = self.fused(value, choosing, (at * choosing.len()) as u64)?;
            tried.push(TuningPoint { value, ndcg_at_10: mean(&scores) });
        }
        self.progress.finish();
        let best = best_of(&tried);
        self.progress.start("checking the fusion", None, ProgressUnit::Items);
        let (old, new) = (self.fused(before, checking, 0)?, self.fused(best, checking, checking.len() as u64)?);
        self.progress.finish();
        Ok(self.checked(tried, best, (&old, &new)))
    }

    /// nDCG@10 of each query's hybrid search.
    fn fused(&self, fusion: Fusion, queries: &[Embedded<'_>], done: u64) -> Result<Vec<f64>, EngineError> {
        let plan = Plan { mode: SearchMode::Hybrid, fusion, rerank_depth: None };
        let one = |(at, (judged, vector)): (u64, &Embedded<'_>)| {
            let (ranking, _) = self.searcher.ranking(&judged.query, Some(vector), &plan)?;
            self.progress.set(done + at);
            Ok(quality(judged, &ranking))
        };
        (1..).zip(queries).map(one).collect()
    }

    fn choose_depth(
        &self,
        settings: &SearchSettings,
        choosing: &[Embedded<'_>],
        checking: &[Embedded<'_>],
    ) -> Result<TunedChoice<usize>, EngineError> {
        let before = settings.rerank_depth;
        let mut depths = DEPTHS.to_vec();
        if !depths.contains(&before) {
            depths.push(before);
        }
        let deepest = depths.iter().copied().max().unwrap_or(before);
        let plan = Plan { mode: SearchMode::Hybrid, fusion: settings.fusion, rerank_depth: Some(deepest) };
        // The present depth comes first: among equals the first is the best.
        depths.sort_by_key(|depth| (*depth != before, *depth));
        let read = self.reranked(&plan, choosing)?;
        let tried: Vec<TuningPoint<usize>> =
            depths.iter().map(|&value| TuningPoint { value, ndcg_at_10: mean(&at_depth(&read, value)) }).collect();
        let best = best_of(&tried);
        let plan = Plan { rerank_depth: Some(before.max(best)), ..plan };
        let read = self.reranked(&plan, checking)?;
        Ok(self.checked(tried, best, (&at_depth(&read, before), &at_depth(&read, best))))
    }

    /// The hits of each query as the deepest reranking gives them.
    fn reranked<'q>(
        &self,
        plan: &Plan,
        queries: &[Embedded<'q>],
    ) -> Result<Vec<(&'q JudgedQuery, Vec<ScoredChunk>)>, EngineError> {
        self.progress.start("reranking", Some(queries.len() as u64), ProgressUnit::Items);
        let mut read = Vec::with_capacity(queries.len());
        for (done, (judged, vector)) in (1..).zip(queries) {
            read.push((*judged, self.searcher.hits(&judged.query, Some(vector), plan)?.0));
            self.progress.set(done);
        }
        self.progress.finish();
        Ok(read)
    }

    fn checked<T: Copy + PartialEq>(
        &self,
        tried: Vec<TuningPoint<T>>,
        best: T,
        (old, new): (&[f64], &[f64]),
    ) -> TunedChoice<T> {
        let check = paired_bootstrap(old, new, self.seed);
        TunedChoice { tried, best, check, taken: !within_noise(&check) && check.difference.mean > 0.0 }
    }
}

/// The fusions to try, the present one first.
fn fusions(before: Fusion) -> Vec<Fusion> {
    let mut fusions = vec![before];
    for method in [FusionMethod::ReciprocalRank, FusionMethod::WeightedScores] {
        for step in 0..=WEIGHT_STEPS {
            let fusion = Fusion { method, vector_weight: f32::from(step) / f32::from(WEIGHT_STEPS) };
            if fusion != before {
                fusions.push(fusion);
            }
        }
    }
    fusions
}

/// The value with the highest figure, the first among equals. There is always one: the present setting.
fn best_of<T: Copy>(tried: &[TuningPoint<T>]) -> T {
    let mut best = tried[0];
    for point in &tried[1..] {
        if point.ndcg_at_10 > best.ndcg_at_10 + 1e-12 {
            best = *point;
        }
    }
    best.value
}

/// nDCG@10 of each query, had the reranker read only the first `depth` hits.
fn at_depth(read: &[(&JudgedQuery, Vec<ScoredChunk>)], depth: usize) -> Vec<f64> {
    read.iter().map(|(judged, hits)| quality(judged, &documents(shallower(hits, depth).into_iter()))).collect()
}

/// The order that hits would have, had the reranker read only the first `depth` of them: those by relevance, the others
/// as they were.
fn shallower(hits: &[ScoredChunk], depth: usize) -> Vec<&ScoredChunk> {
    let mut order: Vec<&ScoredChunk> = hits.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.id.cmp(&b.chunk.id)));
    let read = depth.min(order.len());
    order[..read].sort_by(|a, b| relevance(b).total_cmp(&relevance(a)));
    order
}

fn quality(judged: &JudgedQuery, ranking: &[String]) -> f64 {
    let ids: Vec<&str> = ranking.iter().map(String::as_str).collect();
    ndcg(&ids, &judged.grades, CUTOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    #[test]
    fn the_present_setting_wins_among_equals() {
        let point = |value: usize, ndcg_at_10: f64| TuningPoint { value, ndcg_at_10 };
        assert_eq!(best_of(&[point(20, 0.5), point(5, 0.5), point(10, 0.5)]), 20);
        assert_eq!(best_of(&[point(20, 0.5), point(5, 0.4), point(10, 0.6)]), 10);
    }

    #[test]
    fn every_fusion_is_tried_once_and_the_present_one_first() {
        let fusions = fusions(Fusion::default());
        assert_eq!(fusions.len(), 22);
        assert_eq!(fusions[0], Fusion::default());
        let odd = Fusion { vector_weight: 0.33, ..Fusion::default() };
        assert_eq!(super::fusions(odd).len(), 23);
    }

    #[test]
    fn a_shallower_reranking_leaves_later_hits_where_they_were() {
        let mut hits = vec![hit(1, "a", "a", 0.9), hit(2, "b", "b", 0.8), hit(3, "c", "c", 0.7)];
        for (hit, logit) in hits.iter_mut().zip([1.0, 5.0, 90.0]) {
            hit.vector_score = Some(0.5);
            hit.rerank_score = Some(logit);
        }
        let ids = |depth: usize| shallower(&hits, depth).iter().map(|hit| hit.chunk.id.0).collect::<Vec<_>>();
        assert_eq!([ids(1), ids(2), ids(3)], [[1, 2, 3], [2, 1, 3], [3, 2, 1]]);
    }
}
