//! Taking a job up, working at it, and writing down how that ended.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use anser_core::{ErrorKind, NoProgress, Progress, StopReason, StopSignal};
use rusqlite::{Transaction, params};

use super::faults::{Moment, pass};
use super::kind::Completion;
use super::line::{Line, unit_of};
use super::lock::JobLock;
use super::{
    EventLevel, Job, JobContext, JobEnd, JobEvent, JobFailure, JobKind, JobLane, JobState, JobWish, Jobs, events,
    record,
};
use crate::EngineError;

/// How often a job at work writes its log and looks for wishes.
const PULSE: Duration = Duration::from_millis(200);
/// How often somebody who follows a job of another process looks at it.
const FOLLOW: Duration = Duration::from_millis(200);
/// Crashes in a row, without any progress between them, after which a job is given up.
const MAX_CRASHES: i64 = 3;
/// The same for crashes while it is validated, where there is no progress to see; includes processes that were ended.
const MAX_VALIDATIONS: i64 = 6;

/// A job that this thread is at.
struct Claim {
    job: Job,
    key: i64,
    _lock: JobLock,
}

/// How the work on a claim ended.
enum Outcome {
    Validated,
    Done(Completion),
    Stopped,
    Failed(JobFailure),
}

impl Jobs {
    /// Works at the oldest job that waits, those to be validated first. `stop` puts it back.
    pub(crate) fn run_next(&self, stop: &StopSignal) -> Result<Option<Job>, EngineError> {
        for state in [JobState::Validating, JobState::Queued] {
            if let Some(job) = self.run_oldest(state, None, stop)? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Works at the oldest job in `state`, of one lane or of all.
    pub(super) fn run_oldest(
        &self,
        state: JobState,
        lane: Option<JobLane>,
        stop: &StopSignal,
    ) -> Result<Option<Job>, EngineError> {
        for (id, kind) in self.database.read(|connection| record::in_state(connection, state))? {
            let Some(kind) = self.kind(&kind) else { continue };
            if lane.is_some_and(|lane| kind.lane() != lane) {
                continue;
            }
            if let Some(claim) = self.claim(&id)? {
                return self.work(&claim, (stop, JobState::Queued), &mut |_| {}, &NoProgress).map(Some);
            }
        }
        Ok(None)
    }

    /// Works at one job until it has ended or is paused, or follows whoever is at it.
    pub(crate) fn run_here(
        &self,
        id: &str,
        stop: &StopSignal,
        observer: &mut dyn FnMut(&JobEvent),
        progress: &dyn Progress,
    ) -> Result<Job, EngineError> {
        let key = self.database.read(|connection| record::key(connection, id))?;
        let newest = || self.database.read(|connection| events::newest(connection, key));
        let mut seen = newest()?;
        let mut asked = None;
        let mut followed = Followed { watcher: progress, stage: None };
        loop {
            let claimed = self.claim(id)?;
            if let Some(claim) = &claimed {
                self.work(claim, (stop, JobState::Paused), observer, progress)?;
                seen = newest()?;
            }
            let (fresh, last) = self.database.read(|connection| events::since(connection, key, seen))?;
            let job = self.get(id)?;
            if claimed.is_none() {
                followed.look(&job);
            }
            // The watcher tells by itself what begins now.
            let begun = followed.stage.as_ref().map(|(stage, _)| stage);
            fresh.iter().filter(|event| Some(&event.message) != begun).for_each(&mut *observer);
            seen = last;
            if job.state.is_final() || job.state == JobState::Paused {
                return Ok(job);
            }
            if claimed.is_some() {
                continue;
            }
            if stop.get() != asked {
                asked = stop.get();
                match asked {
                    Some(StopReason::Cancel) => self.cancel(id)?,
                    _ => self.pause(id)?,
                };
            } else if !self.recover(id)? {
                self.wait(FOLLOW);
            }
        }
    }

    /// Looks at a job that is called running: when nobody is at it any more, it was interrupted, and is queued again to go
    /// on, or ended if that keeps happening. Returns whether it was.
    pub(super) fn recover(&self, id: &str) -> Result<bool, EngineError> {
        let Some(_lock) = JobLock::try_take(&self.data, id)? else { return Ok(false) };
        let recovered = self.database.write(|tx| {
            let job = record::get(tx, id)?;
            if job.state != JobState::Running {
                return Ok(false);
            }
            let crashes: i64 = tx.query_row(
                "UPDATE jobs SET crashes = CASE WHEN stage IS NULL AND done > crashed_at THEN 1 ELSE crashes + 1 END,
                    crashed_at = CASE WHEN stage IS NULL THEN max(done, crashed_at) ELSE crashed_at END
                 WHERE id = ?1 RETURNING crashes",
                [id],
                |row| row.get(0),
            )?;
            match job.wish {
                Some(JobWish::Cancel) => end(tx, &job, JobState::Cancelled)?,
                _ if crashes >= MAX_CRASHES => fail(tx, &job, &crashed(crashes))?,
                Some(JobWish::Pause) => end(tx, &job, JobState::Paused)?,
                None => {
                    end(tx, &job, JobState::Queued)?;
                    let message = "The job was interrupted; it is queued again and goes on from what it saved last";
                    let event = JobEvent::now(EventLevel::Warn, message, None);
                    events::append(tx, record::key(tx, id)?, &event)?;
                }
            }
            Ok(true)
        })?;
        if recovered {
            if self.get(id)?.state.is_final() {
                self.clean(id);
            }
            self.announce();
        }
        Ok(recovered)
    }

    /// Whether nobody is at a job now.
    pub(super) fn is_free(&self, id: &str) -> Result<bool, EngineError> {
        Ok(JobLock::try_take(&self.data, id)?.is_some())
    }

    /// [`recover`](Self::recover) for every job that is called running.
    pub(super) fn recover_all(&self) -> Result<(), EngineError> {
        for (id, _) in self.database.read(|connection| record::in_state(connection, JobState::Running))? {
            self.recover(&id)?;
        }
        Ok(())
    }

    /// Takes a job up; `None` when it does not wait, somebody else is at it, or its kind is not run here.
    fn claim(&self, id: &str) -> Result<Option<Claim>, EngineError> {
        let job = self.get(id)?;
        let waits = |job: &Job| matches!(job.state, JobState::Validating | JobState::Queued);
        if !waits(&job) || self.kind(&job.kind).is_none() {
            return Ok(None);
        }
        let Some(lock) = JobLock::try_take(&self.data, id)? else { return Ok(None) };
        let claimed = self.database.write(|tx| {
            let mut job = record::get(tx, id)?;
            let taken = match job.state {
                JobState::Validating => {
                    let sql = "UPDATE jobs SET crashes = crashes + 1 WHERE id = ?1 RETURNING crashes";
                    let crashes: i64 = tx.query_row(sql, [id], |row| row.get(0))?;
                    if crashes > MAX_VALIDATIONS {
                        fail(tx, &job, &crashed(crashes - 1))?;
                    }
                    crashes <= MAX_VALIDATIONS
                }
                JobState::Queued => record::step(tx, id, JobState::Queued, JobState::Running)?,
                _ => false,
            };
            if taken {
                job = record::get(tx, id)?;
            }
            Ok(taken.then_some((job, record::key(tx, id)?)))
        })?;
        Ok(claimed.map(|(job, key)| Claim { job, key, _lock: lock }))
    }

    fn kind(&self, name: &str) -> Option<&dyn JobKind> {
        self.kinds.iter().map(Box::as_ref).find(|kind| kind.name() == name)
    }

    /// Works at a claimed job. `aside` is the state that it goes to when `stop` says pause.
    fn work(
        &self,
        claim: &Claim,
        (stop, aside): (&StopSignal, JobState),
        observer: &mut dyn FnMut(&JobEvent),
        progress: &dyn Progress,
    ) -> Result<Job, EngineError> {
        let id = &claim.job.id;
        let kind = self.kind(&claim.job.kind).ok_or_else(|| EngineError::internal("a job of an unknown kind ran"))?;
        let folder = self.work_folder(id)?;
        std::fs::create_dir_all(&folder).map_err(|e| EngineError::io("create the folder", &folder, e))?;
        let line = Line::new(&self.database, claim.key, claim.job.progress.done, progress);
        let (observer, memory) = (RefCell::new(observer), &self.memory);
        let context = JobContext { line: &line, job: &claim.job, folder, observer, memory };
        let outcome = std::thread::scope(|scope| {
            let (working, ended) = mpsc::channel::<()>();
            scope.spawn(|| self.pulse(&line, id, stop, &{ ended }));
            let outcome = attempt(kind, &context);
            drop(working);
            outcome
        });
        if let Outcome::Failed(failure) = &outcome {
            context.log(EventLevel::Error, failure.message.clone(), None);
        }
        line.flush()?;
        let stopped = line.stop().get().or(stop.get());
        let aside = if stopped == Some(StopReason::Cancel) { JobState::Cancelled } else { aside };
        self.settle(claim, outcome, stopped.map(|_| aside), kind)?;
        let job = self.get(id)?;
        if job.state.is_final() {
            self.clean(id);
        }
        self.announce();
        Ok(job)
    }

    /// Beats while a job is worked at: writes its log and passes on wishes.
    fn pulse(&self, line: &Line<'_>, id: &str, stop: &StopSignal, ended: &mpsc::Receiver<()>) {
        while ended.recv_timeout(PULSE) == Err(mpsc::RecvTimeoutError::Timeout) {
            line.sample();
            if let Some(reason) = stop.get() {
                line.stop().stop(reason);
            }
            let beat = line.flush().and_then(|()| self.get(id)).map(|job| match (job.wish, job.state) {
                (Some(JobWish::Cancel), _) | (_, JobState::Cancelled) => line.stop().stop(StopReason::Cancel),
                (Some(JobWish::Pause), JobState::Running) => line.stop().stop(StopReason::Pause),
                _ => {}
            });
            if let Err(error) = beat {
                tracing::warn!(%error, job = id, "a job could not write its log; it goes on and tries again");
            }
        }
    }

    /// Writes down how the work on a claim ended, in one transaction.
    fn settle(
        &self,
        claim: &Claim,
        outcome: Outcome,
        aside: Option<JobState>,
        kind: &dyn JobKind,
    ) -> Result<(), EngineError> {
        let id = claim.job.id.as_str();
        let settled = self.database.write(|tx| {
            let job = record::get(tx, id)?;
            // Cancelled while it was validated.
            if job.state.is_final() {
                return Ok(None);
            }
            if job.wish == Some(JobWish::Cancel) {
                end(tx, &job, JobState::Cancelled)?;
                return Ok(None);
            }
            match outcome {
                Outcome::Validated => {
                    let next = if job.wish == Some(JobWish::Pause) { JobState::Paused } else { JobState::Queued };
                    end(tx, &job, next)?;
                }
                Outcome::Done(completion) => {
                    let after = completion(tx)?;
                    end(tx, &job, JobState::Succeeded)?;
                    pass(Moment::BeforeCommit)?;
                    return Ok(Some(after));
                }
                Outcome::Stopped => put_aside(tx, &job, aside)?,
                Outcome::Failed(failure) => fail(tx, &job, &failure)?,
            }
            Ok(None)
        });
        match settled {
            Ok(Some(after)) => {
                after();
                pass(Moment::AfterCommit)?;
            }
            Ok(None) => {}
            // The end itself could not be written, for instance because a result was in the way.
            Err(error) => {
                let failure = kind.failure(&error);
                self.database.write(|tx| {
                    let job = record::get(tx, id)?;
                    events::append(tx, claim.key, &JobEvent::now(EventLevel::Error, failure.message.clone(), None))?;
                    if job.state.is_final() { Ok(()) } else { fail(tx, &job, &failure) }
                })?;
            }
        }
        Ok(())
    }
}

/// Shows a watcher how far a job of another process is.
struct Followed<'a> {
    watcher: &'a dyn Progress,
    /// The stage that was begun last, and when.
    stage: Option<(String, Option<i64>)>,
}

impl Followed<'_> {
    fn look(&mut self, job: &Job) {
        let now = &job.progress;
        let stage = now.stage.clone().map(|stage| (stage, now.stage_started_at));
        if stage != self.stage {
            if self.stage.is_some() {
                self.watcher.finish();
            }
            if let Some((name, _)) = &stage {
                self.watcher.start(name, now.total, unit_of(&now.unit));
            }
            self.stage = stage;
        }
        if self.stage.is_some() {
            self.watcher.set(now.done);
        }
        let over = job.state.is_final() || job.state == JobState::Paused;
        if over && self.stage.take().is_some() {
            self.watcher.finish();
        }
    }
}

