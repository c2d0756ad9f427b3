//! What a run learns and what it leaves in its folder.

use anser_core::{Hyperparameters, LoraOptions, Precision, TrainableParts, TrainedKind};
use anser_generate::{BaseModel, LoraAdapter};
use anser_tune::Provenance;

use super::workbench::{Workbench, chat, exact, files, questions};

#[test]
fn ten_examples_are_learned_by_heart() {
    let bench = Workbench::new();
    for (name, parts, rate) in [
        ("lora", TrainableParts::default(), 2e-2),
        ("blocks", TrainableParts::LastBlocks { blocks: 2 }, 1e-2),
        ("all", TrainableParts::All, 5e-3),
    ] {
        let mut request = bench.request();
        request.parts = parts;
        request.hyperparameters.learning_rate = Some(rate);
        request.hyperparameters.n_epochs = Some(40);
        let (outcome, told) = bench.train(&request, name);
        let steps = told.steps();
        let (first, last) = (steps[0], outcome.metrics);
        assert!(last.train_loss < 0.1 * first.train_loss, "{name}: {} to {}", first.train_loss, last.train_loss);
        assert!(last.train_token_accuracy > 0.95, "{name}: {}", last.train_token_accuracy);
        assert!(last.train_sequence_accuracy > first.train_sequence_accuracy);
        assert!(!outcome.stopped_early);
    }
}

#[test]
fn a_run_leaves_curves_checkpoints_and_an_adapter_with_its_record() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.validation_file = Some(bench.write("valid.jsonl", &questions(3)));
    request.hyperparameters.eval_interval = Some(2);
    let plan = bench.plan(&request);
    let (outcome, told) = bench.train_plan(&plan, "run");
    let run = bench.path("run");

    assert_eq!((plan.total_steps, plan.examples, plan.validation_examples), (9, 10, 3));
    let steps = told.steps();
    assert_eq!(steps.iter().map(|metrics| metrics.step).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert!((steps[4].epoch - 5.0 / 3.0).abs() < 1e-12 && steps[4].total_steps == 9);
    let measured: Vec<(bool, bool)> =
        steps.iter().map(|metrics| (metrics.valid_loss.is_some(), metrics.full_valid_loss.is_some())).collect();
    let due = |step: usize| (step.is_multiple_of(2) || step.is_multiple_of(3), step.is_multiple_of(3));
    assert_eq!(measured, (1..=9).map(due).collect::<Vec<_>>());
    assert!(steps[8].seconds_left.abs() < f64::EPSILON && steps[3].seconds_left > 0.0);

    let rows =
        |name: &str| std::fs::read_to_string(run.join(name)).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let result = rows("result.csv");
    assert_eq!(result[0], "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy");
    assert_eq!(result.len(), 10);
    assert!(result[1].ends_with(",,") && result[1].starts_with(&format!("1,{},", steps[0].train_loss)));
    assert_eq!(rows("metrics.csv").len(), 10);

    let checkpoints = told.checkpoints();
    assert_eq!(checkpoints.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 9]);
    for (_, folder) in &checkpoints {
        LoraAdapter::read(folder).unwrap();
    }
    assert_eq!(outcome.kind, TrainedKind::Adapter);
    assert!(outcome.folder.starts_with(&run));
    let adapter = LoraAdapter::read(&outcome.folder).unwrap();
    adapter.check(BaseModel::open(&bench.path("model.gguf")).unwrap().config()).unwrap();
    assert_eq!((adapter.updates.len(), adapter.config.rank, adapter.config.base_model.as_str()), (14, 8, "tiny"));

    let record = Provenance::read(&outcome.folder).unwrap();
    assert_eq!(record.base.as_deref(), Some("tiny"));
    assert_eq!(record.base_sha256.as_deref().map(str::len), Some(64));
    assert_eq!(record.data_fingerprint, plan.data_fingerprint);
    assert_eq!(record.hyperparameters, plan.request.hyperparameters);
    assert_eq!((record.seed, record.metrics.step), (5, outcome.metrics.step));
    assert_eq!(record.trained_tokens, 3 * plan.loss_tokens_per_epoch);
    assert_eq!(outcome.trained_tokens, record.trained_tokens);
    assert!(!run.join("state").exists());

    // Asked again, a finished run answers the same without training.
    let (again, told) = bench.train_plan(&plan, "run");
    assert_eq!(again, outcome);
    assert!(told.0.is_empty());
}

