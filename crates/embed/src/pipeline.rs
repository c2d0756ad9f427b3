//! Reading the texts of a request while the model runs those that have been read.
//!
//! The caller's thread reads block after block and hands each to the worker; a large request gets further threads to read
//! with, which end with it. How far they get ahead of the model is bounded by the worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anser_core::CancelToken;
use parking_lot::Mutex;

use crate::EmbedError;
use crate::schedule::Entry;
use crate::worker::{Feeder, Model, Worker};

/// Texts that are handed over at once: a few milliseconds of reading.
const BLOCK: usize = 64;

/// What reading text `index` gives: what the model takes, and what its caller wants to keep of it.
pub(crate) type ReadText<'a, I, N> = dyn Fn(usize) -> Result<(Entry<I>, N), EmbedError> + Sync + 'a;

/// Reads `texts` texts with up to `readers` threads, runs them, and returns outputs and notes by index. Blocks.
pub(crate) fn run<M: Model, N: Clone + Send>(
    worker: &Worker<M>,
    texts: usize,
    readers: usize,
    read: &ReadText<'_, M::Item, N>,
    cancel: &CancelToken,
) -> Result<Vec<(M::Output, N)>, EmbedError> {
    if cancel.is_cancelled() {
        return Err(EmbedError::Cancelled);
    }
    if texts == 0 {
        return Ok(Vec::new());
    }
    let request = worker.open(texts, cancel)?;
    let reading = Reading {
        texts,
        read,
        feeder: request.feeder(),
        cancel,
        next: AtomicUsize::new(0),
        notes: Mutex::new(vec![None; texts]),
        failed: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 1..readers.min(texts.div_ceil(BLOCK)) {
            // Without another thread the caller's reads everything.
            let _ = thread::Builder::new().name("anser-tokens".to_owned()).spawn_scoped(scope, || reading.go());
        }
        reading.go();
    });
    if let Some(error) = reading.failed.into_inner() {
        return Err(error);
    }
    let outputs = request.wait()?;
    Ok(outputs.into_iter().zip(reading.notes.into_inner().into_iter().flatten()).collect())
}

struct Reading<'a, M: Model, N> {
    texts: usize,
    read: &'a ReadText<'a, M::Item, N>,
    feeder: Feeder<'a, M>,
    cancel: &'a CancelToken,
    /// First text that nobody has begun to read.
    next: AtomicUsize,
    notes: Mutex<Vec<Option<N>>>,
    failed: Mutex<Option<EmbedError>>,
}

