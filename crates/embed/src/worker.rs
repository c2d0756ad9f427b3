//! Threads that own models, and the bounded queue in front of them.
//!
//! A request is a list of texts that may come in parts; it blocks its caller until every text has run. The first thread
//! gets its model from the caller; further threads make their own when there is more to do than one thread can, and take
//! from the same queue. Between two runs of a model, requests whose caller has cancelled are dropped. A panic or failure of
//! a model is answered to the requests whose texts were running, and the thread lives on. Whoever has nothing to do sleeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anser_core::CancelToken;
use parking_lot::{Condvar, Mutex};

use crate::EmbedError;
use crate::panics::caught;
use crate::schedule::{Entry, Picked, RunLimit, Schedule};

/// Waiting texts at which another thread makes its model: loading one takes about as long as a dozen texts.
const BACKLOG: usize = 8;
/// Tokens of one request that may wait; whoever brings more waits until some have run. A run of every thread holds fewer.
pub(crate) const WAITING_TOKENS: usize = 1 << 17;

/// Something that turns texts into outputs, one for each, in order.
pub(crate) trait Model: Send + 'static {
    /// What it takes of one text.
    type Item: Send + 'static;
    /// What it gives for one text.
    type Output: Send + 'static;

    /// Runs all of `batch` at once. The reason of a failure completes "MODEL failed while running: ...".
    fn run(&mut self, batch: &[Self::Item]) -> Result<Vec<Self::Output>, String>;
}

/// Makes a further model for a further thread.
pub(crate) type MakeModel<M> = Box<dyn FnOnce() -> Result<M, EmbedError> + Send>;

/// One or more threads with a model each. Dropping it stops and joins them.
pub(crate) struct Worker<M: Model> {
    shared: Arc<Shared<M>>,
    threads: Vec<JoinHandle<()>>,
    queue: usize,
}

struct Shared<M: Model> {
    name: String,
    state: Mutex<State<M>>,
    /// There are texts to run, or the worker stops.
    work: Condvar,
    /// There are more texts than the running threads can take, or a thread is gone, or the worker stops.
    backlog: Condvar,
    /// A request may bring more texts, or is not wanted any more.
    room: Condvar,
}

struct State<M: Model> {
    schedule: Schedule<M::Item>,
    answers: BTreeMap<u64, Answer<M::Output>>,
    stopping: bool,
    /// Threads that have not ended.
    running: usize,
    /// Whether a thread ended by a panic outside its model, so that another has to step in.
    deserted: bool,
}

/// What a caller waits for.
struct Answer<O> {
    outputs: Vec<Option<O>>,
    missing: usize,
    cancel: CancelToken,
    reply: SyncSender<Result<Vec<O>, EmbedError>>,
}

impl<M: Model> Worker<M> {
    /// Starts a thread for `model` and one for each of `further`; `name` is the model's name in messages, and `queue` the
    /// number of requests that may be open at once.
    pub(crate) fn spawn(
        name: &str,
        queue: usize,
        limit: RunLimit,
        model: M,
        further: Vec<MakeModel<M>>,
    ) -> Result<Self, EmbedError> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            state: Mutex::new(State {
                schedule: Schedule::new(limit),
                answers: BTreeMap::new(),
                stopping: false,
                running: 0,
                deserted: false,
            }),
            work: Condvar::new(),
            backlog: Condvar::new(),
            room: Condvar::new(),
        });
        let mut worker = Self { shared, threads: Vec::with_capacity(further.len() + 1), queue };
        worker.start(|shared| shared.serve(model))?;
        for make in further {
            worker.start(|shared| shared.serve_when_busy(make))?;
        }
        Ok(worker)
    }

    fn start(&mut self, body: impl FnOnce(&Shared<M>) + Send + 'static) -> Result<(), EmbedError> {
        let shared = Arc::clone(&self.shared);
        shared.state.lock().running += 1;
        let leaving = Leaving(shared);
        let thread = thread::Builder::new()
            .name(format!("anser-{}", self.shared.name))
            .spawn(move || body(&leaving.0))
            .map_err(|source| EmbedError::Thread { model: self.shared.name.clone(), source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Begins a request of `texts` texts, at least one; they are added one by one or in parts, in any order.
    pub(crate) fn open(&self, texts: usize, cancel: &CancelToken) -> Result<Request<'_, M>, EmbedError> {
        let (reply, answer) = sync_channel(1);
        let mut state = self.shared.state.lock();
        if state.running == 0 {
            return Err(self.shared.stopped());
        }
        if state.answers.len() >= self.queue {
            return Err(EmbedError::Overloaded { model: self.shared.name.clone(), queue: self.queue });
        }
        let outputs = (0..texts).map(|_| None).collect();
        let number = state.schedule.open(texts);
        state.answers.insert(number, Answer { outputs, missing: texts, cancel: cancel.clone(), reply });
        Ok(Request { feeder: Feeder { shared: &self.shared, number }, answer })
    }
}

/// A request that is being answered. Dropping it takes it back.
pub(crate) struct Request<'w, M: Model> {
    feeder: Feeder<'w, M>,
    answer: Receiver<Result<Vec<M::Output>, EmbedError>>,
}