#[test]
fn a_whole_model_opens_as_one_and_keeps_what_did_not_learn() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.parts = TrainableParts::LastBlocks { blocks: 1 };
    request.hyperparameters.n_epochs = Some(1);
    let (outcome, _) = bench.train(&request, "run");
    assert_eq!(outcome.kind, TrainedKind::Full);
    let mut base = BaseModel::open(&bench.path("model.gguf")).unwrap();
    let mut tuned = BaseModel::open(&outcome.folder).unwrap();
    assert_eq!(tuned.config(), base.config());
    let text = "a<|im_end|>b";
    assert_eq!(tuned.codec().encode_text(text).unwrap(), base.codec().encode_text(text).unwrap());
    assert_eq!(tuned.codec().chat_template(), base.codec().chat_template());
    assert_eq!(tuned.codec().end_of_turn(), base.codec().end_of_turn());
    for (name, _) in BaseModel::tensor_names(base.config()) {
        let same = tuned.tensor(&name).unwrap() == base.tensor(&name).unwrap();
        let learns = name.starts_with("model.layers.1.") || name == "model.norm.weight";
        assert_eq!(same, !learns, "{name}");
    }

    request.parts = TrainableParts::All;
    request.hyperparameters.precision = Some(Precision::Bf16);
    let (outcome, _) = bench.train(&request, "all");
    let mut tuned = BaseModel::open(&outcome.folder).unwrap();
    for name in ["model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight"] {
        assert_ne!(tuned.tensor(name).unwrap(), base.tensor(name).unwrap(), "{name}");
    }
}

#[test]
fn the_best_model_is_kept_and_training_ends_when_it_gets_worse() {
    let bench = Workbench::new();
    let mut request = bench.request();
    // What is learned is wrong for the validation data: the better it is known, the worse.
    let other: Vec<_> = (0..10).map(|at| chat(&format!("q{at}?"), "ZZZZ")).collect();
    request.validation_file = Some(bench.write("valid.jsonl", &other));
    request.hyperparameters.n_epochs = Some(30);
    request.hyperparameters.learning_rate = Some(2e-2);
    request.hyperparameters.early_stopping_patience = Some(2);
    let (outcome, told) = bench.train(&request, "run");
    assert!(outcome.stopped_early);
    let evaluated: Vec<(usize, f64)> =
        told.steps().iter().filter_map(|metrics| Some((metrics.step, metrics.full_valid_loss?))).collect();
    let (best, lowest) = *evaluated.iter().min_by(|left, right| left.1.total_cmp(&right.1)).unwrap();
    assert_eq!(evaluated.last().unwrap().0, best + 2 * 3, "two evaluations after the best one: {evaluated:?}");
    assert_eq!((outcome.metrics.step, outcome.metrics.full_valid_loss), (best, Some(lowest)));
    assert_eq!(files(&outcome.folder), files(&bench.path(&format!("run/checkpoints/step-{best}"))));

    // Without patience every step is taken, and the best is kept all the same.
    request.hyperparameters.early_stopping_patience = Some(0);
    request.hyperparameters.n_epochs = Some(8);
    let (outcome, told) = bench.train(&request, "patient");
    assert!(!outcome.stopped_early);
    assert_eq!(told.steps().len(), 24);
    let lowest = told.steps().iter().filter_map(|metrics| metrics.full_valid_loss).min_by(f64::total_cmp);
    assert_eq!(outcome.metrics.full_valid_loss, lowest);
}