/// Does what the claim is for, and turns whatever happens into an outcome.
fn attempt(kind: &dyn JobKind, context: &JobContext<'_>) -> Outcome {
    let validating = context.job().state == JobState::Validating;
    let worked = catch_unwind(AssertUnwindSafe(|| {
        if validating { kind.validate(context).map(|()| None) } else { kind.run(context).map(Some) }
    }));
    match worked {
        Ok(Ok(None)) => Outcome::Validated,
        Ok(Ok(Some(JobEnd::Done(completion)))) => Outcome::Done(completion),
        Ok(Ok(Some(JobEnd::Stopped))) => Outcome::Stopped,
        Ok(Err(error)) if error.kind() == ErrorKind::Cancelled => Outcome::Stopped,
        Ok(Err(error)) => Outcome::Failed(kind.failure(&error)),
        Err(panic) => Outcome::Failed(JobFailure {
            code: "internal_error".to_owned(),
            message: format!("The job stopped at a defect of the program: {}", panic_message(panic.as_ref())),
            param: None,
        }),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
}

fn crashed(crashes: i64) -> JobFailure {
    let message = format!(
        "The process that ran the job died {crashes} times in a row without getting further; look at the memory that the job takes and start it anew"
    );
    JobFailure { code: "crashed".to_owned(), message, param: None }
}

/// Takes a job out of the state it was read in.
fn end(tx: &Transaction<'_>, job: &Job, to: JobState) -> Result<(), EngineError> {
    record::step(tx, &job.id, job.state, to)?;
    let said = match to {
        JobState::Cancelled => "The job was cancelled",
        JobState::Paused => "The job was paused",
        JobState::Queued if job.state == JobState::Validating => {
            tx.execute("UPDATE jobs SET crashes = 0 WHERE id = ?1", [&job.id])?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    events::append(tx, record::key(tx, &job.id)?, &JobEvent::info(said))
}

fn fail(tx: &Transaction<'_>, job: &Job, failure: &JobFailure) -> Result<(), EngineError> {
    record::step(tx, &job.id, job.state, JobState::Failed)?;
    let failure = EngineError::store_json(failure)?;
    tx.execute("UPDATE jobs SET failure = ?2 WHERE id = ?1", params![job.id, failure])?;
    Ok(())
}

/// Where a job goes that stopped before its end.
fn put_aside(tx: &Transaction<'_>, job: &Job, aside: Option<JobState>) -> Result<(), EngineError> {
    match (job.state, job.wish, aside) {
        // Its files are checked anew by whoever takes it up next.
        (JobState::Validating, ..) => Ok(()),
        (_, Some(JobWish::Pause), _) => end(tx, job, JobState::Paused),
        (_, _, Some(state)) => end(tx, job, state),
        _ => {
            let message = "The job stopped although nobody asked it to".to_owned();
            fail(tx, job, &JobFailure { code: "internal_error".to_owned(), message, param: None })
        }
    }
}
