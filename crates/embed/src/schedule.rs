//! Whose texts run next.
//!
//! The rule: the waiting request with the fewest tokens left goes next (ties go to the older one), except that the
//! oldest request goes next once it has been passed over [`PATIENCE`] times in a row. A small request therefore waits for
//! the runs that are under way, for smaller requests, and for at most one run of an older one in between; and a bulk
//! request gets at least every fourth run, however many small ones keep coming.
//!
//! The request whose turn it is gives its longest texts first. When a run may hold several texts, the room left is filled
//! with its next ones, and then with texts of other requests, smallest request first. Where texts are padded, those must
//! be at least half as long as the longest in the run, so that padding never doubles the work. Where they are not, only
//! requests join that this run finishes: what joins makes everybody's answer later, and a bulk request has nothing to gain.
//!
//! A request may bring its texts in parts while it is being read. What comes while earlier texts still wait is kept for
//! later, for to take the longest of an open end would leave nothing but short texts to be padded to the next long one.

use std::collections::{BTreeMap, VecDeque};

use crate::backend::Batching;

/// How many runs in a row the oldest request lets others go first.
const PATIENCE: usize = 3;

/// How much one run may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunLimit {
    /// What several texts cost.
    pub(crate) batching: Batching,
    /// Most that a run of several texts may cost.
    pub(crate) tokens: usize,
}

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
    limit: RunLimit,
    waiting: Vec<Waiting<I>>,
    next_request: u64,
    /// Runs since the oldest request had one.
    passed_over: usize,
}

/// Texts by their tokens; among equals the earlier one lies first.
type ByTokens<I> = BTreeMap<usize, VecDeque<Entry<I>>>;

#[derive(Debug)]
struct Waiting<I> {
    request: u64,
    /// What is being run, and what came since.
    current: ByTokens<I>,
    later: ByTokens<I>,
    /// Texts and tokens in both.
    texts: usize,
    tokens: usize,
    /// Texts that have not been brought yet.
    to_come: usize,
}

impl<I> Waiting<I> {
    /// A lower bound of the tokens left.
    fn size(&self) -> usize {
        self.tokens + self.to_come
    }

    /// The longest text that has at most `most` tokens and at least `least`.
    fn take(&mut self, least: usize, most: usize) -> Option<Entry<I>> {
        if self.current.is_empty() {
            std::mem::swap(&mut self.current, &mut self.later);
        }
        let (&tokens, queue) = self.current.range_mut(least..=most).next_back()?;
        let entry = queue.pop_front();
        if queue.is_empty() {
            self.current.remove(&tokens);
        }
        self.texts -= usize::from(entry.is_some());
        self.tokens -= entry.as_ref().map_or(0, |entry| entry.tokens);
        entry
    }
}

/// What has been chosen so far.
struct Run<I> {
    limit: RunLimit,
    batch: Vec<Picked<I>>,
    longest: usize,
    tokens: usize,
}

impl<I> Run<I> {
    /// Most tokens that another text may have; 0 when the run is full.
    fn room(&self) -> usize {
        match self.limit.batching {
            _ if self.batch.is_empty() => usize::MAX,
            Batching::Padded if (self.batch.len() + 1).saturating_mul(self.longest) <= self.limit.tokens => {
                self.longest
            }
            Batching::Padded => 0,
            Batching::Ragged => self.limit.tokens.saturating_sub(self.tokens),
        }
    }

    /// Fewest tokens that a text of `waiting` may have to join; `None` keeps it out.
    fn least(&self, waiting: &Waiting<I>, leads: bool) -> Option<usize> {
        match self.limit.batching {
            _ if leads => Some(0),
            Batching::Padded => Some(self.longest.div_ceil(2)),
            Batching::Ragged => (waiting.size() <= self.room()).then_some(0),
        }
    }

    fn fill_from(&mut self, waiting: &mut Waiting<I>, leads: bool) {
        let Some(least) = self.least(waiting, leads) else { return };
        while let most @ 1.. = self.room()
            && least <= most
            && let Some(entry) = waiting.take(least, most)
        {
            self.longest = self.longest.max(entry.tokens);
            self.tokens += entry.tokens;
            self.batch.push(Picked { request: waiting.request, entry });
        }
    }
}

impl<I> Schedule<I> {
    /// Nothing waits.
    pub(crate) fn new(limit: RunLimit) -> Self {
        Self { limit, waiting: Vec::new(), next_request: 0, passed_over: 0 }
    }

