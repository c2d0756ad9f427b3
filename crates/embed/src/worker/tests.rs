//! The worker with a model that runs only when the test lets it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anser_core::ErrorKind;

use super::*;
use crate::backend::Batching;

/// Makes the model panic, fail, or give an output too few.
const PANICS: u32 = 1_000_001;
const FAILS: u32 = 1_000_002;
const FORGETS: u32 = 1_000_003;

/// Doubles numbers. Each run first says what it holds and then waits for leave.
struct Doubler {
    started: Sender<Vec<u32>>,
    leave: Receiver<()>,
    dropped: Arc<AtomicUsize>,
}

impl Model for Doubler {
    type Item = u32;
    type Output = u32;

    fn run(&mut self, batch: &[u32]) -> Result<Vec<u32>, String> {
        self.started.send(batch.to_vec()).unwrap();
        // An error means that the test lets everything run.
        let _ = self.leave.recv();
        assert!(!batch.contains(&PANICS), "the doubler met {PANICS}");
        if batch.contains(&FAILS) {
            return Err("it met a number it dislikes".to_owned());
        }
        let forgets = usize::from(batch.contains(&FORGETS));
        Ok(batch.iter().skip(forgets).map(|number| number * 2).collect())
    }
}

impl Drop for Doubler {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// The test's side of a [`Doubler`].
struct Strings {
    started: Receiver<Vec<u32>>,
    leave: Sender<()>,
    dropped: Arc<AtomicUsize>,
}

impl Strings {
    /// What the run that has begun holds.
    fn started(&self) -> Vec<u32> {
        self.started.recv_timeout(Duration::from_mins(1)).unwrap()
    }

    /// Lets that run go on.
    fn go_on(&self) {
        self.leave.send(()).unwrap();
    }
}

fn doubler() -> (Doubler, Strings) {
    let (tell, started) = channel();
    let (leave, wait) = channel();
    let dropped = Arc::new(AtomicUsize::new(0));
    let model = Doubler { started: tell, leave: wait, dropped: Arc::clone(&dropped) };
    (model, Strings { started, leave, dropped })
}

/// Runs of padded texts.
fn padded(tokens: usize) -> RunLimit {
    RunLimit { batching: Batching::Padded, tokens }
}

fn worker(queue: usize, batch_tokens: usize) -> (Worker<Doubler>, Strings) {
    let (model, strings) = doubler();
    (Worker::spawn("doubler", queue, padded(batch_tokens), model, Vec::new()).unwrap(), strings)
}

impl<M: Model> Worker<M> {
    /// A request whose texts are all there.
    fn submit(&self, entries: Vec<Entry<M::Item>>, cancel: &CancelToken) -> Result<Vec<M::Output>, EmbedError> {
        let request = self.open(entries.len(), cancel)?;
        request.feeder().add(entries);
        request.wait()
    }
}

/// A request for `numbers`, each of which counts as ten tokens.
fn entries(numbers: &[u32]) -> Vec<Entry<u32>> {
    numbers.iter().enumerate().map(|(index, item)| Entry { index, tokens: 10, item: *item }).collect()
}

/// Submits from a thread and returns once the request is in the queue.
fn ask<'s>(
    scope: &'s thread::Scope<'s, '_>,
    worker: &'s Worker<Doubler>,
    numbers: &[u32],
    cancel: &CancelToken,
) -> ScopedJoinHandle<'s, Result<Vec<u32>, EmbedError>> {
    let before = worker.shared.state.lock().answers.len();
    let entries = entries(numbers);
    let cancel = cancel.clone();
    let asking = scope.spawn(move || worker.submit(entries, &cancel));
    while worker.shared.state.lock().answers.len() == before {
        thread::yield_now();
    }
    asking
}

