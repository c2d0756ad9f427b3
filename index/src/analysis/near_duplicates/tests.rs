//! Near-duplicates against those that comparing all pairs gives.

use std::collections::BTreeSet;

use anser_core::{ErrorKind, NoProgress};
use proptest::prelude::*;

use super::*;
use crate::analysis::made::{around, on_one_and_three_threads};

fn find(vectors: &Vectors, threshold: f32, exact: Option<bool>) -> NearDuplicates {
    let options = NearDuplicateOptions { threshold, exact, seed: 3 };
    near_duplicates(vectors, &options, &CancelToken::new(), &NoProgress).unwrap()
}

/// Groups by the definition: everything that can be reached by pairs at or above the threshold, and the lowest cosine of
/// the strongest way between any two rows of each.
fn by_definition(vectors: &Vectors, threshold: f32) -> BTreeSet<Vec<u32>> {
    let n = vectors.len();
    let mut group: Vec<usize> = (0..n).collect();
    for a in 0..n {
        for b in 0..a {
            if vectors.row(a) == vectors.row(b) || dot(vectors.row(a), vectors.row(b)) >= threshold {
                let (from, to) = (group[a], group[b]);
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let rows = |of: usize| (0..n).filter(|row| group[*row] == of).map(|row| row as u32).collect::<Vec<_>>();
    (0..n).map(rows).filter(|rows| rows.len() > 1).collect()
}

/// `count` rows of which some are copies and some nearly are.
fn with_copies(count: usize, dimension: usize, seed: u64) -> Vectors {
    let base = around(6, count, dimension, 0.35, seed);
    let rows: Vec<usize> = (0..count).map(|row| if row % 5 == 0 { row / 2 } else { row }).collect();
    base.gather(&rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn groups_are_those_of_the_definition(
        count in 1_usize..130, dimension in prop_oneof![1_usize..12, 30_usize..70],
        threshold in prop_oneof![0.3_f32..1.0, Just(1.0_f32)], seed: u64,
    ) {
        let vectors = with_copies(count, dimension, seed);
        let found = find(&vectors, threshold, Some(true));
        let groups: BTreeSet<Vec<u32>> = found.groups.iter().cloned().collect();
        prop_assert_eq!(&groups, &by_definition(&vectors, threshold));
        prop_assert!(found.groups.windows(2).all(|w| w[0].len() >= w[1].len()));
        let rows: usize = found.groups.iter().map(Vec::len).sum();
        prop_assert_eq!(found.pairs.len(), rows - found.groups.len());
        for (a, b, cosine) in &found.pairs {
            let expected = dot(vectors.row(*a as usize), vectors.row(*b as usize));
            prop_assert!(a < b && (expected - cosine).abs() < 1e-5);
            prop_assert!(found.groups.iter().any(|g| g.contains(a) && g.contains(b)));
        }
        prop_assert!(found.exact && found.recall.is_none());
    }
}

#[test]
fn the_pairs_are_the_strongest_that_hold_a_group_together() {
    let vectors = around(2, 90, 10, 0.4, 8);
    let found = find(&vectors, 0.5, None);
    // Prim's algorithm on the largest group, one row after another.
    let group = &found.groups[0];
    let (mut inside, mut weights) = (vec![group[0]], Vec::new());
    while inside.len() < group.len() {
        let outside = group.iter().filter(|row| !inside.contains(row));
        let reach = |row: &u32| {
            let cosines = inside.iter().map(|other| dot(vectors.row(*row as usize), vectors.row(*other as usize)));
            cosines.fold(f32::MIN, f32::max)
        };
        let next = *outside.max_by(|a, b| reach(a).total_cmp(&reach(b))).unwrap();
        weights.push(reach(&next));
        inside.push(next);
    }
    let expected: f32 = weights.iter().sum();
    let kept: f32 = found.pairs.iter().filter(|(a, _, _)| group.contains(a)).map(|p| p.2).sum();
    assert!(group.len() > 10 && (kept - expected).abs() < 1e-3, "{kept} for {expected}");
}

#[test]
fn most_pairs_are_never_compared_in_full() {
    let vectors = around(40, 3000, 96, 0.5, 2);
    let found = find(&vectors, 0.95, None);
    assert!(found.exact && found.compared < 3000 * 2999 / 2 / 20, "{}", found.compared);
}

#[test]
fn a_thousand_copies_are_one_group_of_a_thousand_rows_and_no_comparison() {
    let mut values = [0.0, 0.6, -0.8].repeat(1000);
    // Zero has two signs, which mean the same.
    values[3] = -0.0;
    values.extend_from_slice(&[1.0, 0.0, 0.0]);
    for exact in [true, false] {
        let found = find(&Vectors::new(values.clone(), 3).unwrap(), 0.99, Some(exact));
        assert_eq!(found.groups, [(0..1000).collect::<Vec<u32>>()]);
        assert!(found.pairs.len() == 999 && found.compared <= 1, "{} pairs, {}", found.pairs.len(), found.compared);
    }
}

#[test]
fn a_crowd_of_near_copies_needs_no_more_pairs_than_rows() {
    let vectors = around(1, 2500, 32, 0.02, 4);
    let found = find(&vectors, 0.9, None);
    assert_eq!((found.groups.len(), found.groups[0].len(), found.pairs.len()), (1, 2500, 2499));
}

#[test]
fn the_approximate_way_joins_nearly_all_and_says_how_many() {
    let base = around(300, 3000, 48, 0.6, 6);
    let mut values = base.as_slice().to_vec();
    for row in base.iter().step_by(3) {
        let near: Vec<f32> = row.iter().enumerate().map(|(at, v)| v + if at % 2 == 0 { 0.01 } else { -0.01 }).collect();
        let norm = near.iter().map(|v| v * v).sum::<f32>().sqrt();
        values.extend(near.iter().map(|v| v / norm));
    }
    let vectors = Vectors::new(values, 48).unwrap();
    let (exact, found) = (find(&vectors, 0.97, Some(true)), find(&vectors, 0.97, Some(false)));
    assert!(exact.pairs.len() >= 1000 && !found.exact);
    let recall = found.recall.unwrap();
    assert!(recall > 0.9 && recall <= 1.0, "{recall}");
    let joined = found.pairs.len() as f64 / exact.pairs.len() as f64;
    assert!(joined > 0.9 && joined <= 1.0, "{joined}");
}

#[test]
fn near_duplicates_do_not_depend_on_the_threads() {
    let vectors = with_copies(4500, 40, 9);
    for (exact, threshold) in [(true, 0.9), (false, 0.9), (true, 0.2)] {
        let [one, three] = on_one_and_three_threads(|| find(&vectors, threshold, Some(exact)));
        assert!(one == three, "exact {exact} at {threshold}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_one_row_has_no_copy_and_a_cancelled_search_ends() {
    let vectors = around(2, 50, 4, 0.2, 0);
    let cancel = CancelToken::new();
    for threshold in [0.0, -0.5, 1.01, f32::NAN] {
        let options = NearDuplicateOptions { threshold, ..NearDuplicateOptions::default() };
        let error = near_duplicates(&vectors, &options, &cancel, &NoProgress).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("threshold"), "{error}");
    }
    let none = Vectors::new(Vec::new(), 4).unwrap();
    let options = NearDuplicateOptions::default();
    assert_eq!(near_duplicates(&none, &options, &cancel, &NoProgress).unwrap_err().kind(), ErrorKind::InvalidInput);
    for exact in [true, false] {
        let found = find(&vectors.gather(&[0]), 0.5, Some(exact));
        assert!(found.groups.is_empty() && found.pairs.is_empty() && found.compared == 0);
    }
    cancel.cancel();
    let ended = near_duplicates(&vectors, &options, &cancel, &NoProgress).unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Cancelled);
}