impl<'w, M: Model> Request<'w, M> {
    /// What brings the texts.
    pub(crate) fn feeder(&self) -> Feeder<'w, M> {
        Feeder { ..self.feeder }
    }

    /// The outputs by index, once every text has been added and has run. Blocks.
    pub(crate) fn wait(self) -> Result<Vec<M::Output>, EmbedError> {
        self.answer.recv().unwrap_or_else(|_| Err(self.feeder.shared.stopped()))
    }
}

impl<M: Model> Drop for Request<'_, M> {
    fn drop(&mut self) {
        let mut state = self.feeder.shared.state.lock();
        state.schedule.remove(self.feeder.number);
        state.answers.remove(&self.feeder.number);
        self.feeder.shared.room.notify_all();
    }
}

/// Brings the texts of a request, from any thread.
pub(crate) struct Feeder<'w, M: Model> {
    shared: &'w Shared<M>,
    number: u64,
}

impl<M: Model> Feeder<'_, M> {
    /// Adds `entries` once not too many others wait. Returns whether the request still has use for texts: it has none when
    /// it was answered already, because it failed or was cancelled.
    pub(crate) fn add(&self, entries: Vec<Entry<M::Item>>) -> bool {
        let texts = entries.len();
        let mut state = self.shared.state.lock();
        while state.answers.contains_key(&self.number) && state.schedule.tokens_of(self.number) >= WAITING_TOKENS {
            self.shared.room.wait(&mut state);
        }
        if !state.answers.contains_key(&self.number) {
            return false;
        }
        state.schedule.add(self.number, entries);
        if state.schedule.texts() >= BACKLOG {
            self.shared.backlog.notify_all();
        }
        drop(state);
        // No more threads than have something to do, and none once all are awake.
        let _ = (0..texts).all(|_| self.shared.work.notify_one());
        true
    }
}

impl<M: Model> Drop for Worker<M> {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.work.notify_all();
        self.shared.backlog.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has already given up its requests; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Held by each thread. When the last one ends, for whatever reason, callers that still wait are released.
struct Leaving<M: Model>(Arc<Shared<M>>);

impl<M: Model> Drop for Leaving<M> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        state.deserted |= thread::panicking();
        if state.running == 0 {
            state.answers.clear();
        }
        self.0.backlog.notify_all();
        self.0.room.notify_all();
    }
}

impl<M: Model> Shared<M> {
    fn stopped(&self) -> EmbedError {
        EmbedError::Stopped { model: self.name.clone() }
    }

    /// Waits until one thread is not enough, makes the model and serves. Without the model the first thread goes on alone.
    fn serve_when_busy(&self, make: MakeModel<M>) {
        {
            let mut state = self.state.lock();
            while !state.stopping && !state.deserted && state.schedule.texts() < BACKLOG {
                self.backlog.wait(&mut state);
            }
            if state.stopping {
                return;
            }
        }
        match make() {
            Ok(model) => self.serve(model),
            Err(error) => tracing::warn!(model = self.name, %error, "a further copy of the model could not be loaded"),
        }
    }

