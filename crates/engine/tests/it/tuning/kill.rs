//! A training process killed with SIGKILL, again and again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anser_core::{NoProgress, StopSignal};
use anser_engine::{FineTuningStatus, PageRequest};

use super::trainer::FakeTrainer;
use super::{Bench, Loader, open};

/// Tells the child which data folder to work in.
const FOLDER: &str = "ANSER_TEST_KILLED_FOLDER";

/// What the child does: run jobs, slowly.
#[test]
#[ignore = "the child process of the test below, which runs it"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let trainer = Arc::<FakeTrainer>::default();
    *trainer.pace.lock() = Duration::from_millis(15);
    let engine = open(&folder, &trainer, &Loader::default()).unwrap();
    let stop = StopSignal::default();
    let jobs = engine.jobs(&PageRequest::default()).unwrap().items;
    engine.run_job_here(&jobs[0].id, &stop, &mut |_| {}, &NoProgress).unwrap();
}

fn spawn(bench: &Bench) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tuning::kill::child"])
        .env(FOLDER, bench.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_happened() {
    let bench = Bench::new();
    let undisturbed = bench.job(|request| (request.seed, request.hyperparameters.n_epochs) = (Some(5), Some(10)));
    bench.run();
    let job = bench.job(|request| (request.seed, request.hyperparameters.n_epochs) = (Some(5), Some(10)));
    let curve = |id: &str| {
        let steps = bench.events(id).into_iter().filter_map(|event| event.metrics);
        steps.map(|metrics| (metrics.step, metrics.train_loss)).collect::<Vec<_>>()
    };
    for kills in 1..=3 {
        let mut child = spawn(&bench);
        // Each child gets further than the last one.
        while curve(&job.id).len() < kills * 9 {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bench.status(&job.id), FineTuningStatus::Running, "nobody has written its death down");
    }
    let ended = bench.engine.run_job_here(&job.id, &StopSignal::default(), &mut |_| {}, &NoProgress).unwrap();
    assert_eq!(ended.state.as_str(), "succeeded");
    assert_eq!(curve(&job.id), curve(&undisturbed.id));
    let interrupted = bench.events(&job.id).iter().filter(|event| event.message.contains("interrupted")).count();
    assert_eq!(interrupted, 3);
    let checkpoints = |id: &str| {
        let found = bench.engine.fine_tuning_checkpoints(id, &PageRequest::default()).unwrap().items;
        found.into_iter().map(|checkpoint| checkpoint.step_number).collect::<Vec<_>>()
    };
    assert_eq!(checkpoints(&job.id), checkpoints(&undisturbed.id));
    let result = |id: &str| {
        let job = bench.engine.fine_tuning_job(id).unwrap();
        std::fs::read_to_string(bench.engine.file_path(&job.result_files[0]).unwrap()).unwrap()
    };
    assert_eq!(result(&job.id), result(&undisturbed.id));
    bench.other_process();
    assert_eq!(bench.names("tuned").len(), 22, "two models of ten checkpoints each, and nothing else");
}
