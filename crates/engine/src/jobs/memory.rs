//! The bound on the memory that jobs of this process may take together.

use std::collections::VecDeque;
use std::time::Duration;

use anser_core::{CancelToken, Error, ErrorKind};
use parking_lot::{Condvar, Mutex};

use crate::EngineError;

/// How often somebody who waits for memory looks whether the wait is over.
const LOOK: Duration = Duration::from_millis(50);

/// Memory that jobs say they need before they take it. Who comes first is served first, so that a large job is not passed
/// by small ones for ever.
pub(crate) struct MemoryBudget {
    bound: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    held: u64,
    waiting: VecDeque<u64>,
    next: u64,
}

/// Memory that a job may take. Given back when dropped.
pub(crate) struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl MemoryBudget {
    /// At most `bound` bytes together; `u64::MAX` for no bound.
    pub(crate) fn new(bound: u64) -> Self {
        Self { bound, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Reserves `bytes`, waiting while others hold too much; `told` is called once if that is so, with the bytes that are
    /// held. `TooLarge` for more than there will ever be, `Cancelled` when `cancel` says so while waiting.
    pub(crate) fn reserve(
        &self,
        bytes: u64,
        cancel: &CancelToken,
        told: impl FnOnce(u64),
    ) -> Result<Reservation<'_>, EngineError> {
        if bytes > self.bound {
            return Err(EngineError::Core(Error::new(ErrorKind::TooLarge, self.refusal(bytes))));
        }
        let mut state = self.state.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        let mut told = Some(told);
        while state.waiting.front() != Some(&ticket) || bytes > self.bound - state.held {
            if let Err(cancelled) = cancel.check() {
                state.waiting.retain(|waiting| *waiting != ticket);
                self.freed.notify_all();
                return Err(cancelled.into());
            }
            if let Some(told) = told.take() {
                told(state.held);
            }
            self.freed.wait_for(&mut state, LOOK);
        }
        state.waiting.pop_front();
        state.held += bytes;
        self.freed.notify_all();
        Ok(Reservation { budget: self, bytes })
    }

    /// The bound.
    pub(super) fn bound(&self) -> u64 {
        self.bound
    }

    fn refusal(&self, bytes: u64) -> String {
        format!(
            "the analysis needs about {} of memory, but jobs may take {}; narrow it down with a filter, or raise the bound \
             with --job-memory where there is more",
            in_words(bytes),
            in_words(self.bound)
        )
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.held -= self.bytes;
        self.budget.freed.notify_all();
    }
}

/// A size for messages.
pub(crate) fn in_words(bytes: u64) -> String {
    let (gibi, mebi) = (bytes as f64 / (1_u64 << 30) as f64, bytes as f64 / (1_u64 << 20) as f64);
    if gibi >= 1.0 { format!("{gibi:.1} GiB") } else { format!("{mebi:.1} MiB") }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn what_can_never_be_had_is_refused_and_what_fits_is_given_at_once() {
        let budget = MemoryBudget::new(100);
        let cancel = CancelToken::new();
        let error = budget.reserve(101, &cancel, |_| panic!("nothing to wait for")).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("--job-memory"), "{error}");
        let held: Vec<_> = (0..2).map(|_| budget.reserve(50, &cancel, |_| panic!("it fits")).unwrap()).collect();
        drop(held);
        drop(budget.reserve(100, &cancel, |_| panic!("everything was given back")).unwrap());
        drop(MemoryBudget::new(u64::MAX).reserve(u64::MAX, &cancel, |_| panic!("there is no bound")).unwrap());
    }

    #[test]
    fn who_waits_is_told_once_served_in_turn_and_let_go_when_cancelled() {
        let budget = MemoryBudget::new(100);
        let (cancel, gone) = (CancelToken::new(), CancelToken::new());
        let first = budget.reserve(60, &cancel, |_| {}).unwrap();
        let told = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let large = scope.spawn(|| {
                let reserved = budget.reserve(90, &gone, |held| {
                    told.fetch_add(held, Ordering::SeqCst);
                });
                reserved.err().map(|error| error.kind())
            });
            while told.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            // It would fit, but another came before.
            let small =
                scope.spawn(|| budget.reserve(40, &cancel, |_| _ = told.fetch_add(1, Ordering::SeqCst)).is_ok());
            while told.load(Ordering::SeqCst) < 61 {
                std::thread::yield_now();
            }
            gone.cancel();
            assert_eq!(large.join().unwrap(), Some(ErrorKind::Cancelled));
            assert!(small.join().unwrap());
        });
        assert_eq!(told.load(Ordering::SeqCst), 61);
        drop(first);
        assert!(budget.reserve(100, &cancel, |_| {}).is_ok());
    }
}
