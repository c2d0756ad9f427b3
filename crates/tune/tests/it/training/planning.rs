//! Plans: what is chosen, what is refused and what a run will take.

use anser_core::{ErrorKind, NoProgress, Precision, Schedule, StopSignal, Trainer, TrainingRequest};
use serde_json::json;

use super::workbench::{Workbench, questions};

#[test]
fn every_open_question_is_answered() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.training_file = bench.write("hundred.jsonl", &questions(100));
    request.hyperparameters = anser_core::Hyperparameters::default();
    let plan = bench.plan(&request);
    let chosen = &plan.request.hyperparameters;
    assert_eq!((chosen.batch_size, chosen.schedule), (Some(4), Some(Schedule::Cosine)));
    assert_eq!(chosen.max_tokens, Some(1024));
    assert!(chosen.n_epochs.unwrap() >= 3 && chosen.precision.is_some() && chosen.recompute == Some(false));
    assert_eq!(chosen.learning_rate_multiplier, Some(1.0));
    assert_eq!(plan.total_steps, 25 * chosen.n_epochs.unwrap());
    assert_eq!(plan.examples, 100);
    assert!(plan.loss_tokens_per_epoch < plan.tokens_per_epoch);
    assert!(plan.estimated_memory_bytes > 0);
    // Two blocks of seven matrices, rank 8: (in + out) · 8 each, with 32 wide, 64 within and 16 for keys and values.
    assert_eq!(plan.trainable_parameters, 2 * 8 * (64 + 48 + 48 + 64 + 96 + 96 + 96));
    assert_eq!(bench.plan(&plan.request), plan);
}

#[test]
fn the_fingerprint_is_that_of_the_data() {
    let bench = Workbench::new();
    let request = bench.request();
    let plan = bench.plan(&request);
    let other = TrainingRequest { training_file: bench.write("other.jsonl", &questions(11)), ..request.clone() };
    assert_ne!(bench.plan(&other).data_fingerprint, plan.data_fingerprint);
    let copy = TrainingRequest { training_file: bench.write("copy.jsonl", &questions(10)), seed: 9, ..request };
    assert_eq!(bench.plan(&copy).data_fingerprint, plan.data_fingerprint);

    bench.write("train.jsonl", &questions(12));
    let error = bench.trainer.train(&plan, &bench.path("run"), &StopSignal::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("plan again"), "{error}");
}

#[test]
fn long_examples_are_cut_and_those_with_nothing_left_told_of() {
    let bench = Workbench::new();
    let mut request = bench.request();
    let mut lines = questions(10);
    lines.push(super::workbench::chat(&"why ".repeat(40), "because"));
    lines.push(super::workbench::chat("why?", &"because ".repeat(40)));
    request.training_file = bench.write("long.jsonl", &lines);
    request.hyperparameters.max_tokens = Some(60);
    request.hyperparameters.n_epochs = Some(1);
    let plan = bench.plan(&request);
    assert_eq!(plan.examples, 11);
    let (_, told) = bench.train_plan(&plan, "run");
    let messages = told.messages();
    assert!(messages.iter().any(|text| text.contains("2 of 12") && text.contains("cut")), "{messages:?}");
    assert!(messages.iter().any(|text| text.contains("1 of 12") && text.contains("left out")), "{messages:?}");
}

#[test]
fn faults_are_named_by_line_or_field() {
    let bench = Workbench::new();
    let error = |request: &TrainingRequest| bench.trainer.plan(request, &NoProgress).unwrap_err();
    let mut lines = questions(12);
    lines[6] = json!({"messages": [{"role": "user", "content": "q"}]});
    let faulty = TrainingRequest { training_file: bench.write("faulty.jsonl", &lines), ..bench.request() };
    assert!(error(&faulty).to_string().contains("line 7"), "{}", error(&faulty));
    let few = TrainingRequest { training_file: bench.write("few.jsonl", &questions(9)), ..bench.request() };
    assert_eq!(error(&few).kind(), ErrorKind::InvalidInput);
    let missing = TrainingRequest { training_file: bench.path("missing.jsonl"), ..bench.request() };
    assert_eq!(error(&missing).kind(), ErrorKind::Io);
    let unknown = TrainingRequest { base: "unknown".to_owned(), ..bench.request() };
    assert_eq!(error(&unknown).kind(), ErrorKind::NotFound);
    let mut epochs = bench.request();
    epochs.hyperparameters.n_epochs = Some(0);
    assert_eq!(error(&epochs).param(), Some("n_epochs"));
    assert_eq!(bench.trainer.check_file(&faulty.training_file).unwrap().problem_count, 1);
}

#[test]
fn the_time_is_known_once_a_run_was_measured() {
    let bench = Workbench::new();
    let mut request = bench.request();
    request.training_file = bench.write("many.jsonl", &questions(200));
    request.hyperparameters.n_epochs = Some(1);
    assert_eq!(bench.plan(&request).estimated_seconds, None);
    bench.train(&request, "run");
    assert!(bench.plan(&request).estimated_seconds.unwrap() > 0.0);
    request.hyperparameters.precision = Some(Precision::Bf16);
    assert_eq!(bench.plan(&request).estimated_seconds, None);
}