fn kind<T: std::fmt::Debug>(result: Result<T, EmbedError>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn outputs_come_in_the_order_of_the_texts_whatever_order_they_ran_in() {
    let (worker, strings) = worker(4, 0);
    drop(strings.leave);
    let entries = [(0, 5), (1, 50), (2, 7)].map(|(index, tokens)| Entry { index, tokens, item: tokens as u32 });
    assert_eq!(worker.submit(entries.into(), &CancelToken::new()).unwrap(), [10, 100, 14]);
    assert_eq!(strings.started.try_iter().collect::<Vec<_>>(), [[50], [7], [5]]);
}

#[test]
fn a_full_queue_refuses_and_takes_requests_again_once_there_is_room() {
    let (worker, strings) = worker(2, 0);
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let first = ask(scope, &worker, &[1], &cancel);
        let second = ask(scope, &worker, &[2], &cancel);
        let refused = worker.submit(entries(&[3]), &cancel).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert_eq!(refused.to_string(), "doubler already has 2 requests waiting; try again in a moment");
        strings.go_on();
        strings.go_on();
        assert_eq!(first.join().unwrap().unwrap(), [2]);
        assert_eq!(second.join().unwrap().unwrap(), [4]);
        strings.go_on();
        assert_eq!(worker.submit(entries(&[3]), &cancel).unwrap(), [6]);
    });
}

#[test]
fn a_cancelled_request_stops_between_runs_and_a_waiting_one_never_runs() {
    let (worker, strings) = worker(8, 0);
    let (cancel, kept) = (CancelToken::new(), CancelToken::new());
    thread::scope(|scope| {
        let running = ask(scope, &worker, &[1, 2, 3], &cancel);
        assert_eq!(strings.started(), [1]);
        let waiting = ask(scope, &worker, &[4], &cancel);
        let other = ask(scope, &worker, &[5, 6, 7, 8], &kept);
        cancel.cancel();
        drop(strings.leave);
        assert_eq!(kind(running.join().unwrap()), ErrorKind::Cancelled);
        assert_eq!(kind(waiting.join().unwrap()), ErrorKind::Cancelled);
        assert_eq!(other.join().unwrap().unwrap(), [10, 12, 14, 16]);
        assert_eq!(strings.started.try_iter().collect::<Vec<_>>(), [[5], [6], [7], [8]]);
    });
}

#[test]
fn a_question_does_not_wait_for_the_whole_of_a_bulk_request() {
    let (worker, strings) = worker(8, 0);
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let bulk = ask(scope, &worker, &(100..120).collect::<Vec<_>>(), &cancel);
        assert_eq!(strings.started(), [100]);
        let question = ask(scope, &worker, &[7], &cancel);
        strings.go_on();
        assert_eq!(strings.started(), [7]);
        strings.go_on();
        assert_eq!(question.join().unwrap().unwrap(), [14]);
        drop(strings.leave);
        assert_eq!(bulk.join().unwrap().unwrap(), (100..120).map(|n| n * 2).collect::<Vec<_>>());
    });
}

#[test]
fn a_panic_or_failure_in_the_model_is_answered_and_the_worker_lives_on() {
    let (worker, strings) = worker(4, 0);
    drop(strings.leave);
    let cancel = CancelToken::new();
    for (number, reason) in [
        (PANICS, "it panicked: the doubler met 1000001"),
        (FAILS, "it met a number it dislikes"),
        (FORGETS, "it gave 0 outputs for 1 texts"),
    ] {
        let error = worker.submit(entries(&[1, number, 2]), &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.to_string(), format!("doubler failed while running: {reason}"));
        assert_eq!(worker.submit(entries(&[4]), &cancel).unwrap(), [8]);
    }
}

#[test]
fn texts_of_several_requests_share_a_run_and_a_bad_one_fails_only_its_own() {
    let (worker, strings) = worker(8, 1000);
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let first = ask(scope, &worker, &[1], &cancel);
        assert_eq!(strings.started(), [1]);
        let good = ask(scope, &worker, &[2, 3], &cancel);
        let bad = ask(scope, &worker, &[4, PANICS], &cancel);
        let late = ask(scope, &worker, &[5], &cancel);
        strings.go_on();
        let mut together = strings.started();
        together.sort_unstable();
        assert_eq!(together, [2, 3, 4, 5, PANICS]);
        drop(strings.leave);
        assert_eq!(first.join().unwrap().unwrap(), [2]);
        assert_eq!(good.join().unwrap().unwrap(), [4, 6]);
        assert_eq!(kind(bad.join().unwrap()), ErrorKind::Internal);
        assert_eq!(late.join().unwrap().unwrap(), [10]);
    });
}

