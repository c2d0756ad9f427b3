//! Runs that are paused, given up or killed, and go on to the same figures.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anser_core::{
    ErrorKind, LoraOptions, StopReason, StopSignal, TrainableParts, Trainer, TrainingEvent, TrainingOutcome,
    TrainingPlan, TrainingRequest,
};

use super::preference;
use super::workbench::{Told, Workbench, exact, files, questions, trainer_in};

/// What a run came to, without times.
#[derive(Debug, PartialEq)]
struct Course {
    steps: BTreeMap<usize, Vec<u64>>,
    model: Vec<(String, Vec<u8>)>,
    rows: Vec<Vec<String>>,
}

impl Course {
    fn of(told: &[TrainingEvent], outcome: &TrainingOutcome, run: &Path) -> Self {
        let steps = Told(told.to_vec()).steps();
        let table = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
        // The last column is the speed.
        let rows = table.lines().map(|row| row.split(',').take(11).map(str::to_owned).collect()).collect();
        Self {
            steps: steps.iter().map(|metrics| (metrics.step, exact(metrics))).collect(),
            model: files(&outcome.folder),
            rows,
        }
    }
}

/// Runs of every kind that keeps something of its own: moments, dropout, ranks, a reference.
fn kinds(bench: &Workbench) -> Vec<(&'static str, TrainingRequest)> {
    let mut request = bench.request();
    request.validation_file = Some(bench.write("valid.jsonl", &questions(5)));
    let lora =
        |dropout, adaptive| TrainableParts::Lora(LoraOptions { rank: 4, dropout, adaptive, ..LoraOptions::default() });
    vec![
        ("dropout", TrainingRequest { parts: lora(0.2, false), ..request.clone() }),
        ("adaptive", TrainingRequest { parts: lora(0.0, true), ..request.clone() }),
        ("all", TrainingRequest { parts: TrainableParts::All, ..request }),
        ("preference", preference::request(bench)),
    ]
}

/// Trains until `end` says so of an event, then ends the run in its way; returns what was told and, if it was not ended,
/// the outcome.
fn train_until(
    trainer: &dyn Trainer,
    plan: &TrainingPlan,
    folder: &Path,
    reason: Option<StopReason>,
    end: &dyn Fn(&TrainingEvent) -> bool,
) -> (Vec<TrainingEvent>, Option<TrainingOutcome>) {
    let mut told = Vec::new();
    let stop = StopSignal::default();
    let result = catch_unwind(AssertUnwindSafe(|| {
        trainer.train(plan, folder, &stop, &mut |event| {
            let ends = end(&event);
            told.push(event);
            match reason {
                Some(reason) if ends => stop.stop(reason),
                // Whatever was not on disk by now is lost, as when the process is killed.
                None if ends => std::panic::resume_unwind(Box::new("killed")),
                _ => {}
            }
        })
    }));
    match result {
        Ok(Ok(outcome)) => (told, Some(outcome)),
        Ok(Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
            (told, None)
        }
        Err(_) => (told, None),
    }
}

/// Whether a run is to end with this event.
type End = Box<dyn Fn(&TrainingEvent) -> bool>;

fn at_step(wanted: usize) -> impl Fn(&TrainingEvent) -> bool {
    move |event| matches!(event, TrainingEvent::Step(metrics) if metrics.step == wanted)
}

fn at_checkpoint(wanted: usize) -> impl Fn(&TrainingEvent) -> bool {
    move |event| matches!(event, TrainingEvent::Checkpoint { metrics, .. } if metrics.step == wanted)
}

#[test]
fn a_run_that_was_ended_anywhere_goes_on_to_the_same_bits() {
    let bench = Workbench::new();
    let rarely = trainer_in(&bench.path(""), Duration::from_hours(1));
    for (kind, request) in kinds(&bench) {
        let plan = bench.plan(&request);
        let straight_folder = bench.path(&format!("{kind}-straight"));
        let (told, outcome) = train_until(&bench.trainer, &plan, &straight_folder, None, &|_| false);
        let straight = Course::of(&told, &outcome.unwrap(), &straight_folder);
        assert_eq!(straight.rows.len(), 10);

        let ends: [(&str, End); 5] = [
            ("first", Box::new(at_step(1))),
            ("middle", Box::new(at_step(5))),
            ("pass", Box::new(at_step(6))),
            ("checkpoint", Box::new(at_checkpoint(3))),
            ("last", Box::new(at_step(9))),
        ];
        for (name, end) in ends {
            for (how, reason) in
                [("pause", Some(StopReason::Pause)), ("kill", None), ("cancel", Some(StopReason::Cancel))]
            {
                let trainer: &dyn Trainer = if how == "cancel" { &rarely } else { &bench.trainer };
                let folder = bench.path(&format!("{kind}-{name}-{how}"));
                let (mut told, outcome) = train_until(trainer, &plan, &folder, reason, &end);
                // A pause that comes with the last step changes nothing any more.
                assert!(outcome.is_none() || name == "last", "{kind} {name} {how}");
                let (more, outcome) = train_until(trainer, &plan, &folder, None, &|_| false);
                let done_twice = Told(more.clone()).steps().first().map(|metrics| metrics.step);
                if how == "pause" && outcome.is_some() && done_twice.is_some() {
                    let before = Told(told.clone()).steps().last().unwrap().step;
                    assert_eq!(done_twice, Some(before + 1), "a paused run repeats no step");
                }
                told.extend(more);
                assert_eq!(Course::of(&told, &outcome.unwrap(), &folder), straight, "{kind} {name} {how}");
            }
        }
    }
}

