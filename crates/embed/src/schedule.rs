//! Whose texts run next.
//!
//! The rule: the waiting request with the fewest tokens left goes next (ties go to the older one), except that the
//! oldest request goes next once it has been passed over [`PATIENCE`] times in a row. A small request therefore waits for
//! the runs that are under way, for smaller requests, and for at most one run of an older one in between; and a bulk
//! request gets at least every fourth run, however many small ones keep coming.
//!
//! The request whose turn it is gives its longest texts first. When a run may hold several texts, the room left is filled
//! with its next ones, and then with texts of other requests, smallest request first, that are at least half as long as
//! the longest in the run, so that padding never doubles the work.

/// How many runs in a row the oldest request lets others go first.
const PATIENCE: usize = 3;

/// One text of a request.
#[derive(Debug)]
pub(crate) struct Entry<I> {
    /// Position in its request.
    pub(crate) index: usize,
    /// Tokens the model will read of it.
    pub(crate) tokens: usize,
    /// What the model takes.
    pub(crate) item: I,
}

/// A text chosen for the next run.
#[derive(Debug)]
pub(crate) struct Picked<I> {
    /// The request it belongs to.
    pub(crate) request: u64,
    /// The text.
    pub(crate) entry: Entry<I>,
}

/// Requests with texts that have not run yet, oldest first.
#[derive(Debug)]
pub(crate) struct Schedule<I> {
    waiting: Vec<Waiting<I>>,
    next_request: u64,
    /// Runs since the oldest request had one.
    passed_over: usize,
}

#[derive(Debug)]
struct Waiting<I> {
    request: u64,
    /// Shortest first, so that the longest is taken from the end; among equals the earlier one lies nearer the end.
    entries: Vec<Entry<I>>,
    tokens_left: usize,
}

impl<I> Waiting<I> {
    fn take(&mut self, at: usize) -> Entry<I> {
        let entry = self.entries.remove(at);
        self.tokens_left -= entry.tokens;
        entry
    }
}

