//! Analyses stepped through their states, with something going wrong at every moment: the source breaks off, the disk is
//! full, the process dies, somebody cancels.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anser_core::storage::DataDir;
use anser_core::{CancelToken, Document, DocumentId, ErrorKind, NoProgress, StopReason, StopSignal};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::diversity::DiversityOptions;
use crate::jobs::{Moment, with_faults};
use crate::letters::LettersLoader;
use crate::{EngineOptions, JobFailure, JobState, PageRequest, ServedModels};

const ROWS: usize = 40;

fn open(folder: &Path, job_memory_bytes: u64) -> Engine {
    let options = EngineOptions { job_memory_bytes, ..EngineOptions::default() };
    Engine::open(&DataDir::open(folder).unwrap(), ServedModels::new(LettersLoader(8)), None, options).unwrap()
}

/// A collection of a few documents, and a job over it that waits.
struct Bench {
    folder: TempDir,
    engine: Engine,
    job: String,
}

impl Bench {
    fn new() -> Self {
        Self::with_memory(u64::MAX)
    }

    fn with_memory(job_memory_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path(), job_memory_bytes);
        let document = |row: usize| Document {
            id: DocumentId::new(format!("d{row:03}")).unwrap(),
            title: None,
            text: format!("{row} {}", ["kettle", "lamp", "hose", "pan"][row % 4]),
            attributes: serde_json::from_value(json!({"row": row})).unwrap(),
        };
        let documents = (0..ROWS).map(document).collect();
        engine.ingest_documents("notes", documents, &NoProgress, &CancelToken::new()).unwrap();
        let job = new_job(&engine);
        Self { folder, engine, job }
    }

    fn run(&self) -> Job {
        run(&self.engine, &self.job)
    }

    /// Runs the job with `hook` called at each moment.
    fn run_with(&self, hook: impl Fn(Moment) -> std::result::Result<(), EngineError> + 'static) -> Job {
        with_faults(hook, || self.run())
    }

    fn results(&self) -> PathBuf {
        self.engine.data.job_results(&self.job).unwrap()
    }

    /// Nothing of the job is left on the disk but its lock, and nothing that it made.
    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert!(!self.results().exists(), "results of a job that did not succeed");
        assert!(!self.engine.data.job(&self.job).unwrap().join("run").exists());
        assert!(self.engine.job_results(&self.job).unwrap().is_empty());
    }
}

fn new_job(engine: &Engine) -> String {
    let source = AnalysisSource::Collection { name: "notes".to_owned(), filter: None };
    let analysis = Analysis::Diversity(DiversityOptions::default());
    engine.create_analysis_job(&AnalysisRequest { source, analysis }).unwrap().id
}

fn run(engine: &Engine, job: &str) -> Job {
    engine.run_job_here(job, &StopSignal::default(), &mut |_| {}, &NoProgress).unwrap()
}

/// The results are there, and each is what the list says.
#[track_caller]
fn assert_whole(engine: &Engine, job: &str) {
    let results = engine.job_results(job).unwrap();
    assert_eq!(results[0].name, "report.json");
    for result in &results {
        let path = engine.job_result_path(job, &result.name).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), result.bytes, "{}", result.name);
    }
    let files = std::fs::read_dir(engine.data.job_results(job).unwrap()).unwrap().count();
    assert_eq!(files, results.len());
    engine.job_report::<serde_json::Value>(job).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a process that dies at `moment` of the job leaves on the disk.
fn killed_at(moment: Moment, folder: &Path, run: impl FnOnce() -> Job) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    let (from, to, taken) = (folder.to_path_buf(), left.path().to_path_buf(), Cell::new(false));
    let hook = move |now: Moment| {
        if now == moment && !taken.replace(true) {
            copy(&from, &to);
        }
        Ok(())
    };
    with_faults(hook, run);
    left
}

const MOMENTS: [Moment; 6] =
    [Moment::Read, Moment::Collected, Moment::Write, Moment::BeforeMove, Moment::AfterMove, Moment::BeforeCommit];

#[test]
fn an_undisturbed_job_says_what_it_took() {
    let bench = Bench::new();
    let job = bench.run();
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert_whole(&bench.engine, &bench.job);
    assert_eq!((job.progress.done, job.progress.total), (ROWS as u64, Some(ROWS as u64)));
    assert_eq!((job.progress.unit.as_str(), job.progress.stage), ("documents", None));
    let figures: AnalysisFigures = serde_json::from_value(job.detail).unwrap();
    assert_eq!(figures.documents, ROWS as u64);
    assert!(figures.seconds > 0.0 && figures.documents_per_second > 0.0);
    assert!(figures.reserved_bytes >= (ROWS * 8 * 4) as u64);
    assert_eq!(figures.peak_memory_bytes.is_some(), cfg!(target_os = "linux"));
    let events = bench.engine.job_events(&bench.job, &PageRequest::default()).unwrap().items;
    assert!(events[0].message.starts_with("40 documents in "), "{}", events[0].message);
    assert!(events.iter().any(|event| event.message == "reading documents"));
}

