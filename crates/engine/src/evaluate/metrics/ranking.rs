//! Figures that say how well a ranking of documents suits what people judged relevant: nDCG, recall, reciprocal rank and
//! average precision, as `trec_eval` defines them.
//!
//! `tests/fixtures/ranking_metrics.json` holds what `trec_eval` says.

use std::collections::BTreeMap;

/// Grades of the judged documents of one query, by id: 0 and less is not relevant, and a document that was not judged
/// counts as not relevant.
pub type Grades = BTreeMap<String, i64>;

/// How many documents are relevant.
pub fn relevant(grades: &Grades) -> usize {
    grades.values().filter(|grade| **grade > 0).count()
}

/// Normalised discounted cumulative gain of the first `cutoff` documents (Järvelin and Kekäläinen 2002): gains are the
/// grades themselves, the document at rank r counts 1 / log2(r + 1), and the best possible ranking has 1. 0 when nothing
/// is relevant.
pub fn ndcg(ranking: &[&str], grades: &Grades, cutoff: usize) -> f64 {
    let mut ideal: Vec<f64> = grades.values().map(|grade| gain(*grade)).collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let ideal = discounted(ideal.into_iter().take(cutoff));
    if ideal == 0.0 {
        return 0.0;
    }
    discounted(ranking.iter().take(cutoff).map(|id| grades.get(*id).map_or(0.0, |grade| gain(*grade)))) / ideal
}

/// Share of the relevant documents that are among the first `cutoff`; 0 when nothing is relevant.
pub fn recall(ranking: &[&str], grades: &Grades, cutoff: usize) -> f64 {
    let found = ranking.iter().take(cutoff).filter(|id| is_relevant(id, grades)).count();
    super::super::share(found, relevant(grades))
}

/// 1 / rank of the first relevant document, 0 when there is none among the first `cutoff`.
pub fn reciprocal_rank(ranking: &[&str], grades: &Grades, cutoff: usize) -> f64 {
    let first = ranking.iter().take(cutoff).position(|id| is_relevant(id, grades));
    first.map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

/// Mean, over the relevant documents, of the precision at the rank of each; one that is not in the ranking counts 0.
pub fn average_precision(ranking: &[&str], grades: &Grades) -> f64 {
    let (mut found, mut sum) = (0_usize, 0.0);
    for (at, _) in ranking.iter().enumerate().filter(|(_, id)| is_relevant(id, grades)) {
        found += 1;
        sum += found as f64 / (at + 1) as f64;
    }
    let relevant = relevant(grades);
    if relevant == 0 { 0.0 } else { sum / relevant as f64 }
}

fn is_relevant(id: &str, grades: &Grades) -> bool {
    grades.get(id).is_some_and(|grade| *grade > 0)
}

fn gain(grade: i64) -> f64 {
    grade.max(0) as f64
}

fn discounted(gains: impl Iterator<Item = f64>) -> f64 {
    gains.enumerate().map(|(at, gain)| gain / ((at + 2) as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_at_rank_two_counts_less_than_one_at_rank_one() {
        let grades: Grades = [("b".to_owned(), 1)].into();
        assert!((ndcg(&["a", "b", "c"], &grades, 10) - 1.0 / 3f64.log2()).abs() < 1e-12);
        assert!((reciprocal_rank(&["a", "b"], &grades, 10) - 0.5).abs() < 1e-12);
        assert!(reciprocal_rank(&["a", "b"], &grades, 1).abs() < 1e-12);
        assert!((average_precision(&["a", "b"], &grades) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_relevant_is_nought() {
        let grades: Grades = [("a".to_owned(), 0), ("b".to_owned(), -2)].into();
        assert_eq!(relevant(&grades), 0);
        let ranking = ["a", "b"];
        let all = [ndcg(&ranking, &grades, 10), recall(&ranking, &grades, 10), average_precision(&ranking, &grades)];
        assert!(all.iter().all(|value| value.abs() < 1e-12), "{all:?}");
    }

    proptest! {
        #[test]
        fn figures_lie_between_nought_and_one_and_the_best_ranking_has_one(
            grades in prop::collection::btree_map("[a-j]", -2_i64..5, 1..10),
            ranking in Just(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).prop_shuffle(),
            cutoff in 1_usize..12,
        ) {
            let all = [
                ndcg(&ranking, &grades, cutoff),
                recall(&ranking, &grades, cutoff),
                reciprocal_rank(&ranking, &grades, cutoff),
                average_precision(&ranking, &grades),
            ];
            prop_assert!(all.iter().all(|value| (0.0..=1.0 + 1e-12).contains(value)), "{all:?}");
            let mut best: Vec<&str> = grades.keys().map(String::as_str).collect();
            best.sort_by_key(|id| -grades[*id]);
            if relevant(&grades) > 0 {
                prop_assert!((ndcg(&best, &grades, cutoff) - 1.0).abs() < 1e-12);
                prop_assert!((average_precision(&best, &grades) - 1.0).abs() < 1e-12);
            }
        }
    }
}
