//! Maximal marginal relevance: choosing hits that suit the query and do not repeat each other.

use super::Vectors;
use super::vectors::dot;
use crate::{IndexError, Result};

/// Chooses up to `count` of the candidates one after the other, each time the one with the largest
/// `lambda * relevance - (1 - lambda) * cosine with the most similar chosen one`, and returns their places in the order
/// of the choice (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and
/// producing summaries", SIGIR 1998). Of equal candidates the first is taken.
///
/// `relevance` has one number for each row of `vectors`, which hold unit vectors; a `lambda` of 1 orders by relevance
/// alone, one of 0 by dissimilarity alone. Takes `count * vectors.len()` dot products.
///
/// # Errors
/// `InvalidInput` when there is not one relevance for each vector, one is NaN, or `lambda` lies outside of [0, 1].
pub fn maximal_marginal_relevance(
    relevance: &[f32],
    vectors: &Vectors,
    lambda: f32,
    count: usize,
) -> Result<Vec<usize>> {
    if relevance.len() != vectors.len() || relevance.iter().any(|r| r.is_nan()) {
        let message = format!("{} relevances do not fit {} vectors, or one is NaN", relevance.len(), vectors.len());
        return Err(IndexError::invalid(message));
    }
    if !(0.0..=1.0).contains(&lambda) {
        return Err(IndexError::invalid_param(format!("lambda is {lambda}, but must lie between 0 and 1"), "lambda"));
    }
    let mut open: Vec<usize> = (0..relevance.len()).collect();
    // The similarity of each candidate to the most similar chosen one; nothing is chosen at first.
    let mut nearest: Vec<Option<f32>> = vec![None; relevance.len()];
    let mut chosen = Vec::with_capacity(count.min(open.len()));
    while chosen.len() < count && !open.is_empty() {
        let gain = |at: usize| lambda * relevance[at] - (1.0 - lambda) * nearest[at].unwrap_or(0.0);
        let best = (1..open.len()).fold(0, |best, i| if gain(open[i]) > gain(open[best]) { i } else { best });
        let place = open.remove(best);
        chosen.push(place);
        for &at in &open {
            let similarity = dot(vectors.row(place), vectors.row(at));
            nearest[at] = Some(nearest[at].map_or(similarity, |before| before.max(similarity)));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use anser_core::Embedding;
    use proptest::prelude::*;

    use super::*;

    fn vectors(rows: &[Vec<f32>]) -> Vectors {
        let unit: Vec<Embedding> = rows.iter().map(|row| Embedding::normalize(row.clone()).unwrap()).collect();
        Vectors::from_embeddings(&unit).unwrap()
    }

    #[test]
    fn a_copy_of_the_best_comes_after_something_else() {
        let vectors = vectors(&[vec![1.0, 0.0], vec![1.0, 0.0], vec![0.6, 0.8]]);
        let order = |lambda| maximal_marginal_relevance(&[0.9, 0.9, 0.6], &vectors, lambda, 3).unwrap();
        assert_eq!(order(1.0), [0, 1, 2]);
        assert_eq!(order(0.5), [0, 2, 1], "0.45 - 0.5 < 0.3 - 0.3");
        assert_eq!(order(0.0), [0, 2, 1]);
        assert_eq!(maximal_marginal_relevance(&[0.9, 0.9, 0.6], &vectors, 0.5, 1).unwrap(), [0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let two = vectors(&[vec![1.0], vec![1.0]]);
        assert!(maximal_marginal_relevance(&[1.0], &two, 0.5, 1).is_err());
        assert!(maximal_marginal_relevance(&[1.0, f32::NAN], &two, 0.5, 1).is_err());
        assert!(maximal_marginal_relevance(&[1.0, 1.0], &two, 1.1, 1).is_err());
        let none = Vectors::new(Vec::new(), 2).unwrap();
        assert!(maximal_marginal_relevance(&[], &none, 0.5, 9).unwrap().is_empty());
    }

    /// The definition word for word: every candidate against every chosen one, anew for every choice.
    fn naive(relevance: &[f32], vectors: &Vectors, lambda: f32, count: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < count.min(relevance.len()) {
            let mut best: Option<(f32, usize)> = None;
            for at in (0..relevance.len()).filter(|at| !chosen.contains(at)) {
                let similarity = chosen
                    .iter()
                    .map(|other| dot(vectors.row(*other), vectors.row(at)))
                    .reduce(f32::max)
                    .unwrap_or(0.0);
                let score = lambda * relevance[at] - (1.0 - lambda) * similarity;
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, at));
                }
            }
            chosen.extend(best.map(|(_, at)| at));
        }
        chosen
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_choice_is_that_of_the_definition(
            rows in prop::collection::vec((-1.0f32..1.0, prop::collection::vec(-1i8..2, 3)), 0..12),
            lambda in 0.0f32..=1.0,
            count in 0usize..14,
        ) {
            let relevance: Vec<f32> = rows.iter().map(|(relevance, _)| *relevance).collect();
            let rows: Vec<Vec<f32>> = rows.into_iter().map(|(_, row)| {
                row.into_iter().map(f32::from).chain([0.25]).collect()
            }).collect();
            let vectors = if rows.is_empty() { Vectors::new(Vec::new(), 4).unwrap() } else { vectors(&rows) };
            let expected = naive(&relevance, &vectors, lambda, count);
            prop_assert_eq!(maximal_marginal_relevance(&relevance, &vectors, lambda, count).unwrap(), expected);
        }
    }
}
