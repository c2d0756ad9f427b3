//! Jobs of a kind that does what its request says, stepped one by one, with failures at every transition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_core::{ErrorKind, NoProgress, StopReason, StopSignal, TrainingMetrics};
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;

use super::line::Line;
use super::*;
use crate::control::{ControlDatabase, new_id, setting, write_setting};

mod stages;

/// Does what the request of a job says: `validate` and `run` name an act each.
#[derive(Default)]
struct Actor {
    runs: Mutex<Vec<String>>,
    validations: AtomicUsize,
    committed: AtomicUsize,
}

/// A kind whose actor the test keeps.
struct Acting(Arc<Actor>, JobLane);

impl JobKind for Acting {
    fn name(&self) -> &'static str {
        match self.1 {
            JobLane::Analysis => "acting",
            JobLane::Training => "acting for long",
        }
    }

    fn lane(&self) -> JobLane {
        self.1
    }

    fn validate(&self, context: &JobContext<'_>) -> Result<(), EngineError> {
        self.0.validations.fetch_add(1, Ordering::SeqCst);
        context.log(EventLevel::Info, "validating", None);
        match context.job().request["validate"].as_str() {
            Some("fail") => Err(EngineError::invalid("model", "the request is bad")),
            Some("panic") => panic!("validation panics"),
            Some("wait") => {
                while context.stop().get().is_none() && !context.folder().join("go").exists() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            }
            _ => context.save(&json!({"planned": true}), Some(10)),
        }
    }

    fn run(&self, context: &JobContext<'_>) -> Result<JobEnd, EngineError> {
        self.0.runs.lock().push(context.job().id.clone());
        std::fs::write(context.folder().join("state"), "x").unwrap();
        for step in 1..=3 {
            context.set_done(step);
            let metrics = TrainingMetrics { step: step as usize, ..TrainingMetrics::default() };
            context.log(EventLevel::Info, format!("step {step}"), Some(metrics));
        }
        match context.job().request["run"].as_str() {
            Some("fail") => return Err(EngineError::internal("the disk is on fire")),
            Some("panic") => panic!("the run panics"),
            Some("stop") => return Ok(JobEnd::Stopped),
            Some("stages") => stages::work(context)?,
            Some("hang") => {
                while context.stop().get().is_none() {
                    std::thread::sleep(Duration::from_millis(2));
                }
                return Ok(JobEnd::Stopped);
            }
            _ => {}
        }
        let broken = context.job().request["run"] == "uncommittable";
        let actor = Arc::clone(&self.0);
        Ok(JobEnd::Done(Box::new(move |tx| {
            write_setting(tx, "result", &"done")?;
            if broken {
                return Err(EngineError::internal("the result cannot be written"));
            }
            Ok(Box::new(move || {
                actor.committed.fetch_add(1, Ordering::SeqCst);
            }))
        })))
    }

    fn failure(&self, error: &EngineError) -> JobFailure {
        let code = if error.kind() == ErrorKind::InvalidInput { "invalid_request" } else { "internal_error" };
        JobFailure { code: code.into(), message: error.to_string(), param: error.param().map(str::to_owned) }
    }
}