impl<I> Schedule<I> {
    /// Nothing waits.
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::new(), next_request: 0, passed_over: 0 }
    }

    /// Adds a request with at least one text and returns its number.
    pub(crate) fn push(&mut self, mut entries: Vec<Entry<I>>) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        entries.sort_unstable_by(|a, b| a.tokens.cmp(&b.tokens).then(b.index.cmp(&a.index)));
        let tokens_left = entries.iter().map(|entry| entry.tokens).sum();
        self.waiting.push(Waiting { request, entries, tokens_left });
        request
    }

    /// Forgets the texts of `request` that have not run.
    pub(crate) fn remove(&mut self, request: u64) {
        self.waiting.retain(|waiting| waiting.request != request);
    }

    /// Texts that have not run.
    pub(crate) fn texts(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.entries.len()).sum()
    }

    /// Takes the texts of the next run: at least one when any waits; more only while their count times the longest one's
    /// tokens stays within `batch_tokens`.
    pub(crate) fn next_batch(&mut self, batch_tokens: usize) -> Vec<Picked<I>> {
        self.waiting.retain(|waiting| !waiting.entries.is_empty());
        let Some(lead) = self.lead() else { return Vec::new() };
        self.passed_over = if lead == 0 { 0 } else { self.passed_over + 1 };
        let mut batch = Vec::new();
        let mut longest = 0;
        for at in self.filling_order(lead) {
            let waiting = &mut self.waiting[at];
            loop {
                if !batch.is_empty() && (batch.len() + 1).saturating_mul(longest) > batch_tokens {
                    return batch;
                }
                let fitting = match longest {
                    0 => waiting.entries.len(),
                    _ => waiting.entries.partition_point(|entry| entry.tokens <= longest),
                };
                let Some(next) = fitting.checked_sub(1) else { break };
                if at != lead && waiting.entries[next].tokens * 2 < longest {
                    break;
                }
                let entry = waiting.take(next);
                longest = longest.max(entry.tokens);
                batch.push(Picked { request: waiting.request, entry });
            }
        }
        batch
    }

    /// The request whose turn it is. The list is ordered by age.
    fn lead(&self) -> Option<usize> {
        if self.passed_over >= PATIENCE && !self.waiting.is_empty() {
            return Some(0);
        }
        (0..self.waiting.len()).min_by_key(|at| self.waiting[*at].tokens_left)
    }

    /// `lead`, then the others, smallest first.
    fn filling_order(&self, lead: usize) -> Vec<usize> {
        let mut others: Vec<usize> = (0..self.waiting.len()).filter(|at| *at != lead).collect();
        others.sort_by_key(|at| self.waiting[*at].tokens_left);
        others.insert(0, lead);
        others
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(tokens: &[usize]) -> Vec<Entry<()>> {
        tokens.iter().enumerate().map(|(index, tokens)| Entry { index, tokens: *tokens, item: () }).collect()
    }

    /// (request, index) of each text of the next run.
    fn next(schedule: &mut Schedule<()>, batch_tokens: usize) -> Vec<(u64, usize)> {
        schedule.next_batch(batch_tokens).iter().map(|picked| (picked.request, picked.entry.index)).collect()
    }

    #[test]
    fn without_a_budget_every_text_runs_alone_longest_first() {
        let mut schedule = Schedule::new();
        schedule.push(request(&[5, 9, 1]));
        let runs: Vec<_> = std::iter::from_fn(|| Some(next(&mut schedule, 0)).filter(|run| !run.is_empty())).collect();
        assert_eq!(runs, [[(0, 1)], [(0, 0)], [(0, 2)]]);
    }

    #[test]
    fn a_small_request_goes_before_the_rest_of_a_bulk_request() {
        let mut schedule = Schedule::new();
        let bulk = schedule.push(request(&[50; 20]));
        for _ in 0..5 {
            assert_eq!(next(&mut schedule, 0)[0].0, bulk);
        }
        let small = schedule.push(request(&[10]));
        assert_eq!(next(&mut schedule, 0), [(small, 0)]);
        assert_eq!(next(&mut schedule, 0)[0].0, bulk);
    }

    #[test]
    fn a_bulk_request_gets_every_fourth_run_however_many_small_ones_come() {
        let mut schedule = Schedule::new();
        let bulk = schedule.push(request(&[50; 5]));
        let mut runs = Vec::new();
        for _ in 0..20 {
            schedule.push(request(&[3]));
            runs.push(next(&mut schedule, 0)[0].0 == bulk);
        }
        assert_eq!(runs.iter().filter(|of_bulk| **of_bulk).count(), 5);
        assert!(runs.chunks(4).all(|four| four.iter().filter(|of_bulk| **of_bulk).count() == 1), "{runs:?}");
    }

    #[test]
    fn equally_small_requests_go_in_the_order_they_came() {
        let mut schedule = Schedule::new();
        for _ in 0..3 {
            schedule.push(request(&[4]));
        }
        assert_eq!([0, 1, 2].map(|_| next(&mut schedule, 0)[0].0), [0, 1, 2]);
    }

    #[test]
    fn room_in_a_run_is_filled_with_texts_of_similar_length_from_other_requests() {
        let mut schedule = Schedule::new();
        schedule.push(request(&[40, 8, 9, 4, 10]));
        schedule.push(request(&[10]));
        // The second request leads; 8, 9 and 10 of the first join, 40 would lengthen the run and 4 would be padded twofold.
        assert_eq!(next(&mut schedule, 100), [(1, 0), (0, 4), (0, 2), (0, 1)]);
        assert_eq!(next(&mut schedule, 100), [(0, 0), (0, 3)]);
    }

    #[test]
    fn a_removed_request_never_runs() {
        let mut schedule = Schedule::new();
        let gone = schedule.push(request(&[1, 2]));
        let kept = schedule.push(request(&[5]));
        schedule.remove(gone);
        assert_eq!(schedule.texts(), 1);
        assert_eq!(next(&mut schedule, 100), [(kept, 0)]);
        assert!(next(&mut schedule, 100).is_empty());
    }

    proptest! {
        #[test]
        fn every_text_runs_exactly_once_and_runs_keep_to_the_budget(
            requests in prop::collection::vec(prop::collection::vec(1usize..600, 1..20), 1..8),
            batch_tokens in 0usize..3000,
        ) {
            let mut schedule = Schedule::new();
            let mut expected = Vec::new();
            for tokens in &requests {
                let number = schedule.push(request(tokens));
                expected.extend((0..tokens.len()).map(|index| (number, index)));
            }
            let mut seen = Vec::new();
            loop {
                let batch = schedule.next_batch(batch_tokens);
                let Some(longest) = batch.iter().map(|picked| picked.entry.tokens).max() else { break };
                prop_assert!(batch.len() == 1 || batch.len() * longest <= batch_tokens);
                seen.extend(batch.iter().map(|picked| (picked.request, picked.entry.index)));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(schedule.texts(), 0);
        }
    }
}
