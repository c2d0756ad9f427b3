//! Whose texts run next.
//!
//! The rule: turns alternate between the waiting request with the fewest tokens left (ties go to the older one) and the
//! oldest waiting request. A small request therefore waits for at most one run of a bulk request and for requests
//! smaller than itself, and a bulk request gets at least every second run however many small ones keep coming.
//!
//! The request whose turn it is gives its longest texts first. When a run may hold several texts, the room left is filled
//! with its next ones, and then with texts of other requests, smallest request first, that are at least half as long as
//! the longest in the run, so that padding never doubles the work.

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
    oldest_turn: bool,
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
        Self { waiting: Vec::new(), next_request: 0, oldest_turn: false }
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
        self.oldest_turn = !self.oldest_turn;
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
        if self.oldest_turn {
            return (!self.waiting.is_empty()).then_some(0);
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
