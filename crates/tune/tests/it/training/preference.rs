//! Direct preference optimisation.

use anser_core::{Objective, TrainingRequest};
use serde_json::{Value, json};

use super::workbench::Workbench;

pub(super) fn preferences(count: usize) -> Vec<Value> {
    let message = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    (0..count)
        .map(|at| {
            json!({
                "input": {"messages": message("user", &format!("q{at}?"))},
                "preferred_output": message("assistant", "kind"),
                "non_preferred_output": message("assistant", if at % 2 == 0 { "rude" } else { "so very rude" }),
            })
        })
        .collect()
}

pub(super) fn request(bench: &Workbench) -> TrainingRequest {
    let mut request = bench.request();
    request.training_file = bench.write("preferences.jsonl", &preferences(10));
    request.validation_file = Some(bench.write("more.jsonl", &preferences(4)));
    request.objective = Objective::Preference { beta: None };
    request.hyperparameters.learning_rate = Some(5e-3);
    request
}

#[test]
fn the_preferred_output_gains_on_the_reference() {
    let bench = Workbench::new();
    let mut request = request(&bench);
    request.hyperparameters.n_epochs = Some(10);
    let plan = bench.plan(&request);
    let (outcome, told) = bench.train_plan(&plan, "run");
    let steps = told.steps();
    // Before the first update the model is the reference: no pair has a margin.
    assert!((steps[0].train_loss - 2.0_f64.ln()).abs() < 1e-6, "{}", steps[0].train_loss);
    assert!(steps[0].train_token_accuracy < f64::EPSILON);
    let last = steps.last().unwrap();
    assert!(last.train_loss < 0.3, "{}", last.train_loss);
    assert!(last.train_token_accuracy > 0.99);
    assert!(outcome.metrics.full_valid_loss.unwrap() < 0.4);
    assert!(outcome.metrics.full_valid_token_accuracy.unwrap() > 0.99);
    let margins: Vec<String> = told.messages().into_iter().filter(|text| text.contains("leads by")).collect();
    assert_eq!(margins.len(), 10);
}

#[test]
fn a_stronger_pull_stays_closer_to_the_reference() {
    let bench = Workbench::new();
    let margin = |beta, name: &str| {
        let request = TrainingRequest { objective: Objective::Preference { beta: Some(beta) }, ..request(&bench) };
        let (_, told) = bench.train(&request, name);
        let message = told.messages().into_iter().rfind(|text| text.contains("leads by")).unwrap();
        let words: Vec<&str> = message.split(' ').collect();
        let at = words.iter().position(|word| *word == "by").unwrap();
        words[at + 1].parse::<f64>().unwrap()
    };
    assert!(margin(2.0, "strong") < margin(0.1, "weak"));
}

#[test]
fn the_reference_is_the_model_that_training_starts_from() {
    let bench = Workbench::new();
    let mut supervised = bench.request();
    supervised.hyperparameters.n_epochs = Some(5);
    let (answers, _) = bench.train(&supervised, "answers");
    let request = TrainingRequest { start_from: Some(answers.folder), ..request(&bench) };
    let (outcome, told) = bench.train(&request, "preferences");
    // The adapter has moved far from the base, and still no pair has a margin before the first update.
    assert!((told.steps()[0].train_loss - 2.0_f64.ln()).abs() < 1e-6, "{}", told.steps()[0].train_loss);
    assert!(outcome.metrics.train_loss < 0.6);
}

#[test]
fn preferences_and_chats_are_not_mixed_up() {
    let bench = Workbench::new();
    let param_and_text = |request: &TrainingRequest| {
        let error = anser_core::Trainer::plan(&bench.trainer, request, &anser_core::NoProgress).unwrap_err();
        assert_eq!(error.kind(), anser_core::ErrorKind::InvalidInput);
        error.to_string()
    };
    let supervised = TrainingRequest { objective: Objective::Supervised, ..request(&bench) };
    assert!(param_and_text(&supervised).contains("line 1"));
    let preference = TrainingRequest { objective: Objective::Preference { beta: None }, ..bench.request() };
    assert!(param_and_text(&preference).contains("preferred_output"));
}