struct World {
    folder: TempDir,
    actor: Arc<Actor>,
    jobs: Arc<Jobs>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let actor = Arc::new(Actor::default());
        let jobs = Self::open(&folder, &actor);
        Self { folder, actor, jobs }
    }

    /// The same jobs as another process sees them.
    fn open(folder: &TempDir, actor: &Arc<Actor>) -> Arc<Jobs> {
        let data = DataDir::open(folder.path()).unwrap();
        let database = Arc::new(ControlDatabase::open(&data.control_database()).unwrap());
        let kind = |lane| Box::new(Acting(Arc::clone(actor), lane)) as Box<dyn JobKind>;
        let kinds = vec![kind(JobLane::Analysis), kind(JobLane::Training)];
        Arc::new(Jobs::open(database, data, kinds, MemoryBudget::new(u64::MAX)).unwrap())
    }

    fn other_process(&self) -> Arc<Jobs> {
        Self::open(&self.folder, &self.actor)
    }

    fn make(&self, state: JobState, request: serde_json::Value) -> String {
        self.make_of("acting", state, request)
    }

    fn make_of(&self, kind: &'static str, state: JobState, request: serde_json::Value) -> String {
        let id = new_id("job");
        let job = NewJob { id: &id, kind, state, request, detail: json!({}), unit: "steps", files: vec![] };
        self.jobs.database.write(|tx| Jobs::insert(tx, &job)).unwrap();
        self.jobs.announce();
        id
    }

    fn queued(&self, run: &str) -> String {
        self.make(JobState::Queued, json!({"run": run}))
    }

    fn step(&self) -> Option<Job> {
        self.jobs.run_next(&StopSignal::default()).unwrap()
    }

    fn state(&self, id: &str) -> JobState {
        self.jobs.get(id).unwrap().state
    }

    fn key(&self, id: &str) -> i64 {
        self.jobs.database.read(|connection| record::key(connection, id)).unwrap()
    }

    fn messages(&self, id: &str) -> Vec<String> {
        let page = PageRequest { ascending: true, ..PageRequest::all() };
        self.jobs.events(id, &page).unwrap().items.into_iter().map(|event| event.message).collect()
    }

    fn result(&self) -> Option<String> {
        self.jobs.database.read(|connection| setting(connection, "result")).unwrap()
    }

    /// Takes a queued job up and lets go of it as a dying process does: without a word.
    fn crash(&self, id: &str, done: u64) {
        let lock = super::lock::JobLock::try_take(&self.jobs.data, id).unwrap();
        assert!(lock.is_some());
        self.jobs
            .database
            .write(|tx| {
                assert!(record::step(tx, id, JobState::Queued, JobState::Running)?);
                tx.execute("UPDATE jobs SET done = ?2 WHERE id = ?1", (id, done as i64))?;
                Ok(())
            })
            .unwrap();
    }

    fn wait_until(&self, id: &str, state: JobState) {
        while self.state(id) != state {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_for_runs(&self, runs: usize) {
        while self.actor.runs.lock().len() < runs {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn an_analysis_does_not_wait_for_a_training_and_two_trainings_wait_for_each_other() {
    let world = World::new();
    let runner = JobRunner::start(&world.jobs, &RunnerOptions::default(), || {});
    let training = world.make_of("acting for long", JobState::Queued, json!({"run": "hang"}));
    world.wait_until(&training, JobState::Running);
    let next = world.make_of("acting for long", JobState::Queued, json!({}));
    let analysis = world.queued("");
    world.wait_until(&analysis, JobState::Succeeded);
    assert_eq!(world.state(&next), JobState::Queued);
    world.jobs.cancel(&training).unwrap();
    world.wait_until(&next, JobState::Succeeded);
    runner.shutdown();
}

#[test]
fn a_job_is_validated_then_run_then_done() {
    let world = World::new();
    let id = world.make(JobState::Validating, json!({}));
    let job = world.step().unwrap();
    assert_eq!((job.state, job.progress.total), (JobState::Queued, Some(10)));
    assert_eq!(job.detail, json!({"planned": true}));
    let job = world.step().unwrap();
    assert_eq!((job.id.as_str(), job.state, job.progress.done), (id.as_str(), JobState::Succeeded, 3));
    assert!(job.started_at.is_some() && job.finished_at.is_some() && job.owner.is_none() && job.failure.is_none());
    assert_eq!(world.messages(&id), ["validating", "step 1", "step 2", "step 3"]);
    assert_eq!((world.result().as_deref(), world.actor.committed.load(Ordering::SeqCst)), (Some("done"), 1));
    assert!(!world.jobs.work_folder(&id).unwrap().exists(), "what the job worked with is gone");
    assert!(world.step().is_none());
}

#[test]
fn every_way_to_fail_is_told_with_its_reason() {
    for (request, code, message) in [
        (json!({"validate": "fail"}), "invalid_request", "the request is bad"),
        (json!({"validate": "panic"}), "internal_error", "validation panics"),
        (json!({"run": "fail"}), "internal_error", "the disk is on fire"),
        (json!({"run": "panic"}), "internal_error", "the run panics"),
        (json!({"run": "uncommittable"}), "internal_error", "the result cannot be written"),
        (json!({"run": "stop"}), "internal_error", "stopped although nobody asked"),
    ] {
        let world = World::new();
        let id = world.make(JobState::Validating, request.clone());
        while world.step().is_some() {}
        let job = world.jobs.get(&id).unwrap();
        let failure = job.failure.unwrap_or_else(|| panic!("{request}: {:?}", job.state));
        assert_eq!((job.state, failure.code.as_str()), (JobState::Failed, code), "{request}");
        assert!(failure.message.contains(message), "{request}: {failure:?}");
        assert!(job.finished_at.is_some() && world.result().is_none(), "{request}: nothing half-made stays");
        assert!(!world.jobs.work_folder(&id).unwrap().exists());
    }
}

#[test]
fn jobs_that_nobody_is_at_are_cancelled_at_once() {
    let world = World::new();
    let validating = world.make(JobState::Validating, json!({}));
    let queued = world.queued("");
    let paused = world.queued("");
    world.jobs.pause(&paused).unwrap();
    for id in [&validating, &queued, &paused] {
        assert_eq!(world.jobs.cancel(id).unwrap().state, JobState::Cancelled);
        let error = world.jobs.cancel(id).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("already been cancelled"), "{error}");
        assert!(world.jobs.resume(id).is_err() && world.jobs.pause(id).is_err());
    }
    assert!(world.step().is_none() && world.actor.runs.lock().is_empty());
    assert_eq!(world.jobs.cancel("job-unknown").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_running_job_obeys_another_process() {
    for (cancel, expected) in [(true, JobState::Cancelled), (false, JobState::Paused)] {
        let world = World::new();
        let other = world.other_process();
        let id = world.queued("hang");
        std::thread::scope(|scope| {
            let running = scope.spawn(|| world.step().unwrap());
            world.wait_for_runs(1);
            let asked = if cancel { other.cancel(&id) } else { other.pause(&id) }.unwrap();
            assert!(asked.wish.is_some() || asked.state == expected);
            assert_eq!(running.join().unwrap().state, expected);
        });
        let kept = world.jobs.work_folder(&id).unwrap().join("state").exists();
        assert_eq!(kept, !cancel, "a paused job keeps what it needs to go on");
    }
}

#[test]
fn a_paused_job_waits_until_it_is_resumed() {
    let world = World::new();
    let id = world.queued("");
    assert_eq!(world.jobs.pause(&id).unwrap().state, JobState::Paused);
    assert_eq!(world.jobs.pause(&id).unwrap().state, JobState::Paused);
    assert!(world.step().is_none());
    assert_eq!(world.jobs.resume(&id).unwrap().state, JobState::Queued);
    let error = world.jobs.resume(&id).unwrap_err();
    assert!(error.to_string().contains("not paused but queued"), "{error}");
    assert_eq!(world.step().unwrap().state, JobState::Succeeded);
}

#[test]
fn a_pause_asked_for_during_validation_comes_after_it() {
    let world = World::new();
    let id = world.make(JobState::Validating, json!({}));
    let asked = world.jobs.pause(&id).unwrap();
    assert_eq!((asked.state, asked.wish), (JobState::Validating, Some(JobWish::Pause)));
    assert_eq!(world.step().unwrap().state, JobState::Paused);
    let second = world.make(JobState::Validating, json!({}));
    world.jobs.pause(&second).unwrap();
    assert_eq!(world.jobs.resume(&second).unwrap().wish, None);
    assert_eq!(world.step().unwrap().state, JobState::Queued);
}

#[test]
fn a_job_cancelled_while_it_is_validated_stays_cancelled() {
    let world = World::new();
    let id = world.make(JobState::Validating, json!({"validate": "wait"}));
    std::thread::scope(|scope| {
        let validating = scope.spawn(|| world.step().unwrap());
        while world.actor.validations.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(world.jobs.cancel(&id).unwrap().state, JobState::Cancelled);
        assert_eq!(validating.join().unwrap().state, JobState::Cancelled);
    });
}

#[test]
fn a_shutdown_puts_the_job_back() {
    let world = World::new();
    let id = world.queued("hang");
    let stop = StopSignal::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| world.jobs.run_next(&stop).unwrap().unwrap());
        world.wait_for_runs(1);
        stop.stop(StopReason::Pause);
        assert_eq!(running.join().unwrap().state, JobState::Queued);
    });
    assert!(world.jobs.work_folder(&id).unwrap().join("state").exists());
}

#[test]
fn a_crashed_job_is_queued_again_and_a_job_that_is_worked_at_is_left_alone() {
    let world = World::new();
    let (crashed, alive) = (world.queued(""), world.queued("hang"));
    world.crash(&crashed, 5);
    let other = world.other_process();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| world.step().unwrap());
        world.wait_for_runs(1);
        other.recover_all().unwrap();
        assert_eq!((world.state(&crashed), world.state(&alive)), (JobState::Queued, JobState::Running));
        assert!(!other.recover(&alive).unwrap());
        other.cancel(&alive).unwrap();
        running.join().unwrap();
    });
    assert!(world.messages(&crashed).iter().any(|message| message.contains("interrupted")));
    assert_eq!(world.step().unwrap().state, JobState::Succeeded);
}