impl<M: Model, N: Clone + Send> Reading<'_, M, N> {
    /// Reads block after block until none is left, or nobody wants them any more.
    fn go(&self) {
        loop {
            let start = self.next.fetch_add(BLOCK, Ordering::Relaxed).min(self.texts);
            let end = start.saturating_add(BLOCK).min(self.texts);
            if start == end {
                return;
            }
            match self.block(start, end) {
                Ok(entries) => {
                    if !self.feeder.add(entries) {
                        return;
                    }
                }
                Err(error) => {
                    self.next.store(self.texts, Ordering::Relaxed);
                    *self.failed.lock() = Some(error);
                    return;
                }
            }
        }
    }

    fn block(&self, start: usize, end: usize) -> Result<Vec<Entry<M::Item>>, EmbedError> {
        let mut entries = Vec::with_capacity(end - start);
        let mut notes = Vec::with_capacity(end - start);
        for index in start..end {
            if self.cancel.is_cancelled() {
                return Err(EmbedError::Cancelled);
            }
            let (entry, note) = (self.read)(index)?;
            entries.push(entry);
            notes.push(Some(note));
        }
        if let Some(kept) = self.notes.lock().get_mut(start..end) {
            kept.clone_from_slice(&notes);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use anser_core::ErrorKind;

    use super::*;
    use crate::backend::Batching;
    use crate::schedule::RunLimit;
    use crate::worker::WAITING_TOKENS;

    /// Doubles numbers, and says each time how many it has done.
    struct Doubler {
        done: Arc<AtomicUsize>,
        tell: Sender<()>,
    }

    impl Model for Doubler {
        type Item = usize;
        type Output = usize;

        fn run(&mut self, batch: &[usize]) -> Result<Vec<usize>, String> {
            self.done.fetch_add(batch.len(), Ordering::SeqCst);
            // Nobody listens any more in tests that are not about the beginning.
            let _ = self.tell.send(());
            Ok(batch.iter().map(|number| number * 2).collect())
        }
    }

    fn doubler() -> (Worker<Doubler>, Arc<AtomicUsize>, Mutex<Receiver<()>>) {
        let (tell, told) = channel();
        let done = Arc::new(AtomicUsize::new(0));
        let model = Doubler { done: Arc::clone(&done), tell };
        let limit = RunLimit { batching: Batching::Ragged, tokens: 100 };
        (Worker::spawn("doubler", 1, limit, model, Vec::new()).unwrap(), done, Mutex::new(told))
    }

    fn entry(index: usize) -> Entry<usize> {
        Entry { index, tokens: 1 + index % 50, item: index }
    }

    #[test]
    fn every_text_is_read_once_and_outputs_come_in_order_with_their_notes() {
        let (worker, ..) = doubler();
        for readers in [1, 4] {
            for texts in [0, 1, BLOCK, BLOCK * 20 + 7] {
                let reads: Vec<AtomicUsize> = (0..texts).map(|_| AtomicUsize::new(0)).collect();
                let read = |index: usize| {
                    reads[index].fetch_add(1, Ordering::SeqCst);
                    Ok((entry(index), index + 1))
                };
                let ran = run(&worker, texts, readers, &read, &CancelToken::new()).unwrap();
                assert_eq!(ran, (0..texts).map(|index| (index * 2, index + 1)).collect::<Vec<_>>());
                assert!(reads.iter().all(|times| times.load(Ordering::SeqCst) == 1));
            }
        }
    }

    #[test]
    fn the_model_runs_before_the_last_text_is_read() {
        let (worker, _, told) = doubler();
        let last = BLOCK * 3;
        let read = |index: usize| {
            if index == last {
                told.lock().recv_timeout(Duration::from_mins(1)).unwrap();
            }
            Ok((entry(index), ()))
        };
        assert_eq!(run(&worker, last + 1, 1, &read, &CancelToken::new()).unwrap().len(), last + 1);
    }

    #[test]
    fn reading_does_not_run_away_from_the_model() {
        const TOKENS: usize = 512;
        let (worker, done, _) = doubler();
        let ahead = AtomicUsize::new(0);
        let read = |index: usize| {
            ahead.fetch_max(index.saturating_sub(done.load(Ordering::SeqCst)), Ordering::SeqCst);
            Ok((Entry { index, tokens: TOKENS, item: index }, ()))
        };
        run(&worker, 20_000, 2, &read, &CancelToken::new()).unwrap();
        let most = WAITING_TOKENS / TOKENS + 5 * BLOCK;
        assert!((BLOCK..most).contains(&ahead.load(Ordering::SeqCst)), "{ahead:?} {most}");
    }

    #[test]
    fn a_text_that_cannot_be_read_fails_its_request_and_no_other() {
        let (worker, ..) = doubler();
        let stopped = || EmbedError::Run { model: "doubler".to_owned(), reason: "unreadable".to_owned() };
        let read = |index: usize| if index == BLOCK * 2 { Err(stopped()) } else { Ok((entry(index), ())) };
        let error = run(&worker, BLOCK * 9, 2, &read, &CancelToken::new()).unwrap_err();
        assert_eq!(error.to_string(), stopped().to_string());
        assert_eq!(run(&worker, BLOCK, 1, &read, &CancelToken::new()).unwrap().len(), BLOCK);
    }

    #[test]
    fn reading_stops_when_the_caller_cancels() {
        let (worker, ..) = doubler();
        let cancel = CancelToken::new();
        let reads = AtomicUsize::new(0);
        let read = |index: usize| {
            if reads.fetch_add(1, Ordering::SeqCst) == BLOCK {
                cancel.cancel();
            }
            Ok((entry(index), ()))
        };
        assert_eq!(run(&worker, BLOCK * 50, 1, &read, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(reads.load(Ordering::SeqCst), BLOCK + 1);
        let read = |_: usize| -> Result<(Entry<usize>, ()), EmbedError> { unreachable!("it was cancelled") };
        assert_eq!(run(&worker, 1, 1, &read, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