#[test]
fn dropping_the_worker_ends_its_threads_and_frees_its_models() {
    let (model, strings) = doubler();
    let never: MakeModel<Doubler> = Box::new(|| unreachable!("one text does not keep two threads busy"));
    let worker = Worker::spawn("doubler", 1, padded(0), model, vec![never]).unwrap();
    strings.go_on();
    assert_eq!(worker.submit(entries(&[1]), &CancelToken::new()).unwrap(), [2]);
    drop(worker);
    assert_eq!(strings.dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn a_backlog_brings_a_second_model_to_the_work() {
    let (first, first_strings) = doubler();
    let (second, second_strings) = doubler();
    let worker = Worker::spawn("doubler", 1, padded(0), first, vec![Box::new(|| Ok(second))]).unwrap();
    let numbers: Vec<u32> = (0..20).collect();
    thread::scope(|scope| {
        let asking = ask(scope, &worker, &numbers, &CancelToken::new());
        // Both have begun, and neither may end before the other has.
        assert_ne!(first_strings.started(), second_strings.started());
        drop((first_strings.leave, second_strings.leave));
        assert_eq!(asking.join().unwrap().unwrap(), numbers.iter().map(|n| n * 2).collect::<Vec<_>>());
    });
}

#[test]
fn one_model_does_all_the_work_when_a_second_cannot_be_made() {
    let (first, strings) = doubler();
    drop(strings.leave);
    let fails: MakeModel<Doubler> = Box::new(|| Err(EmbedError::Stopped { model: "doubler".to_owned() }));
    let worker = Worker::spawn("doubler", 1, padded(0), first, vec![fails]).unwrap();
    for _ in 0..3 {
        assert_eq!(worker.submit(entries(&[1; 50]), &CancelToken::new()).unwrap(), [2; 50]);
    }
}

/// An item whose disposal on the worker's thread panics, outside of any model.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        assert_ne!(thread::current().name(), Some("anser-careless"));
    }
}

struct Careless;

impl Model for Careless {
    type Item = Explosive;
    type Output = ();

    fn run(&mut self, batch: &[Explosive]) -> Result<Vec<()>, String> {
        Ok(vec![(); batch.len()])
    }
}

#[test]
fn callers_are_released_when_the_thread_itself_dies() {
    let worker = Worker::spawn("careless", 4, padded(0), Careless, Vec::new()).unwrap();
    for _ in 0..2 {
        let entry = Entry { index: 0, tokens: 1, item: Explosive };
        assert_eq!(kind(worker.submit(vec![entry], &CancelToken::new())), ErrorKind::Internal);
    }
}

#[test]
fn a_request_that_is_dropped_before_it_is_complete_leaves_room_for_another() {
    let (worker, strings) = worker(1, 0);
    drop(strings.leave);
    for _ in 0..3 {
        let request = worker.open(5, &CancelToken::new()).unwrap();
        assert!(request.feeder().add(entries(&[1, 2])));
        assert_eq!(worker.open(1, &CancelToken::new()).map(|_| ()).unwrap_err().kind(), ErrorKind::Overloaded);
    }
    assert_eq!(worker.submit(entries(&[3]), &CancelToken::new()).unwrap(), [6]);
}

#[test]
fn a_request_that_has_failed_takes_no_more_texts() {
    let (worker, strings) = worker(1, 0);
    drop(strings.leave);
    let request = worker.open(2, &CancelToken::new()).unwrap();
    let feeder = request.feeder();
    assert!(feeder.add(entries(&[FAILS])));
    assert_eq!(kind(request.wait()), ErrorKind::Internal);
    assert!(!feeder.add(entries(&[1])));
}