#[test]
fn ranks_move_between_matrices_at_the_same_total() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.parts = TrainableParts::Lora(LoraOptions { rank: 4, alpha: 8.0, adaptive: true, ..LoraOptions::default() });
    request.hyperparameters.n_epochs = Some(12);
    let (outcome, _) = bench.train(&request, "run");
    let adapter = LoraAdapter::read(&outcome.folder).unwrap();
    let ranks: Vec<usize> = adapter.updates.values().map(|pair| pair.rank).collect();
    assert_eq!(ranks.iter().sum::<usize>(), 4 * 14);
    assert!(ranks.iter().any(|rank| *rank != 4), "{ranks:?}");
    assert!(adapter.updates.values().all(|pair| (pair.scale - 2.0).abs() < 1e-6));
    assert!(adapter.updates.values().all(|pair| pair.a.len() == pair.rank * pair.inputs));
}

#[test]
fn the_seed_decides_everything() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.parts = TrainableParts::Lora(LoraOptions { dropout: 0.2, ..LoraOptions::default() });
    let run = |seed, name: &str| {
        let (outcome, told) = bench.train(&anser_core::TrainingRequest { seed, ..request.clone() }, name);
        (told.steps().iter().map(exact).collect::<Vec<_>>(), files(&outcome.folder))
    };
    let first = run(5, "a");
    assert_eq!(first, run(5, "b"));
    assert_ne!(first.0, run(6, "c").0);
}

#[test]
fn training_goes_on_from_an_adapter() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.hyperparameters.n_epochs = Some(10);
    let (first, told) = bench.train(&request, "first");
    let reached = told.steps().last().unwrap().train_loss;
    request.start_from = Some(first.folder);
    request.hyperparameters = Hyperparameters { n_epochs: Some(1), ..request.hyperparameters };
    let (second, told) = bench.train(&request, "second");
    assert!(told.steps()[0].train_loss < 2.0 * reached, "{} after {reached}", told.steps()[0].train_loss);
    assert!(Provenance::read(&second.folder).unwrap().continued);
}

#[test]
fn a_step_larger_than_one_part_is_the_same_step() {
    // 1024 tokens are computed at once; these examples take several parts a step, and 16-bit rounding aside the loss of
    // a step is the mean over all its tokens.
    let bench = Workbench::new();
    let mut request = bench.request();
    let long: Vec<_> = (0..10).map(|at| chat(&format!("{at}"), &"ab ".repeat(120))).collect();
    request.training_file = bench.write("long.jsonl", &long);
    request.hyperparameters = Hyperparameters {
        batch_size: Some(10),
        n_epochs: Some(1),
        learning_rate: Some(1e-3),
        precision: Some(Precision::F32),
        ..Hyperparameters::default()
    };
    let (_, whole) = bench.train(&request, "whole");
    request.hyperparameters.batch_size = Some(1);
    request.hyperparameters.learning_rate = Some(1e-12);
    let (_, single) = bench.train(&request, "single");
    let single = single.steps();
    let mean = single.iter().map(|metrics| metrics.train_loss).sum::<f64>() / single.len() as f64;
    assert!((whole.steps()[0].train_loss / mean - 1.0).abs() < 1e-5);
}

#[test]
fn a_run_that_diverges_ends_and_blames_the_learning_rate() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.parts = TrainableParts::All;
    request.hyperparameters.learning_rate = Some(1e30);
    let plan = bench.plan(&request);
    let stop = anser_core::StopSignal::default();
    let error = anser_core::Trainer::train(&bench.trainer, &plan, &bench.path("run"), &stop, &mut |_| {}).unwrap_err();
    assert_eq!((error.kind(), error.param()), (anser_core::ErrorKind::InvalidInput, Some("learning_rate")));
}