#[test]
fn an_error_at_any_moment_fails_the_job_with_its_reason_and_leaves_nothing() {
    for moment in MOMENTS {
        let bench = Bench::new();
        let full = std::io::ErrorKind::StorageFull;
        let job = bench.run_with(move |now| {
            if now == moment { Err(EngineError::io("write", "the-place", full.into())) } else { Ok(()) }
        });
        let JobFailure { code, message, .. } = job.failure.unwrap_or_else(|| panic!("{moment:?}: {:?}", job.state));
        assert_eq!((job.state, code.as_str()), (JobState::Failed, "storage_error"), "{moment:?}");
        assert!(message.contains("the-place"), "{moment:?}: {message}");
        bench.assert_nothing_is_left();
    }
}

#[test]
fn a_panic_of_the_work_fails_the_job_and_not_the_process() {
    for moment in [Moment::Read, Moment::Collected, Moment::Write] {
        let bench = Bench::new();
        let job = bench.run_with(move |now| if now == moment { panic!("a defect at {now:?}") } else { Ok(()) });
        assert!(job.failure.unwrap().message.contains(&format!("a defect at {moment:?}")));
        bench.assert_nothing_is_left();
    }
}

#[test]
fn a_job_whose_process_dies_at_any_moment_goes_on_and_succeeds() {
    for moment in MOMENTS {
        let bench = Bench::new();
        let left = killed_at(moment, bench.folder.path(), || bench.run());
        let engine = open(left.path(), u64::MAX);
        assert_eq!(engine.job(&bench.job).unwrap().state, JobState::Running, "{moment:?}: nothing of the end is seen");
        assert!(engine.job_results(&bench.job).unwrap().is_empty());
        let read = Rc::new(Cell::new(0));
        let counter = Rc::clone(&read);
        let hook = move |now| {
            counter.set(counter.get() + usize::from(now == Moment::Read));
            Ok(())
        };
        let job = with_faults(hook, || run(&engine, &bench.job));
        assert_eq!(job.state, JobState::Succeeded, "{moment:?}: {:?}", job.failure);
        let expected = if moment == Moment::Read { ROWS } else { 0 };
        assert_eq!(read.get(), expected, "{moment:?}: what was read whole is not read again");
        assert_whole(&engine, &bench.job);
    }
}

#[test]
fn a_process_that_dies_after_the_end_loses_nothing() {
    let bench = Bench::new();
    let left = killed_at(Moment::AfterCommit, bench.folder.path(), || bench.run());
    let engine = open(left.path(), u64::MAX);
    assert_eq!(engine.job(&bench.job).unwrap().state, JobState::Succeeded);
    assert_whole(&engine, &bench.job);
    assert!(!engine.data.job(&bench.job).unwrap().join("run").exists(), "what it worked with is swept");
}

#[test]
fn results_that_were_moved_but_never_committed_go_with_the_job() {
    let bench = Bench::new();
    let left = killed_at(Moment::AfterMove, bench.folder.path(), || bench.run());
    let engine = open(left.path(), u64::MAX);
    let orphan = engine.data.job_results(&bench.job).unwrap();
    assert!(orphan.exists(), "the process died between the two");
    assert_eq!(engine.cancel_job(&bench.job).unwrap().state, JobState::Cancelled);
    assert!(!orphan.exists());

    // The same where the job's row is gone, or its end was seen by another process: the next start sweeps.
    for id in ["job-of-nobody", bench.job.as_str()] {
        std::fs::create_dir_all(engine.data.job_results(id).unwrap()).unwrap();
    }
    drop(engine);
    let engine = open(left.path(), u64::MAX);
    assert_eq!(std::fs::read_dir(engine.data.root().join("results")).unwrap().count(), 0);
}

#[test]
fn a_job_that_dies_three_times_without_getting_further_is_given_up() {
    let bench = Bench::new();
    let mut left = killed_at(Moment::Collected, bench.folder.path(), || bench.run());
    for _ in 0..2 {
        let engine = open(left.path(), u64::MAX);
        let next = killed_at(Moment::Collected, left.path(), || run(&engine, &bench.job));
        drop(engine);
        left = next;
    }
    let engine = open(left.path(), u64::MAX);
    let job = run(&engine, &bench.job);
    assert_eq!((job.state, job.failure.unwrap().code.as_str()), (JobState::Failed, "crashed"));
}

