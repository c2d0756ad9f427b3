//! Hits that do not repeat each other: maximal marginal relevance over the first of a ranking.

use anser_core::{ChunkId, ScoredChunk};
use anser_index::Collection;
use anser_index::analysis::{Vectors, maximal_marginal_relevance};

use super::rerank::relevance;
use crate::EngineError;

/// Orders `hits` by maximal marginal relevance. Hits whose chunk is gone by now are left out.
pub(super) fn diversify(
    collection: &Collection,
    hits: Vec<ScoredChunk>,
    lambda: f32,
) -> Result<Vec<ScoredChunk>, EngineError> {
    let ids: Vec<ChunkId> = hits.iter().map(|hit| hit.chunk.id).collect();
    let mut vectors = collection.chunk_vectors(&ids)?;
    let (hits, vectors): (Vec<_>, Vec<_>) =
        hits.into_iter().filter_map(|hit| vectors.remove(&hit.chunk.id).map(|vector| (hit, vector))).unzip();
    if hits.is_empty() {
        return Ok(hits);
    }
    let vectors = Vectors::from_embeddings(&vectors)?;
    let order = maximal_marginal_relevance(&scaled(&hits), &vectors, lambda, hits.len())?;
    let mut hits: Vec<Option<ScoredChunk>> = hits.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|place| hits.get_mut(place).and_then(Option::take)).collect())
}

/// What the hits are ordered by, scaled to [0, 1] by its lowest and highest: BM25 is not comparable with the cosines that
/// it is weighed against, and cosines of texts with each other are higher than those with a query.
fn scaled(hits: &[ScoredChunk]) -> Vec<f32> {
    let reranked = hits.iter().any(|hit| hit.rerank_score.is_some());
    let plain: Vec<f32> = hits.iter().map(|hit| if reranked { relevance(hit) } else { hit.score }).collect();
    let lowest = plain.iter().copied().fold(f32::INFINITY, f32::min);
    let width = plain.iter().copied().fold(f32::NEG_INFINITY, f32::max) - lowest;
    plain.into_iter().map(|score| if width > 0.0 { (score - lowest) / width } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::fixtures::hit;

    #[test]
    fn scores_are_scaled_to_between_zero_and_one() {
        let hits = [hit(1, "a", "", 7.0), hit(2, "b", "", 4.0), hit(3, "c", "", 3.0)];
        assert_eq!(scaled(&hits), [1.0, 0.25, 0.0]);
        assert_eq!(scaled(&hits[..1]), [1.0]);
        let reranked = ScoredChunk { rerank_score: Some(400.0), ..hits[2].clone() };
        assert_eq!(scaled(&[hits[1].clone(), reranked]), [0.0, 1.0], "4 and 3 + 4");
    }
}
