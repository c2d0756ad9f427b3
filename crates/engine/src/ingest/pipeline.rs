//! Reading, embedding and storing go on beside each other: the caller's thread reads rows and puts batches together,
//! a few threads cut and embed one batch each, and one thread stores the batches in the order in which they were read.
//!
//! The embedder therefore always has texts waiting. How far reading may run ahead is bounded, which bounds the memory. What
//! a batch did is added up when it is stored, so that the report reads as if everything had been done one after another.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anser_core::{DocumentId, Progress};
use parking_lot::{Condvar, Mutex};

use super::IngestReport;
use super::batch::{BatchMaker, Incoming, Made};
use crate::EngineError;

/// Threads that cut and embed: at least two, so that the embedder has the next batch when one ends, and no more than its
/// queue leaves room for beside others.
const MAKERS: (usize, usize) = (2, 8);
/// Batches stored in one transaction when they are ready at once.
const STORED_TOGETHER: usize = 8;
/// How often a wait looks whether the ingest was cancelled.
const LOOK: Duration = Duration::from_millis(100);

/// Documents on their way, with what happened while they were read.
struct Batch {
    number: u64,
    /// Positions of the source between which it was read.
    span: (u64, u64),
    documents: Vec<(Incoming, String)>,
    report: IngestReport,
    /// Whether a batch before it, not stored yet, holds a document with the same id.
    follows: bool,
}

/// A batch that can be stored.
struct Finished {
    number: u64,
    end: u64,
    made: Result<Vec<Made>, EngineError>,
    ids: Vec<DocumentId>,
    report: IngestReport,
    follows: bool,
}

/// Where the threads meet.
struct Flow<'a> {
    state: Mutex<FlowState>,
    changed: Condvar,
    progress: &'a dyn Progress,
    /// Batches that may be under way.
    ahead: u64,
}

#[derive(Default)]
struct FlowState {
    stored: u64,
    failed: bool,
    /// How often each id occurs in batches under way.
    ids: HashMap<DocumentId, usize>,
    /// How far the source is known to be done.
    shown: u64,
}

impl Flow<'_> {
    fn fail(&self) {
        self.state.lock().failed = true;
        self.changed.notify_all();
    }

    fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Shows a position, unless a later one was shown already.
    fn show(&self, position: u64) {
        let mut state = self.state.lock();
        if position > state.shown {
            state.shown = position;
            self.progress.set(position);
        }
    }
}

/// Lets the others know when its thread panics, so that none waits for it.
struct Watchdog<'a, 'f>(&'a Flow<'f>);

impl Drop for Watchdog<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail();
        }
    }
}

/// Takes documents in the order of the source.
pub(super) struct Intake<'a, 'f> {
    maker: &'a BatchMaker<'a>,
    flow: &'a Flow<'f>,
    batches: SyncSender<Batch>,
    number: u64,
    from: u64,
    documents: Vec<Incoming>,
    bytes: usize,
    /// What happened since the last batch.
    pub(super) report: IngestReport,
}

impl Intake<'_, '_> {
    /// Adds a document that was read up to `position` of the source.
    pub(super) fn push(&mut self, incoming: Incoming, position: u64) -> Result<(), EngineError> {
        self.bytes += incoming.document.text.len();
        self.documents.push(incoming);
        if self.maker.is_complete(self.documents.len(), self.bytes) { self.send(position) } else { Ok(()) }
    }

    /// Sends what was read up to `position` on its way; waits while too much is under way.
    pub(super) fn send(&mut self, position: u64) -> Result<(), EngineError> {
        self.maker.cancel.check()?;
        let mut report = std::mem::take(&mut self.report);
        let documents = std::mem::take(&mut self.documents);
        // Seen before the database is read: what is stored in between is only looked at twice.
        let under_way: HashSet<DocumentId> = {
            let state = self.flow.state.lock();
            let ids = documents.iter().map(|incoming| &incoming.document.id);
            ids.filter(|id| state.ids.contains_key(*id)).cloned().collect()
        };
        let documents = self.maker.without_unchanged(documents, &under_way, &mut report)?;
        self.bytes = 0;
        let mut state = self.flow.state.lock();
        while !state.failed && self.number - state.stored >= self.flow.ahead {
            self.flow.changed.wait_for(&mut state, LOOK);
            self.maker.cancel.check()?;
        }
        if state.failed {
            // The thread that failed says why.
            return Err(EngineError::internal("another part of the ingest has failed"));
        }
        let mut follows = documents.iter().any(|(incoming, _)| under_way.contains(&incoming.document.id));
        for (incoming, _) in &documents {
            let times = state.ids.entry(incoming.document.id.clone()).or_default();
            *times += 1;
            follows |= *times > 1;
        }
        drop(state);
        let batch = Batch { number: self.number, span: (self.from, position), documents, report, follows };
        (self.number, self.from) = (self.number + 1, position);
        // The makers take batches until this end is dropped, also after a failure.
        self.batches.send(batch).map_err(|_| EngineError::internal("the threads of the ingest have ended"))
    }
}

