//! Which rows a model learns from and which it is measured on.
//!
//! All splits depend on the labels and a seed only. A stratified split gives every class its share of each part, so that
//! rare classes are neither missing from the rows to learn from nor from those to measure on.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Vectors;

/// The fold, from 0, of each row, such that every class goes round all folds: the sizes of a class in two folds differ by at
/// most 1, and so do the sizes of the folds. `folds` below 1 counts as 1.
pub fn stratified_folds(labels: &[usize], folds: usize, seed: u64) -> Vec<usize> {
    let folds = folds.max(1);
    let mut fold_of = vec![0; labels.len()];
    // One deal through all classes, each shuffled: where one class ends the next goes on, which keeps folds level.
    for (dealt, row) in by_class(labels, seed).into_iter().flatten().enumerate() {
        fold_of[row] = dealt % folds;
    }
    fold_of
}

/// The fold, from 0, of each of `count` rows in random order; sizes differ by at most 1. `folds` below 1 counts as 1.
pub fn shuffled_folds(count: usize, folds: usize, seed: u64) -> Vec<usize> {
    stratified_folds(&vec![0; count], folds, seed)
}

/// Whether each row is held out: of every class the rounded `share`, but never all of it, and at least one of a class that
/// has two rows.
pub fn stratified_held_out(labels: &[usize], share: f64, seed: u64) -> Vec<bool> {
    let mut held_out = vec![false; labels.len()];
    for rows in by_class(labels, seed) {
        let most = rows.len().saturating_sub(1);
        let wanted = (rows.len() as f64 * share).round() as usize;
        for &row in rows.iter().take(wanted.clamp(most.min(1), most)) {
            held_out[row] = true;
        }
    }
    held_out
}

/// For each of the vectors at `places` the first place in that list with the very same vector: its own where there is none
/// before it. Texts that are copies have one vector, and a model measured on a copy of what it learnt from looks too good.
pub fn first_copies(vectors: &Vectors, places: &[usize]) -> Vec<usize> {
    let mut first: HashMap<&[u8], usize> = HashMap::with_capacity(places.len());
    let own = |(at, &place)| *first.entry(bytemuck::cast_slice(vectors.row(place))).or_insert(at);
    places.iter().enumerate().map(own).collect()
}

/// Up to `each` rows of every class, drawn without replacement, class by class.
pub fn stratified_draw(labels: &[usize], each: usize, seed: u64) -> Vec<usize> {
    by_class(labels, seed).into_iter().flat_map(|rows| rows.into_iter().take(each)).collect()
}

/// The rows of each class in random order.
fn by_class(labels: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let classes = labels.iter().max().map_or(0, |highest| highest + 1);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (row, &label) in labels.iter().enumerate() {
        rows[label].push(row);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for rows in &mut rows {
        rows.shuffle(&mut rng);
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn copies_are_named_after_the_first_of_them() {
        let vectors = Vectors::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2).unwrap();
        assert_eq!(first_copies(&vectors, &[0, 1, 2, 3, 4]), [0, 1, 0, 1, 4]);
        assert_eq!(first_copies(&vectors, &[2, 4, 0]), [0, 1, 0], "places in the list, not in the vectors");
    }

    #[test]
    fn a_seed_decides() {
        let labels: Vec<usize> = (0..200).map(|row| row % 3).collect();
        assert_eq!(stratified_folds(&labels, 5, 1), stratified_folds(&labels, 5, 1));
        assert_ne!(stratified_folds(&labels, 5, 1), stratified_folds(&labels, 5, 2));
        assert_ne!(stratified_draw(&labels, 8, 1), stratified_draw(&labels, 8, 2));
        let drawn = stratified_draw(&labels, 8, 1);
        assert!((0..3).all(|class| drawn.iter().filter(|row| labels[**row] == class).count() == 8));
        assert_eq!(stratified_draw(&[0, 0, 1], 2, 7).len(), 3);
        assert!(stratified_folds(&[], 5, 1).is_empty() && stratified_held_out(&[], 0.5, 1).is_empty());
    }

    proptest! {
        #[test]
        fn every_class_and_every_fold_gets_its_share(
            labels in prop::collection::vec(0_usize..6, 0..300), folds in 1_usize..8, seed: u64
        ) {
            let fold_of = stratified_folds(&labels, folds, seed);
            let spread = |wanted: &dyn Fn(usize) -> bool| {
                let mut counts = vec![0_usize; folds];
                (0..labels.len()).filter(|row| wanted(labels[*row])).for_each(|row| counts[fold_of[row]] += 1);
                counts.iter().max().unwrap() - counts.iter().min().unwrap()
            };
            prop_assert!(spread(&|_| true) <= 1);
            for class in 0..6 {
                prop_assert!(spread(&|label| label == class) <= 1);
            }
        }

        #[test]
        fn a_held_out_part_leaves_something_of_every_class(
            labels in prop::collection::vec(0_usize..6, 0..300), share in 0.01_f64..0.99, seed: u64
        ) {
            let held_out = stratified_held_out(&labels, share, seed);
            for class in 0..6 {
                let of_class = || (0..labels.len()).filter(|row| labels[*row] == class);
                let (all, out) = (of_class().count(), of_class().filter(|row| held_out[*row]).count());
                prop_assert!(all == 0 || out < all);
                prop_assert!(all < 2 || out >= 1);
            }
        }
    }
}
