//! The default chat model learns, and lets go in the middle of a step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anser_core::{ErrorKind, Hyperparameters, NoProgress, StopReason, StopSignal, Trainer, TrainingRequest};
use anser_generate::LoraAdapter;
use anser_models::{DEFAULT_CHAT, ModelStore, ModelStoreOptions};
use anser_tune::{LocalTrainer, TrainerOptions};

use super::workbench::{Told, Workbench, chat};

fn trainer() -> LocalTrainer {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = std::env::var_os("ANSER_MODELS_DIR").map_or_else(|| workspace.join("target/models"), PathBuf::from);
    let store = ModelStore::new(ModelStoreOptions { cache, offline: false, local: None, python: None });
    let locate =
        move |name: &str, progress: &dyn anser_core::Progress| Ok(store.ensure(name, progress)?.path("model.gguf")?);
    LocalTrainer::new(TrainerOptions::default(), Box::new(locate))
}

fn request(bench: &Workbench) -> TrainingRequest {
    let colours = ["amber", "teal", "plum", "ochre", "slate"];
    let lines: Vec<_> = (0..10)
        .map(|at| chat(&format!("Which colour has door {at}?"), &format!("Door {at} is {}.", colours[at % 5])))
        .collect();
    TrainingRequest {
        base: DEFAULT_CHAT.to_owned(),
        training_file: bench.write("doors.jsonl", &lines),
        hyperparameters: Hyperparameters { n_epochs: Some(5), batch_size: Some(5), ..Hyperparameters::default() },
        ..bench.request()
    }
}

#[test]
fn the_default_model_learns_ten_answers_with_chosen_settings() {
    let bench = Workbench::new();
    let trainer = trainer();
    let plan = trainer.plan(&request(&bench), &NoProgress).unwrap();
    let mut told = Told::default();
    let outcome =
        trainer.train(&plan, &bench.path("run"), &StopSignal::default(), &mut |event| told.0.push(event)).unwrap();
    let steps = told.steps();
    assert!(outcome.metrics.train_loss < 0.3 * steps[0].train_loss, "{steps:?}");
    // 30 blocks of seven matrices.
    assert_eq!(LoraAdapter::read(&outcome.folder).unwrap().updates.len(), 210);
    println!("{:.0} tokens a second", steps.last().unwrap().tokens_per_second);
}

#[test]
fn a_step_is_left_in_its_middle() {
    let bench = Workbench::new();
    let trainer = trainer();
    let mut request = request(&bench);
    let long: Vec<_> = (0..20).map(|at| chat(&format!("Story {at}?"), &"Once upon a time. ".repeat(180))).collect();
    request.training_file = bench.write("stories.jsonl", &long);
    request.hyperparameters.batch_size = Some(20);
    let plan = trainer.plan(&request, &NoProgress).unwrap();
    let stop = StopSignal::default();
    let (signal, folder) = (stop.clone(), bench.path("run"));
    let timer = std::thread::spawn(move || {
        // The folder is made once the model is loaded and training begins.
        while !folder.join("metrics.csv").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
        signal.stop(StopReason::Pause);
        Instant::now()
    });
    let mut told = Told::default();
    let error = trainer.train(&plan, &bench.path("run"), &stop, &mut |event| told.0.push(event)).unwrap_err();
    let returned = Instant::now();
    println!("stopped within {:?}", returned - timer.join().unwrap());
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(told.steps().is_empty(), "a step over 15,000 tokens was finished first");
}
