//! Which texts run together, and what happens when the device has no room for them.

use std::mem;

use anser_core::DeviceFault;

/// Most of a batch that may be padding.
const PADDING: f64 = 0.1;
/// Batches smaller than this many places are not cut further: a pass has a cost of its own.
const SMALL: usize = 16;

/// What one pass may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Places, padding included; a longer text runs alone.
    pub(super) tokens: usize,
    /// Attention scores of one layer, over all heads.
    pub(super) scores: usize,
    pub(super) heads: usize,
}

impl Room {
    fn holds(&self, texts: usize, longest: usize) -> bool {
        texts == 1
            || (texts * longest <= self.tokens
                && texts.saturating_mul(self.heads).saturating_mul(longest * longest) <= self.scores)
    }
}

/// The indices of texts of these `lengths` in batches: longest first, each batch of like lengths and within `room`.
pub(super) fn batches(lengths: &[usize], room: Room) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    let length_of = |index: usize| lengths.get(index).copied().unwrap_or(0);
    order.sort_by_key(|index| std::cmp::Reverse(length_of(*index)));
    let mut batches = Vec::new();
    let mut batch: Vec<usize> = Vec::new();
    let (mut longest, mut tokens) = (0, 0);
    for index in order {
        let length = length_of(index);
        let places = (batch.len() + 1) * longest;
        let padding = places.saturating_sub(tokens + length) as f64;
        let full = !room.holds(batch.len() + 1, longest);
        if !batch.is_empty() && (full || (batch.len() >= SMALL && padding > PADDING * places as f64)) {
            batches.push(mem::take(&mut batch));
            tokens = 0;
        }
        if batch.is_empty() {
            longest = length;
        }
        batch.push(index);
        tokens += length;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// What a run gives, or why it failed and what is at fault.
type Ran<O> = Result<Vec<O>, (DeviceFault, String)>;

/// Runs `texts`; where the device has no room for all of them, each half by itself, down to single texts. `run`'s error
/// is the reason together with what is at fault.
pub(super) fn halving<T, O>(texts: &[T], run: &mut dyn FnMut(&[T]) -> Ran<O>) -> Result<Vec<O>, String> {
    match run(texts) {
        Ok(outputs) => Ok(outputs),
        Err((DeviceFault::OutOfMemory, reason)) if texts.len() > 1 => {
            tracing::warn!(texts = texts.len(), reason, "the device has no room for this batch: running it in halves");
            let (first, second) = texts.split_at(texts.len() / 2);
            let mut outputs = halving(first, run)?;
            outputs.extend(halving(second, run)?);
            Ok(outputs)
        }
        Err((_, reason)) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { tokens: 1024, scores: 1 << 20, heads: 4 };

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_and_every_batch_has_room(lengths in prop::collection::vec(1_usize..2000, 0..200)) {
            let batches = batches(&lengths, ROOM);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let longest = batch.iter().map(|index| lengths[*index]).max().unwrap();
                prop_assert!(ROOM.holds(batch.len(), longest));
            }
        }

        #[test]
        fn halves_give_what_the_whole_would(texts in prop::collection::vec(1_usize..100, 1..60), room in 100_usize..500) {
            let mut runs = 0;
            let outputs = halving(&texts, &mut |texts| {
                runs += 1;
                if texts.iter().sum::<usize>() > room {
                    return Err((DeviceFault::OutOfMemory, "full".to_owned()));
                }
                Ok(texts.to_vec())
            });
            prop_assert_eq!(outputs, Ok(texts.clone()));
            prop_assert!(runs < 4 * texts.len());
        }
    }

    #[test]
    fn like_lengths_run_together() {
        let lengths: Vec<usize> = (0..40).map(|i| if i % 2 == 0 { 10 } else { 40 }).collect();
        let batches = batches(&lengths, Room { tokens: 100_000, ..ROOM });
        assert_eq!(batches.len(), 2);
        for batch in &batches {
            let (longest, tokens) = (lengths[batch[0]], batch.iter().map(|index| lengths[*index]).sum::<usize>());
            assert!((batch.len() * longest) as f64 * (1.0 - PADDING) <= tokens as f64, "{batch:?}");
        }
    }

    #[test]
    fn only_a_single_text_that_does_not_fit_fails_and_other_faults_fail_at_once() {
        let alone = halving(&[1, 2, 3], &mut |texts: &[i32]| {
            if texts.contains(&2) { Err((DeviceFault::OutOfMemory, "full".to_owned())) } else { Ok(texts.to_vec()) }
        });
        assert_eq!(alone, Err("full".to_owned()));
        let mut runs = 0;
        let other = halving(&[1, 2, 3], &mut |_: &[i32]| -> Result<Vec<i32>, _> {
            runs += 1;
            Err((DeviceFault::Failed, "broken".to_owned()))
        });
        assert_eq!((other, runs), (Err("broken".to_owned()), 1));
    }
}