#[test]
fn a_job_that_keeps_crashing_without_progress_is_given_up() {
    let world = World::new();
    let id = world.queued("");
    for done in [4, 4, 2] {
        assert_eq!(world.state(&id), JobState::Queued);
        world.crash(&id, done);
        world.jobs.recover_all().unwrap();
    }
    let job = world.jobs.get(&id).unwrap();
    assert_eq!((job.state, job.failure.map(|failure| failure.code)), (JobState::Failed, Some("crashed".to_owned())));

    let slow = world.queued("");
    for done in 1..6 {
        world.crash(&slow, done);
        world.jobs.recover_all().unwrap();
        assert_eq!(world.state(&slow), JobState::Queued, "it gets further each time");
    }
}

#[test]
fn wishes_for_a_crashed_job_come_true() {
    let world = World::new();
    let id = world.queued("");
    world.crash(&id, 1);
    assert_eq!(world.jobs.cancel(&id).unwrap().state, JobState::Cancelled);
    let id = world.queued("");
    world.crash(&id, 1);
    assert_eq!(world.jobs.pause(&id).unwrap().state, JobState::Paused);
}

#[test]
fn validation_that_kills_the_process_is_not_tried_for_ever() {
    let world = World::new();
    let id = world.make(JobState::Validating, json!({}));
    world.jobs.database.write(|tx| Ok(tx.execute("UPDATE jobs SET crashes = 6", [])?)).unwrap();
    assert!(world.step().is_none());
    assert_eq!(world.state(&id), JobState::Failed);
    assert_eq!(world.actor.validations.load(Ordering::SeqCst), 0);
}