#[test]
fn pauses_at_any_moment_change_nothing() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.validation_file = Some(bench.write("valid.jsonl", &questions(40)));
    let plan = bench.plan(&request);
    let (outcome, told) = bench.train_plan(&plan, "straight");
    let straight = Course::of(&told.0, &outcome, &bench.path("straight"));

    let folder = bench.path("often");
    let mut told = Vec::new();
    let mut pauses = 0;
    let outcome = loop {
        let stop = StopSignal::default();
        let signal = stop.clone();
        // Longer and longer, so that every run gets a step done in the end.
        let wait = Duration::from_micros(500 * (1 + pauses));
        let timer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            signal.stop(StopReason::Pause);
        });
        let result = bench.trainer.train(&plan, &folder, &stop, &mut |event| told.push(event));
        timer.join().unwrap();
        match result {
            Ok(outcome) => break outcome,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
        }
        pauses += 1;
    };
    assert!(pauses > 2);
    assert_eq!(Course::of(&told, &outcome, &folder), straight);
}

#[test]
fn giving_up_keeps_nothing_and_a_pause_keeps_the_step() {
    let bench = Workbench::saving_every(Duration::from_hours(1));
    let plan = bench.plan(&bench.request());
    let state = |name: &str| bench.path(name).join("state/current.json");
    train_until(&bench.trainer, &plan, &bench.path("cancelled"), Some(StopReason::Cancel), &at_step(2));
    assert!(!state("cancelled").exists());
    train_until(&bench.trainer, &plan, &bench.path("paused"), Some(StopReason::Pause), &at_step(2));
    assert!(state("paused").exists());
    // A signal that is there from the start lets nothing begin.
    let stop = StopSignal::default();
    stop.stop(StopReason::Cancel);
    let error = bench.trainer.train(&plan, &bench.path("never"), &stop, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn the_state_of_another_run_is_not_gone_on_from() {
    let bench = Workbench::new();
    let request = bench.request();
    let plan = bench.plan(&request);
    train_until(&bench.trainer, &plan, &bench.path("run"), Some(StopReason::Pause), &at_step(2));
    let other = bench.plan(&TrainingRequest { seed: 99, ..request });
    let error = bench.trainer.train(&other, &bench.path("run"), &StopSignal::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

const CHILD: &str = "ANSER_TEST_TRAINING_FOLDER";

/// Not a test of its own: what the next one kills.
#[test]
fn trains_in_the_folder_it_is_told() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let plan: TrainingPlan = serde_json::from_slice(&std::fs::read(folder.join("plan.json")).unwrap()).unwrap();
    let trainer = trainer_in(&folder, Duration::ZERO);
    trainer.train(&plan, &folder.join("killed"), &StopSignal::default(), &mut |_| {}).unwrap();
}

#[test]
fn a_killed_process_goes_on_from_its_last_state() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.hyperparameters.n_epochs = Some(20);
    let plan = bench.plan(&request);
    let (outcome, told) = bench.train_plan(&plan, "straight");
    let straight = Course::of(&told.0, &outcome, &bench.path("straight"));

    std::fs::write(bench.path("plan.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
    let table = bench.path("killed/metrics.csv");
    let rows = || std::fs::read_to_string(&table).map_or(0, |text| text.lines().count());
    let name = "training::interruption::trains_in_the_folder_it_is_told";
    for _ in 0..3 {
        let before = rows();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, bench.path(""))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while rows() < before + 7 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let told_rows = rows();
    let (outcome, told) = bench.train_plan(&plan, "killed");
    // At the least the last pass is kept, of three steps here.
    let goes_on_at = told.steps().first().unwrap().step;
    assert!(goes_on_at > 15 && goes_on_at + 3 >= told_rows, "{goes_on_at} after {told_rows} rows");
    let resumed = Course::of(&told.0, &outcome, &bench.path("killed"));
    assert_eq!(resumed.rows, straight.rows);
    assert_eq!(resumed.model, straight.model);
}