    /// A new request that will bring `texts` texts; returns its number.
    pub(crate) fn open(&mut self, texts: usize) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        let (current, later) = (BTreeMap::new(), BTreeMap::new());
        self.waiting.push(Waiting { request, current, later, texts: 0, tokens: 0, to_come: texts });
        request
    }

    /// More texts of `request`; those of a request that was removed are forgotten.
    pub(crate) fn add(&mut self, request: u64, entries: Vec<Entry<I>>) {
        let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.request == request) else { return };
        for entry in entries {
            waiting.texts += 1;
            waiting.tokens += entry.tokens;
            waiting.to_come = waiting.to_come.saturating_sub(1);
            waiting.later.entry(entry.tokens).or_default().push_back(entry);
        }
    }

    /// Forgets the texts of `request` that have not run.
    pub(crate) fn remove(&mut self, request: u64) {
        self.waiting.retain(|waiting| waiting.request != request);
    }

    /// Texts that have not run.
    pub(crate) fn texts(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.texts).sum()
    }

    /// Tokens of `request` that have not run.
    pub(crate) fn tokens_of(&self, request: u64) -> usize {
        self.waiting.iter().find(|waiting| waiting.request == request).map_or(0, |waiting| waiting.tokens)
    }

    /// Takes the texts of the next run: at least one when any waits, more only while they keep to the limit.
    pub(crate) fn next_run(&mut self) -> Vec<Picked<I>> {
        let mut run = Run { limit: self.limit, batch: Vec::new(), longest: 0, tokens: 0 };
        let Some(lead) = self.lead() else { return run.batch };
        for at in self.filling_order(lead) {
            if let Some(waiting) = self.waiting.get_mut(at) {
                run.fill_from(waiting, at == lead);
            }
        }
        self.waiting.retain(|waiting| waiting.texts + waiting.to_come > 0);
        run.batch
    }

    /// The request whose turn it is. The list is ordered by age.
    fn lead(&mut self) -> Option<usize> {
        let ready = || self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.texts > 0);
        let (oldest, _) = ready().next()?;
        let lead = match self.passed_over {
            PATIENCE.. => oldest,
            _ => ready().min_by_key(|(_, waiting)| waiting.size())?.0,
        };
        self.passed_over = if lead == oldest { 0 } else { self.passed_over + 1 };
        Some(lead)
    }

    /// `lead`, then the others, smallest first.
    fn filling_order(&self, lead: usize) -> Vec<usize> {
        let mut others: Vec<(usize, usize)> = self
            .waiting
            .iter()
            .enumerate()
            .map(|(at, waiting)| (waiting.size(), at))
            .filter(|(_, at)| *at != lead)
            .collect();
        others.sort_unstable();
        std::iter::once(lead).chain(others.into_iter().map(|(_, at)| at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(tokens: &[usize]) -> Vec<Entry<()>> {
        tokens.iter().enumerate().map(|(index, tokens)| Entry { index, tokens: *tokens, item: () }).collect()
    }

    fn padded(tokens: usize) -> Schedule<()> {
        Schedule::new(RunLimit { batching: Batching::Padded, tokens })
    }

    fn ragged(tokens: usize) -> Schedule<()> {
        Schedule::new(RunLimit { batching: Batching::Ragged, tokens })
    }

    fn push(schedule: &mut Schedule<()>, tokens: &[usize]) -> u64 {
        let number = schedule.open(tokens.len());
        schedule.add(number, request(tokens));
        number
    }

    /// (request, index) of each text of the next run.
    fn next(schedule: &mut Schedule<()>) -> Vec<(u64, usize)> {
        schedule.next_run().iter().map(|picked| (picked.request, picked.entry.index)).collect()
    }

    fn rest(schedule: &mut Schedule<()>) -> Vec<Vec<(u64, usize)>> {
        std::iter::from_fn(|| Some(next(schedule)).filter(|run| !run.is_empty())).collect()
    }

    #[test]
    fn without_a_budget_every_text_runs_alone_longest_first() {
        for mut schedule in [padded(0), ragged(0)] {
            push(&mut schedule, &[5, 9, 1]);
            assert_eq!(rest(&mut schedule), [[(0, 1)], [(0, 0)], [(0, 2)]]);
        }
    }

    #[test]
    fn a_small_request_goes_before_the_rest_of_a_bulk_request() {
        for mut schedule in [padded(0), ragged(150)] {
            let bulk = push(&mut schedule, &[50; 20]);
            for _ in 0..5 {
                assert_eq!(next(&mut schedule)[0].0, bulk);
            }
            let small = push(&mut schedule, &[10]);
            assert_eq!(next(&mut schedule), [(small, 0)]);
            assert_eq!(next(&mut schedule)[0].0, bulk);
        }
    }

    #[test]
    fn a_bulk_request_that_is_still_being_read_is_not_a_small_one() {
        let mut schedule = ragged(100);
        let bulk = schedule.open(1000);
        schedule.add(bulk, request(&[5]));
        let small = push(&mut schedule, &[20]);
        assert_eq!(next(&mut schedule), [(small, 0)]);
        assert_eq!(next(&mut schedule), [(bulk, 0)]);
        assert!(next(&mut schedule).is_empty());
        schedule.add(bulk, vec![Entry { index: 1, tokens: 4, item: () }]);
        assert_eq!((schedule.tokens_of(bulk), schedule.texts()), (4, 1));
        assert_eq!(next(&mut schedule), [(bulk, 1)]);
    }

    #[test]
    fn a_bulk_request_gets_every_fourth_run_however_many_small_ones_come() {
        let mut schedule = padded(0);
        let bulk = push(&mut schedule, &[50; 5]);
        let mut runs = Vec::new();
        for _ in 0..20 {
            push(&mut schedule, &[3]);
            runs.push(next(&mut schedule)[0].0 == bulk);
        }
        assert_eq!(runs.iter().filter(|of_bulk| **of_bulk).count(), 5);
        assert!(runs.chunks(4).all(|four| four.iter().filter(|of_bulk| **of_bulk).count() == 1), "{runs:?}");
    }

    #[test]
    fn equally_small_requests_go_in_the_order_they_came() {
        let mut schedule = padded(0);
        for _ in 0..3 {
            push(&mut schedule, &[4]);
        }
        assert_eq!([0, 1, 2].map(|_| next(&mut schedule)[0].0), [0, 1, 2]);
    }

    #[test]
    fn room_in_a_padded_run_is_filled_with_texts_of_similar_length_from_other_requests() {
        let mut schedule = padded(100);
        push(&mut schedule, &[40, 8, 9, 4, 10]);
        push(&mut schedule, &[10]);
        // The second request leads; 8, 9 and 10 of the first join, 40 would lengthen the run and 4 would be padded twofold.
        assert_eq!(next(&mut schedule), [(1, 0), (0, 4), (0, 2), (0, 1)]);
        assert_eq!(next(&mut schedule), [(0, 0), (0, 3)]);
    }

    #[test]
    fn room_in_a_ragged_run_is_filled_exactly_and_with_requests_that_it_finishes() {
        let mut schedule = ragged(100);
        let bulk = push(&mut schedule, &[60, 50, 45, 40, 9, 1, 300]);
        let questions = [push(&mut schedule, &[20]), push(&mut schedule, &[30]), push(&mut schedule, &[70])];
        // Two small ones share a run. Neither the third, which has no room, nor the bulk request makes it longer.
        assert_eq!(next(&mut schedule), [(questions[0], 0), (questions[1], 0)]);
        assert_eq!(next(&mut schedule), [(questions[2], 0)]);
        assert_eq!(
            rest(&mut schedule),
            [vec![(bulk, 6)], vec![(bulk, 0), (bulk, 3)], vec![(bulk, 1), (bulk, 2), (bulk, 5)], vec![(bulk, 4)]]
        );
    }

    #[test]
    fn what_comes_later_waits_for_what_is_there() {
        let mut schedule = padded(30);
        let bulk = schedule.open(6);
        schedule.add(bulk, request(&[10, 3, 9]));
        assert_eq!(next(&mut schedule), [(bulk, 0), (bulk, 2), (bulk, 1)]);
        schedule.add(bulk, request(&[3, 10]));
        assert_eq!(next(&mut schedule), [(bulk, 1), (bulk, 0)]);
        schedule.add(bulk, request(&[10]));
        assert_eq!(next(&mut schedule), [(bulk, 0)]);
    }

    #[test]
    fn a_removed_request_never_runs() {
        let mut schedule = padded(100);
        let gone = push(&mut schedule, &[1, 2]);
        let kept = push(&mut schedule, &[5]);
        schedule.remove(gone);
        schedule.add(gone, request(&[7]));
        assert_eq!(schedule.texts(), 1);
        assert_eq!(next(&mut schedule), [(kept, 0)]);
        assert!(next(&mut schedule).is_empty());
    }

    proptest! {
        #[test]
        fn every_text_runs_exactly_once_and_runs_keep_to_the_budget(
            requests in prop::collection::vec(prop::collection::vec(1usize..600, 1..20), 1..8),
            tokens in 0usize..3000,
            batching in prop::sample::select(vec![Batching::Padded, Batching::Ragged]),
            parts in 1usize..4,
        ) {
            let mut schedule = Schedule::new(RunLimit { batching, tokens });
            let mut expected = Vec::new();
            let mut seen = Vec::new();
            let mut waiting: Vec<_> = requests.iter().map(|tokens| (schedule.open(tokens.len()), request(tokens))).collect();
            for (number, entries) in &waiting {
                expected.extend((0..entries.len()).map(|index| (*number, index)));
            }
            // Every request brings its texts in so many parts, with a run after each.
            for part in (1..=parts).rev() {
                for (number, entries) in &mut waiting {
                    let some = entries.split_off(entries.len() - entries.len() / part);
                    schedule.add(*number, some);
                }
                loop {
                    let batch = schedule.next_run();
                    let lengths: Vec<usize> = batch.iter().map(|picked| picked.entry.tokens).collect();
                    let Some(longest) = lengths.iter().max() else { break };
                    let cost = match batching {
                        Batching::Padded => batch.len() * longest,
                        Batching::Ragged => lengths.iter().sum(),
                    };
                    prop_assert!(batch.len() == 1 || cost <= tokens);
                    seen.extend(batch.iter().map(|picked| (picked.request, picked.entry.index)));
                    if part > 1 {
                        break;
                    }
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(schedule.texts(), 0);
        }
    }
}