#[test]
fn a_job_is_cancelled_at_every_stage() {
    for moment in [Moment::Read, Moment::Collected, Moment::Write] {
        let bench = Bench::new();
        let other = open(bench.folder.path(), u64::MAX);
        let id = bench.job.clone();
        let asked = Cell::new(false);
        let job = bench.run_with(move |now| {
            if now == moment && !asked.replace(true) {
                assert_eq!(other.cancel_job(&id).unwrap().wish, Some(crate::JobWish::Cancel));
            }
            Ok(())
        });
        assert_eq!(job.state, JobState::Cancelled, "{moment:?}");
        bench.assert_nothing_is_left();
    }
}

#[test]
fn a_slow_job_stops_where_it_is_when_it_is_cancelled() {
    let bench = Bench::new();
    let (stop, read) = (StopSignal::default(), Rc::new(Cell::new(0)));
    let (asked, counter) = (stop.clone(), Rc::clone(&read));
    let hook = move |now| {
        if now == Moment::Read {
            counter.set(counter.get() + 1);
            asked.stop(StopReason::Cancel);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    };
    let job = with_faults(hook, || bench.engine.run_job_here(&bench.job, &stop, &mut |_| {}, &NoProgress).unwrap());
    assert_eq!(job.state, JobState::Cancelled);
    assert!(read.get() <= 10, "{} documents of {ROWS} were read in the second after it was asked", read.get());
    bench.assert_nothing_is_left();
}

#[test]
fn a_paused_job_goes_on_from_what_it_read() {
    let bench = Bench::new();
    let stop = StopSignal::default();
    let asked = stop.clone();
    let hook = move |now| {
        if now == Moment::Collected {
            asked.stop(StopReason::Pause);
            while asked.get().is_none() {}
            // The pulse passes it on.
            std::thread::sleep(Duration::from_millis(600));
        }
        Ok(())
    };
    let job = with_faults(hook, || bench.engine.run_job_here(&bench.job, &stop, &mut |_| {}, &NoProgress).unwrap());
    assert_eq!(job.state, JobState::Paused);
    assert_eq!(bench.engine.resume_job(&bench.job).unwrap().state, JobState::Queued);
    let job = bench.run_with(|now| {
        assert_ne!(now, Moment::Read, "the source was read already");
        Ok(())
    });
    assert_eq!(job.state, JobState::Succeeded, "{:?}", job.failure);
    assert_whole(&bench.engine, &bench.job);
}

#[test]
fn a_job_that_needs_more_memory_than_jobs_may_take_says_so() {
    let bench = Bench::with_memory(64);
    let failure = bench.run().failure.unwrap();
    assert_eq!(failure.code, "too_large");
    assert!(failure.message.contains("64") || failure.message.contains("0.0 MiB"), "{}", failure.message);
    bench.assert_nothing_is_left();
}

#[test]
fn a_job_waits_for_memory_that_others_hold_and_can_be_cancelled_meanwhile() {
    let bench = Bench::with_memory(1 << 30);
    let cancel = CancelToken::new();
    let held = bench.engine.jobs.memory().reserve(1 << 30, &cancel, |_| {}).unwrap();
    let waits = |id: &str| {
        let wanted = "waiting for memory";
        while bench.engine.job(id).unwrap().progress.stage.as_deref() != Some(wanted) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| bench.run());
        waits(&bench.job);
        bench.engine.cancel_job(&bench.job).unwrap();
        assert_eq!(running.join().unwrap().state, JobState::Cancelled);
        let second = new_job(&bench.engine);
        let running = scope.spawn({
            let (engine, id) = (&bench.engine, second.clone());
            move || run(engine, &id)
        });
        waits(&second);
        drop(held);
        assert_eq!(running.join().unwrap().state, JobState::Succeeded);
    });
}

#[test]
fn an_ended_job_is_deleted_with_all_it_made_and_others_are_not() {
    let bench = Bench::new();
    let waiting = bench.engine.delete_job(&bench.job).unwrap_err();
    assert!(waiting.to_string().contains("queued; cancel it"), "{waiting}");
    bench.run();
    let results = bench.results();
    assert!(results.exists());
    bench.engine.delete_job(&bench.job).unwrap();
    assert!(!results.exists() && !bench.engine.data.job(&bench.job).unwrap().exists());
    for error in [bench.engine.job(&bench.job).unwrap_err(), bench.engine.delete_job(&bench.job).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let left: i64 = bench
        .engine
        .control
        .read(|connection| {
            let sql = "SELECT (SELECT count(*) FROM job_events) + (SELECT count(*) FROM job_results)";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })
        .unwrap();
    assert_eq!(left, 0);
}
