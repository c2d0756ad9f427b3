//! When to say "I could not find it" instead of asking the model.

use anser_core::ScoredChunk;

use crate::retrieve::relevance;

/// Least relevance (cosine plus weighted logit) of the best hit. Of 99 answerable paraphrased questions to a shop's FAQ 96
/// lie above it and 19 of 27 unanswerable ones below; most of the other 8 ask what the FAQ does not say of a thing it
/// speaks about. Of 100 XQuAD questions 99 lie above it, of 40 whose whole article had been taken away 29 below.
const MIN_RELEVANCE: f32 = 0.53;

/// Least cosine of the best hit when there is no reranker, found on the same questions. Cosines of unrelated texts differ
/// between embedders, so this is right for bge-small-en-v1.5 and its like, and merely cautious for others.
const MIN_COSINE: f32 = 0.60;

/// Relevance and cosine from which on the best hit may answer in its own words when the model's words are not supported.
/// Higher than for asking the model, whose words are checked against the passages: nothing checks that a quote answers.
const MIN_QUOTABLE_RELEVANCE: f32 = 0.70;
const MIN_QUOTABLE_COSINE: f32 = 0.75;

/// Whether the hits, best first, are too weak to answer from.
pub(super) fn too_weak(hits: &[ScoredChunk]) -> bool {
    !best_reaches(hits, MIN_RELEVANCE, MIN_COSINE)
}

/// Whether the best hit is so near the question that a sentence of it is an answer.
pub(super) fn quotable(hits: &[ScoredChunk]) -> bool {
    best_reaches(hits, MIN_QUOTABLE_RELEVANCE, MIN_QUOTABLE_COSINE)
}

fn best_reaches(hits: &[ScoredChunk], least_relevance: f32, least_cosine: f32) -> bool {
    hits.first().is_some_and(|best| {
        let least = if best.rerank_score.is_some() { least_relevance } else { least_cosine };
        relevance(best) >= least
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    #[test]
    fn nothing_found_is_too_weak() {
        assert!(too_weak(&[]));
    }

    #[test]
    fn the_best_hit_decides_with_its_logit_where_it_has_one() {
        let close = hit(1, "a", "text", MIN_COSINE + 0.01);
        let far = hit(2, "b", "text", MIN_COSINE - 0.01);
        assert!(!too_weak(&[close.clone(), far.clone()]));
        assert!(too_weak(std::slice::from_ref(&far)));
        let logit = |hit: &ScoredChunk, logit| ScoredChunk { rerank_score: Some(logit), ..hit.clone() };
        assert!(too_weak(&[logit(&close, -11.0)]));
        assert!(!too_weak(&[logit(&far, 5.0)]));
    }
}
