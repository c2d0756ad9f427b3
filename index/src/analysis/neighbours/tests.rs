//! Neighbours against those that comparing one by one gives.

use anser_core::{ErrorKind, NoProgress};
use proptest::prelude::*;

use super::*;
use crate::analysis::made::{around, on_one_and_three_threads};
use crate::analysis::vectors::dot;

fn find(vectors: &Vectors, k: usize, exact: Option<bool>) -> NeighbourSearch {
    let options = NeighbourOptions { k, exact, seed: 7 };
    nearest_neighbours(vectors, &options, &CancelToken::new(), &NoProgress).unwrap()
}

/// The k highest cosines of `query` with the rows of `among`.
fn highest(query: &[f32], among: &Vectors, itself: Option<usize>, k: usize) -> Vec<f32> {
    let others = among.iter().enumerate().filter(|(row, _)| Some(*row) != itself);
    let mut cosines: Vec<f32> = others.map(|(_, row)| dot(query, row)).collect();
    cosines.sort_by(|a, b| b.total_cmp(a));
    cosines.truncate(k);
    cosines
}

/// Each neighbour's cosine is its own, no neighbour is the row itself or occurs twice, and they are in order.
fn check_sound(vectors: &Vectors, neighbours: &Neighbours) {
    for row in 0..neighbours.len() {
        let (others, cosines) = neighbours.of(row);
        let distinct: std::collections::HashSet<_> = others.iter().collect();
        assert!(distinct.len() == others.len() && !distinct.contains(&(row as u32)), "row {row}: {others:?}");
        assert!(cosines.windows(2).all(|w| w[0] >= w[1]), "row {row}: {cosines:?}");
        for (other, cosine) in others.iter().zip(cosines) {
            let expected = dot(vectors.row(row), vectors.row(*other as usize));
            assert!((expected - cosine).abs() < 1e-5, "row {row} and {other}: {cosine} for {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exact_neighbours_are_those_of_the_definition(
        rows in 1_usize..150, dimension in 1_usize..40, k in 1_usize..20, seed: u64,
    ) {
        let vectors = around(5, rows, dimension, 0.5, seed);
        let found = find(&vectors, k, None);
        prop_assert!(found.exact && found.recall.is_none());
        prop_assert_eq!((found.neighbours.len(), found.neighbours.k()), (rows, k.min(rows - 1)));
        check_sound(&vectors, &found.neighbours);
        for row in 0..rows {
            let expected = highest(vectors.row(row), &vectors, Some(row), k);
            let same = expected.iter().zip(found.neighbours.of(row).1).all(|(a, b)| (a.min(1.0) - b).abs() < 1e-5);
            prop_assert!(same, "row {}", row);
        }
    }

    #[test]
    fn neighbours_among_others_are_those_of_the_definition(
        rows in 1_usize..100, others in 1_usize..2100, k in 1_usize..9, seed: u64,
    ) {
        let (queries, among) = (around(3, rows, 9, 0.6, seed), around(3, others, 9, 0.6, seed ^ 1));
        let found = nearest_among(&queries, &among, k, &CancelToken::new(), &NoProgress).unwrap();
        prop_assert_eq!((found.len(), found.k()), (rows, k.min(others)));
        for row in 0..rows {
            let expected = highest(queries.row(row), &among, None, k);
            prop_assert!(expected.iter().zip(found.of(row).1).all(|(a, b)| (a.min(1.0) - b).abs() < 1e-5));
        }
    }
}

#[test]
fn a_vector_among_the_others_finds_itself_and_equal_ones_come_by_row() {
    let vectors = around(4, 50, 8, 0.4, 1);
    let found = nearest_among(&vectors, &vectors, 1, &CancelToken::new(), &NoProgress).unwrap();
    assert!((0..50).all(|row| found.of(row).0 == [row as u32]));
    let same = Vectors::new([0.6, 0.8].repeat(30), 2).unwrap();
    for exact in [true, false] {
        let found = find(&same, 3, Some(exact)).neighbours;
        assert_eq!(found.of(0).0, [1, 2, 3]);
        assert_eq!(found.of(20).0, [0, 1, 2]);
        assert!(found.of(9).1.iter().all(|cosine| (cosine - 1.0).abs() < 1e-6));
    }
}

#[test]
fn the_approximate_way_finds_nearly_all_and_says_how_many() {
    let vectors = around(60, 6000, 48, 0.5, 3);
    let found = find(&vectors, 10, Some(false));
    check_sound(&vectors, &found.neighbours);
    let recall = found.recall.unwrap();
    assert!(!found.exact && recall > 0.9, "{recall}");
    let exact = find(&vectors, 10, Some(true)).neighbours;
    let hits: usize = (0..6000)
        .map(|row| {
            let farthest = exact.of(row).1[9] - 1e-6;
            found.neighbours.of(row).1.iter().filter(|cosine| **cosine >= farthest).count()
        })
        .sum();
    assert!((hits as f64 / 60_000.0 - recall).abs() < 0.03, "{hits} of 60000, and {recall} on a sample");
}

#[test]
fn every_row_gets_all_its_neighbours_though_a_crowd_of_copies_fills_a_list() {
    let mut values = [0.6, 0.8, 0.0].repeat(400);
    values.extend_from_slice(around(3, 40, 3, 0.5, 2).as_slice());
    let vectors = Vectors::new(values, 3).unwrap();
    for k in [1, 15, 300, 1000] {
        let found = find(&vectors, k, Some(false)).neighbours;
        assert_eq!(found.k(), k.min(439));
        check_sound(&vectors, &found);
    }
}

#[test]
fn neighbours_do_not_depend_on_the_threads() {
    let vectors = around(20, 2500, 24, 0.5, 5);
    for exact in [true, false] {
        let [one, three] = on_one_and_three_threads(|| find(&vectors, 8, Some(exact)));
        assert!(one == three, "exact {exact}");
    }
}

#[test]
fn few_rows_have_few_neighbours() {
    for exact in [true, false] {
        let search = find(&around(1, 1, 4, 0.1, 0), 5, Some(exact));
        assert_eq!(search.recall, (!exact).then_some(1.0));
        let one = search.neighbours;
        assert_eq!((one.len(), one.k(), one.of(0).0.len()), (1, 0, 0));
        let two = find(&around(1, 2, 4, 0.1, 0), 5, Some(exact)).neighbours;
        assert_eq!((two.k(), two.of(0).0, two.of(1).0), (1, &[1][..], &[0][..]));
    }
}

#[test]
fn what_cannot_be_compared_is_refused_and_a_cancelled_search_ends() {
    let vectors = around(2, 100, 4, 0.2, 0);
    let none = Vectors::new(Vec::new(), 4).unwrap();
    let other = around(2, 10, 5, 0.2, 0);
    let cancel = CancelToken::new();
    let no_k = NeighbourOptions { k: 0, ..NeighbourOptions::default() };
    let refused = [
        nearest_neighbours(&none, &NeighbourOptions::default(), &cancel, &NoProgress).map(|_| ()),
        nearest_neighbours(&vectors, &no_k, &cancel, &NoProgress).map(|_| ()),
        nearest_among(&vectors, &other, 3, &cancel, &NoProgress).map(|_| ()),
        nearest_among(&vectors, &none, 3, &cancel, &NoProgress).map(|_| ()),
    ];
    assert!(refused.iter().all(|r| r.as_ref().is_err_and(|e| e.kind() == ErrorKind::InvalidInput)));
    cancel.cancel();
    for exact in [true, false] {
        let options = NeighbourOptions { exact: Some(exact), ..NeighbourOptions::default() };
        let ended = nearest_neighbours(&vectors, &options, &cancel, &NoProgress);
        assert!(ended.is_err_and(|e| e.kind() == ErrorKind::Cancelled), "exact {exact}");
    }
}