    fn serve(&self, mut model: M) {
        while let Some(batch) = self.wait_for_batch() {
            for (request, result) in self.run_batch(&mut model, batch) {
                self.deliver(request, result);
            }
        }
    }

    /// The next texts to run, or `None` when the worker is being dropped.
    fn wait_for_batch(&self) -> Option<Vec<Picked<M::Item>>> {
        let mut state = self.state.lock();
        loop {
            if state.stopping {
                return None;
            }
            state.drop_cancelled();
            let batch = state.schedule.next_run();
            self.room.notify_all();
            if !batch.is_empty() {
                return Some(batch);
            }
            self.work.wait(&mut state);
        }
    }

    /// Runs `batch` and sorts the outputs by request. If a run that mixes requests fails, each request's texts run again
    /// by themselves, so that one bad text fails only its own request.
    fn run_batch(&self, model: &mut M, mut batch: Vec<Picked<M::Item>>) -> Vec<Ran<M::Output>> {
        batch.sort_by_key(|picked| picked.request);
        let (keys, items): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|picked| ((picked.request, picked.entry.index), picked.entry.item)).unzip();
        let requests: Vec<&[(u64, usize)]> = keys.chunk_by(|a, b| a.0 == b.0).collect();
        let results: Vec<_> = match self.attempt(model, &items) {
            Ok(outputs) => {
                let mut outputs = outputs.into_iter();
                requests.iter().map(|keys| Ok(outputs.by_ref().take(keys.len()).collect())).collect()
            }
            Err(error) if requests.len() == 1 => vec![Err(error)],
            Err(_) => {
                let mut rest = items.as_slice();
                let own = requests.iter().map(|keys| rest.split_off(..keys.len()).unwrap_or_default());
                own.map(|own| self.attempt(model, own)).collect()
            }
        };
        requests
            .into_iter()
            .zip(results)
            .filter_map(|(keys, outputs): (_, Result<Vec<_>, _>)| {
                let request = keys.first()?.0;
                Some((request, outputs.map(|outputs| keys.iter().map(|key| key.1).zip(outputs).collect())))
            })
            .collect()
    }

    fn attempt(&self, model: &mut M, items: &[M::Item]) -> Result<Vec<M::Output>, EmbedError> {
        caught(|| model.run(items))
            .and_then(|outputs| outputs)
            .and_then(|outputs| match outputs.len() {
                got if got == items.len() => Ok(outputs),
                got => Err(format!("it gave {got} outputs for {} texts", items.len())),
            })
            .map_err(|reason| EmbedError::Run { model: self.name.clone(), reason })
    }

    /// Files outputs under their request and answers it when they are complete, or when they failed.
    fn deliver(&self, request: u64, result: Result<Indexed<M::Output>, EmbedError>) {
        let mut state = self.state.lock();
        match result {
            Ok(outputs) => {
                // A request that failed or was cancelled meanwhile is no longer there.
                let Some(answer) = state.answers.get_mut(&request) else { return };
                for (index, output) in outputs {
                    if let Some(slot) = answer.outputs.get_mut(index)
                        && slot.replace(output).is_none()
                    {
                        answer.missing -= 1;
                    }
                }
                if answer.missing == 0
                    && let Some(answer) = state.answers.remove(&request)
                {
                    let outputs = answer.outputs.into_iter().flatten().collect();
                    let _ = answer.reply.send(Ok(outputs));
                }
            }
            Err(error) => {
                state.give_up(request, error);
                self.room.notify_all();
            }
        }
    }
}

/// Outputs with their position in the request.
type Indexed<O> = Vec<(usize, O)>;

/// What a run gave to one request.
type Ran<O> = (u64, Result<Indexed<O>, EmbedError>);

impl<M: Model> State<M> {
    fn drop_cancelled(&mut self) {
        let cancelled: Vec<u64> = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.cancel.is_cancelled())
            .map(|(request, _)| *request)
            .collect();
        for request in cancelled {
            self.give_up(request, EmbedError::Cancelled);
        }
    }

    fn give_up(&mut self, request: u64, error: EmbedError) {
        self.schedule.remove(request);
        if let Some(answer) = self.answers.remove(&request) {
            // The channel has room for the one answer that each request gets, and its caller waits for it.
            let _ = answer.reply.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests;
