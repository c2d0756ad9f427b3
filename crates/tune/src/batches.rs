//! Which examples make up a step, in which order, and how they are laid behind one another without padding.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use anser_generate::EncodedExample;

use crate::model::Batch;

/// Order of the examples in one pass: a permutation that follows from the seed and the pass alone, so that a run that
/// goes on after an interruption needs no kept generator.
pub(crate) fn epoch_order(examples: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64 + 1);
    let mut order: Vec<usize> = (0..examples).collect();
    order.shuffle(&mut random);
    order
}

/// Divides a step's examples, given by their lengths in tokens, into parts that are computed one after another and hold
/// at most `budget` tokens each; an example longer than that is a part of its own. First fit, longest first. Members of
/// a part are in their given order, and so are parts by their first member.
pub(crate) fn divide(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&index| std::cmp::Reverse(lengths.get(index).copied()));
    let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
    for index in longest_first {
        let length = lengths.get(index).copied().unwrap_or(0);
        match parts.iter_mut().find(|(taken, _)| taken + length <= budget) {
            Some((taken, members)) => {
                *taken += length;
                members.push(index);
            }
            None => parts.push((length, vec![index])),
        }
    }
    let mut parts: Vec<Vec<usize>> = parts.into_iter().map(|(_, members)| members).collect();
    for members in &mut parts {
        members.sort_unstable();
    }
    parts.sort();
    parts
}

/// Lays sequences behind one another.
pub(crate) fn pack<'a>(sequences: impl IntoIterator<Item = &'a EncodedExample>) -> Batch {
    let mut batch = Batch::default();
    for sequence in sequences {
        batch.push(&sequence.tokens, &sequence.learn);
    }
    batch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pass_visits_each_example_once_and_its_order_follows_from_seed_and_pass() {
        let order = epoch_order(50, 7, 2);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order, epoch_order(50, 7, 2));
        assert_ne!(order, epoch_order(50, 7, 3));
        assert_ne!(order, epoch_order(50, 8, 2));
    }

    #[test]
    fn sequences_lie_behind_one_another() {
        let first = EncodedExample { tokens: vec![1, 2, 3], learn: vec![false, false, true] };
        let second = EncodedExample { tokens: vec![4, 5], learn: vec![false, true] };
        let batch = pack([&first, &second]);
        assert_eq!(batch.tokens, [1, 2, 3, 4, 5]);
        assert_eq!(batch.sequence_starts, [0, 3, 5]);
        assert_eq!(batch.learn, [false, false, true, false, true]);
    }

    #[test]
    fn few_parts_are_made() {
        assert_eq!(divide(&[60, 50, 40, 50], 100), [vec![0, 2], vec![1, 3]]);
        assert_eq!(divide(&[10, 300, 20], 100), [vec![0, 2], vec![1]]);
        assert!(divide(&[], 100).is_empty());
    }

    proptest! {
        #[test]
        fn parts_hold_every_example_once_within_the_budget(lengths in prop::collection::vec(1_usize..300, 0..40), budget in 1_usize..400) {
            let parts = divide(&lengths, budget);
            let mut all: Vec<usize> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for part in parts {
                let tokens: usize = part.iter().map(|index| lengths[*index]).sum();
                prop_assert!(tokens <= budget || part.len() == 1);
            }
        }
    }
}
