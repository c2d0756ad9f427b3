//! When to say "I could not find it" instead of asking the model.

use anser_core::ScoredChunk;

use crate::retrieve::relevance;

/// Least relevance (cosine plus weighted logit) of the best hit. It is set low, because an answer that the passages do not
/// support becomes an abstention anyway: of 99 answerable paraphrased questions to a shop's FAQ 98 % lie above it, and
/// still 63 % of 27 unanswerable ones below; of XQuAD questions all but 1 of 100, and 80 % of 40 whose whole article had
/// been taken away, lie on the right side of 0.54.
const MIN_RELEVANCE: f32 = 0.505;

/// Least cosine of the best hit when there is no reranker, found on the same questions. Cosines of unrelated texts differ
/// between embedders, so this is right for bge-small-en-v1.5 and its like, and merely cautious for others.
const MIN_COSINE: f32 = 0.60;

/// Whether the hits, best first, are too weak to answer from.
pub(super) fn too_weak(hits: &[ScoredChunk]) -> bool {
    let Some(best) = hits.first() else { return true };
    let least = if best.rerank_score.is_some() { MIN_RELEVANCE } else { MIN_COSINE };
    relevance(best) < least
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
        assert!(too_weak(&[far.clone()]));
        let logit = |hit: &ScoredChunk, logit| ScoredChunk { rerank_score: Some(logit), ..hit.clone() };
        assert!(too_weak(&[logit(&close, -11.0)]));
        assert!(!too_weak(&[logit(&far, 5.0)]));
    }
}