#[test]
fn steps_done_again_after_a_crash_are_logged_once() {
    let world = World::new();
    let id = world.queued("fail");
    world.step();
    world.jobs.database.write(|tx| Ok(tx.execute("UPDATE jobs SET state = 'queued'", [])?)).unwrap();
    world.step();
    let steps = world.messages(&id).into_iter().filter(|message| message.starts_with("step"));
    assert_eq!(steps.collect::<Vec<_>>(), ["step 1", "step 2", "step 3"]);
    let metrics = world.jobs.database.read(|c| step_metrics(c, record::key(c, &id)?)).unwrap();
    assert_eq!(metrics.iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn no_job_is_run_twice_however_many_processes_look() {
    let world = World::new();
    let mut made: Vec<String> = (0..20).map(|_| world.queued("")).collect();
    let others: Vec<_> = (0..4).map(|_| world.other_process()).collect();
    std::thread::scope(|scope| {
        for jobs in &others {
            scope.spawn(|| while jobs.run_next(&StopSignal::default()).unwrap().is_some() {});
        }
    });
    while world.step().is_some() {}
    let mut ran = world.actor.runs.lock().clone();
    ran.sort();
    made.sort();
    assert_eq!(ran, made);
    assert!(made.iter().all(|id| world.state(id) == JobState::Succeeded));
}

#[test]
fn the_runner_works_in_the_background_and_puts_jobs_back_when_it_ends() {
    let world = World::new();
    let runner = JobRunner::start(&world.jobs, &RunnerOptions::default(), || {});
    let first = world.make(JobState::Validating, json!({}));
    world.wait_until(&first, JobState::Succeeded);
    let crashed = world.make(JobState::Paused, json!({}));
    world
        .jobs
        .database
        .write(|tx| Ok(tx.execute("UPDATE jobs SET state = 'running' WHERE id = ?1", [&crashed])?))
        .unwrap();
    world.wait_until(&crashed, JobState::Succeeded);
    let hanging = world.queued("hang");
    world.wait_until(&hanging, JobState::Running);
    runner.shutdown();
    assert_eq!(world.state(&hanging), JobState::Queued);
}

#[test]
fn a_job_run_here_is_watched_to_its_end() {
    let world = World::new();
    let id = world.make(JobState::Validating, json!({}));
    let mut seen = Vec::new();
    let job = world
        .jobs
        .run_here(&id, &StopSignal::default(), &mut |event| seen.push(event.message.clone()), &NoProgress)
        .unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(seen, ["validating", "step 1", "step 2", "step 3"]);

    let stop = StopSignal::default();
    let id = world.queued("hang");
    let job = world.jobs.run_here(&id, &stop, &mut |_| stop.stop(StopReason::Pause), &NoProgress).unwrap();
    assert_eq!(job.state, JobState::Paused);
}

#[test]
fn a_job_that_another_process_is_at_is_followed() {
    let world = World::new();
    let other = world.other_process();
    let id = world.queued("hang");
    let mut seen = Vec::new();
    let job = std::thread::scope(|scope| {
        scope.spawn(|| other.run_next(&StopSignal::default()).unwrap());
        world.wait_until(&id, JobState::Running);
        let stop = StopSignal::default();
        stop.stop(StopReason::Cancel);
        world.jobs.run_here(&id, &stop, &mut |event| seen.push(event.message.clone()), &NoProgress).unwrap()
    });
    assert_eq!(job.state, JobState::Cancelled);
    assert_eq!(world.actor.runs.lock().len(), 1, "it ran over there and not here");
    assert_eq!(seen.last().map(String::as_str), Some("The job was cancelled"));
}

#[test]
fn illegal_steps_are_refused_and_final_states_are_final() {
    let world = World::new();
    let id = world.queued("");
    for from in JobState::ALL {
        for to in JobState::ALL {
            if from.is_final() {
                assert!(!from.may_become(to));
            }
            if !from.may_become(to) {
                assert!(world.jobs.database.write(|tx| record::step(tx, &id, from, to)).is_err());
            }
        }
    }
    let moved = world.jobs.database.write(|tx| record::step(tx, &id, JobState::Running, JobState::Failed)).unwrap();
    assert!(!moved && world.state(&id) == JobState::Queued, "a job in another state stays where it is");
}

#[test]
fn what_ended_jobs_left_is_swept_when_the_folder_is_opened() {
    let world = World::new();
    let (ended, waiting) = (world.queued(""), world.queued(""));
    world.jobs.cancel(&ended).unwrap();
    for id in [&ended, &waiting] {
        std::fs::create_dir_all(world.jobs.work_folder(id).unwrap()).unwrap();
    }
    world.other_process();
    assert!(!world.jobs.work_folder(&ended).unwrap().exists());
    assert!(world.jobs.work_folder(&waiting).unwrap().exists());
}

#[test]
fn jobs_are_counted_and_listed_by_page() {
    let world = World::new();
    let ids: Vec<String> = (0..5).map(|_| world.queued("")).collect();
    world.jobs.cancel(&ids[0]).unwrap();
    let counts = world.jobs.counts().unwrap();
    let acting = |state, count| ("acting".to_owned(), state, count);
    assert_eq!(counts, [acting(JobState::Cancelled, 1), acting(JobState::Queued, 4)]);
    let kind = |kind: &str| JobFilter { kind: Some(kind.to_owned()), state: None };
    let cancelled = JobFilter { kind: Some("acting".to_owned()), state: Some(JobState::Cancelled) };
    let listed = world.jobs.list(&cancelled, &PageRequest::default()).unwrap().items;
    assert_eq!(listed.iter().map(|job| &job.id).collect::<Vec<_>>(), [&ids[0]]);
    let page = PageRequest { limit: 2, ..PageRequest::default() };
    let first = world.jobs.list(&JobFilter::default(), &page).unwrap();
    assert!(first.has_more);
    assert_eq!(first.items.iter().map(|job| &job.id).collect::<Vec<_>>(), [&ids[4], &ids[3]]);
    let rest = PageRequest { after: Some(ids[1].clone()), ..page };
    let last = world.jobs.list(&kind("acting"), &rest).unwrap();
    assert_eq!((last.items.len(), last.has_more), (1, false));
    assert!(world.jobs.list(&kind("other"), &PageRequest::default()).unwrap().items.is_empty());
    for wrong in [
        PageRequest { after: Some("nothing".into()), ..PageRequest::default() },
        PageRequest { limit: 0, ..PageRequest::default() },
    ] {
        assert_eq!(world.jobs.list(&JobFilter::default(), &wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