/// Runs `read`, which puts documents in, to its end and returns what became of them, added to `report`. When something
/// fails, all batches before it are stored.
pub(super) fn run(
    maker: &BatchMaker<'_>,
    progress: &dyn Progress,
    report: IngestReport,
    read: impl FnOnce(&mut Intake<'_, '_>) -> Result<(), EngineError>,
) -> Result<IngestReport, EngineError> {
    let makers = if maker.embeds() {
        thread::available_parallelism().map_or(1, NonZeroUsize::get).clamp(MAKERS.0, MAKERS.1)
    } else {
        1
    };
    let ahead = 2 * makers as u64 + 1;
    let flow = Flow { state: Mutex::default(), changed: Condvar::new(), progress, ahead };
    let (batches, to_make) = sync_channel(makers);
    let (finished, to_store) = sync_channel(makers);
    let failed = |e| EngineError::Core(anser_core::Error::internal(format!("no thread could be started: {e}")));
    thread::scope(|scope| {
        // Shared by the makers alone: when the last of them has ended, whatever way, the reader cannot wait for one.
        let to_make = Arc::new(Mutex::new(to_make));
        for _ in 0..makers {
            let (flow, to_make, finished) = (&flow, Arc::clone(&to_make), finished.clone());
            let body = move || make_all(maker, flow, &to_make, &finished);
            thread::Builder::new().name("ingest-embedder".to_owned()).spawn_scoped(scope, body).map_err(failed)?;
        }
        drop((finished, to_make));
        let shared = &flow;
        let store = move || store_all(maker, shared, &to_store, report);
        let storing =
            thread::Builder::new().name("ingest-writer".to_owned()).spawn_scoped(scope, store).map_err(failed)?;
        let outcome = {
            let (documents, report) = (Vec::new(), IngestReport::default());
            let mut intake = Intake { maker, flow: &flow, batches, number: 0, from: 0, documents, bytes: 0, report };
            read(&mut intake)
        };
        let report = storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        outcome.map(|()| report)
    })
}

fn make_all(
    maker: &BatchMaker<'_>,
    flow: &Flow<'_>,
    to_make: &Mutex<Receiver<Batch>>,
    finished: &SyncSender<Finished>,
) {
    let _watchdog = Watchdog(flow);
    loop {
        let next = to_make.lock().recv();
        let Ok(batch) = next else { return };
        if flow.has_failed() {
            continue;
        }
        let Batch { number, span: (from, to), documents, mut report, follows } = batch;
        let ids = documents.iter().map(|(incoming, _)| incoming.document.id.clone()).collect();
        let length = to.saturating_sub(from) as f64;
        let made = maker.make(documents, &mut report, &mut |share| flow.show(from + (length * share) as u64));
        // Only a panic ends the other side early, and that one is told by the scope.
        let _ = finished.send(Finished { number, end: to, made, ids, report, follows });
    }
}

/// Stores batches in their order. After a failure nothing more is stored.
fn store_all(
    maker: &BatchMaker<'_>,
    flow: &Flow<'_>,
    to_store: &Receiver<Finished>,
    mut report: IngestReport,
) -> Result<IngestReport, EngineError> {
    let _watchdog = Watchdog(flow);
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    let mut outcome = Ok(());
    while let Ok(finished) = to_store.recv() {
        waiting.insert(finished.number, finished);
        waiting.extend(to_store.try_iter().map(|finished| (finished.number, finished)));
        while outcome.is_ok() && waiting.contains_key(&next) {
            let together = take_together(&mut waiting, next);
            next += together.len() as u64;
            outcome = store(maker, flow, together, &mut report);
            if outcome.is_err() {
                flow.fail();
            }
        }
        if outcome.is_err() {
            waiting.clear();
        }
    }
    outcome.map(|()| report)
}

/// The batch of number `next` and those after it that are ready and may be stored with it.
fn take_together(waiting: &mut BTreeMap<u64, Finished>, next: u64) -> Vec<Finished> {
    let mut together: Vec<Finished> = Vec::new();
    while let Some(finished) = waiting.remove(&(next + together.len() as u64)) {
        // One that failed, or whose documents may replace some that are stored first, comes alone.
        let alone = finished.follows || finished.made.is_err();
        if alone && !together.is_empty() {
            waiting.insert(finished.number, finished);
            break;
        }
        together.push(finished);
        if alone || together.len() >= STORED_TOGETHER {
            break;
        }
    }
    together
}

fn store(
    maker: &BatchMaker<'_>,
    flow: &Flow<'_>,
    together: Vec<Finished>,
    report: &mut IngestReport,
) -> Result<(), EngineError> {
    let batches = together.len() as u64;
    let (mut documents, mut done, mut end, mut follows) = (Vec::new(), Vec::new(), 0, false);
    for finished in together {
        documents.extend(finished.made?);
        done.extend(finished.ids);
        report.add(finished.report);
        (end, follows) = (finished.end, follows || finished.follows);
    }
    maker.store(documents, follows, report)?;
    {
        let mut state = flow.state.lock();
        state.stored += batches;
        for id in done {
            if let Some(times) = state.ids.get_mut(&id) {
                *times -= 1;
                if *times == 0 {
                    state.ids.remove(&id);
                }
            }
        }
    }
    flow.changed.notify_all();
    flow.show(end);
    Ok(())
}
