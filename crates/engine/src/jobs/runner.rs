//! Threads that run jobs in the background.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anser_core::{StopReason, StopSignal};

use super::{JobLane, JobState, Jobs};
use crate::EngineError;

/// How often a worker without work looks for some that another process made.
const LOOK: Duration = Duration::from_millis(250);
/// How often interrupted jobs are looked for.
const RECOVERY: Duration = Duration::from_secs(1);
/// How long a worker waits after a failure that was not the job's.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long a shutdown waits. Work stops within a second; a download does not, and need not be waited for.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// How jobs are run in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Analyses that run at the same time, at least 1. Beside them runs one training.
    pub analyses: usize,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self { analyses: 1 }
    }
}

/// The running threads. Dropping it is a shutdown.
pub struct JobRunner {
    jobs: Arc<Jobs>,
    stop: StopSignal,
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl JobRunner {
    /// `upkeep` is called now and then.
    pub(super) fn start(jobs: &Arc<Jobs>, options: &RunnerOptions, upkeep: impl Fn() + Send + 'static) -> Self {
        let (stop, mut threads) = (StopSignal::default(), Vec::new());
        let (alive, ended) = mpsc::channel();
        let mut spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            let alive = alive.clone();
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                body();
                drop(alive);
            });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::error!(%error, "a thread for jobs could not be started"),
            }
        };
        let analyses = (0..options.analyses.max(1)).map(|at| (format!("analysis-{at}"), JobLane::Analysis));
        for (name, lane) in analyses.chain([("training".to_owned(), JobLane::Training)]) {
            let (jobs, stop) = (Arc::clone(jobs), stop.clone());
            let body = move || repeat(&jobs, &stop, LOOK, || jobs.run_oldest(JobState::Queued, Some(lane), &stop));
            spawn(name, Box::new(body));
        }
        let validator = (Arc::clone(jobs), stop.clone());
        spawn(
            "job-validation".to_owned(),
            Box::new(move || {
                let (jobs, stop) = validator;
                repeat(&jobs, &stop, LOOK, || jobs.run_oldest(JobState::Validating, None, &stop));
            }),
        );
        let recovery = (Arc::clone(jobs), stop.clone());
        spawn(
            "job-recovery".to_owned(),
            Box::new(move || {
                let (jobs, stop) = recovery;
                repeat(&jobs, &stop, RECOVERY, || {
                    upkeep();
                    jobs.recover_all().map(|()| None::<()>)
                });
            }),
        );
        drop(alive);
        Self { jobs: Arc::clone(jobs), stop, threads, ended }
    }

    /// Stops. Jobs under way are put back with their state saved, to go on when jobs are run again.
    pub fn shutdown(self) {}
}

impl Drop for JobRunner {
    fn drop(&mut self) {
        self.stop.stop(StopReason::Pause);
        self.jobs.announce();
        let deadline = Instant::now() + SHUTDOWN;
        // Nothing is ever sent: the channel closes when the last thread is done.
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        for thread in self.threads.drain(..) {
            if !thread.is_finished() && Instant::now() >= deadline {
                tracing::warn!("a job does not stop; it is left and taken up again at the next start");
            } else if thread.join().is_err() {
                tracing::error!("a thread for jobs ended by a panic");
            }
        }
    }
}

/// Calls `body` until told to stop, at once again after it did something.
fn repeat<T>(
    jobs: &Jobs,
    stop: &StopSignal,
    pause: Duration,
    mut body: impl FnMut() -> Result<Option<T>, EngineError>,
) {
    while stop.get().is_none() {
        // What a job does is caught where it is done; this is for everything around it.
        let done = catch_unwind(AssertUnwindSafe(&mut body));
        match done.unwrap_or_else(|_| Err(EngineError::internal("a defect of the program was met"))) {
            Ok(Some(_)) => {}
            Ok(None) => jobs.wait(pause),
            Err(error) => {
                tracing::error!(%error, "jobs cannot be run; trying again");
                jobs.wait(AFTER_FAILURE);
            }
        }
    }
}
