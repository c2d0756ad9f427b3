//! Which hits the model is shown: those near the best, whole, numbered, within a token budget.

use anser_core::{ContextPassage, Generator, ScoredChunk};

use super::prompt;
use crate::EngineError;
use crate::retrieve::relevance;

/// A hit whose relevance lies further below the best one's is left out: it would only distract a small model.
const MARGIN: f32 = 0.025;

/// Tokens that a prompt may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// For the whole prompt, so that the answer still fits into the model's context.
    pub(super) prompt: usize,
    /// For what the passages add to a prompt without any.
    pub(super) passages: usize,
}

/// At most `limit` hits that are not clearly worse than the first. `hits` come best first.
pub(super) fn near_best(hits: &[ScoredChunk], limit: usize) -> Vec<&ScoredChunk> {
    let Some(best) = hits.first() else { return Vec::new() };
    let near = |hit: &&ScoredChunk| relevance(hit) >= relevance(best) - MARGIN;
    hits.iter().filter(near).take(limit).collect()
}

/// Numbers hits from 1 in their order, leaving out those that no longer fit into the budget.
///
/// `TooLarge` when not even one fits.
pub(super) fn pack(
    question: &str,
    hits: &[&ScoredChunk],
    budget: Budget,
    generator: &dyn Generator,
) -> Result<Vec<ContextPassage>, EngineError> {
    let bare = generator.count_prompt_tokens(&prompt::messages(question, &[]))?;
    let most = budget.prompt.min(bare.saturating_add(budget.passages));
    let mut packed: Vec<ContextPassage> = Vec::with_capacity(hits.len());
    let mut smallest = usize::MAX;
    for hit in hits {
        packed.push(numbered(packed.len() + 1, hit));
        let tokens = generator.count_prompt_tokens(&prompt::messages(question, &packed))?;
        if tokens > most {
            smallest = smallest.min(tokens);
            packed.pop();
        }
    }
    if packed.is_empty() && !hits.is_empty() {
        let message = format!(
            "the question with its shortest passage takes {smallest} tokens, but the prompt may have {most}; ask a shorter question, raise context_tokens or lower max_tokens"
        );
        return Err(anser_core::Error::new(anser_core::ErrorKind::TooLarge, message)
            .with_param("context_tokens")
            .into());
    }
    Ok(packed)
}

/// A hit as passage `number`.
pub(super) fn numbered(number: usize, hit: &ScoredChunk) -> ContextPassage {
    ContextPassage {
        number,
        document_id: hit.chunk.document_id.clone(),
        chunk_id: hit.chunk.id,
        span: hit.chunk.span,
        title: hit.title.clone(),
        text: hit.chunk.text.clone(),
        score: hit.vector_score.unwrap_or(hit.score),
        rerank_score: hit.rerank_score,
    }
}

#[cfg(test)]
mod tests {
    use anser_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;
    use crate::answer::fixtures::{Scripted, hit};

    const WIDE: Budget = Budget { prompt: 10_000, passages: 10_000 };

    fn reranked(id: u64, text: &str, logit: f32) -> ScoredChunk {
        ScoredChunk { rerank_score: Some(logit), ..hit(id, "d", text, 0.5) }
    }

    #[test]
    fn clearly_worse_hits_are_left_out() {
        let hits = [reranked(1, "a", 8.0), reranked(2, "b", 6.0), reranked(3, "c", 5.0)];
        let ids: Vec<u64> = near_best(&hits, 5).iter().map(|h| h.chunk.id.0).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(near_best(&hits, 1).len(), 1);
        assert!(near_best(&[], 5).is_empty());
    }

    #[test]
    fn passages_are_numbered_from_one_in_order() {
        let hits = [reranked(7, "first", 2.0), reranked(9, "second", 1.0)];
        let packed = pack("q", &near_best(&hits, 5), WIDE, &Scripted::new("")).unwrap();
        let seen: Vec<(usize, u64)> = packed.iter().map(|p| (p.number, p.chunk_id.0)).collect();
        assert_eq!(seen, [(1, 7), (2, 9)]);
    }

    #[test]
    fn a_passage_that_does_not_fit_makes_room_for_a_smaller_one() {
        let long = "word ".repeat(60);
        let hits = [reranked(1, "short one", 3.0), reranked(2, &long, 2.9), reranked(3, "short two", 2.8)];
        let packed =
            pack("q", &near_best(&hits, 5), Budget { prompt: 10_000, passages: 20 }, &Scripted::new("")).unwrap();
        let seen: Vec<(usize, u64)> = packed.iter().map(|p| (p.number, p.chunk_id.0)).collect();
        assert_eq!(seen, [(1, 1), (2, 3)]);
    }

    #[test]
    fn a_budget_for_no_passage_is_an_error_that_says_so() {
        let long = "word ".repeat(60);
        let hits = [reranked(1, &long, 3.0)];
        let error =
            pack("q", &near_best(&hits, 5), Budget { prompt: 30, passages: 500 }, &Scripted::new("")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("context_tokens"), "{error}");
    }

    proptest! {
        #[test]
        fn the_prompt_never_exceeds_its_budget(lengths in prop::collection::vec(1usize..80, 1..8), most in 30usize..200) {
            let hits: Vec<ScoredChunk> =
                lengths.iter().enumerate().map(|(i, n)| reranked(i as u64, &"word ".repeat(*n), 1.0)).collect();
            let generator = Scripted::new("");
            let budget = Budget { prompt: most, passages: most };
            if let Ok(packed) = pack("what is it", &near_best(&hits, 8), budget, &generator) {
                let tokens = generator.count_prompt_tokens(&prompt::messages("what is it", &packed)).unwrap();
                prop_assert!(tokens <= most);
                prop_assert!(packed.iter().enumerate().all(|(i, p)| p.number == i + 1));
            }
        }
    }
}
