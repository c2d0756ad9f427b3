//! Logistic regression agrees with scikit-learn, its gradient with finite differences, and bad input is refused.

use anser_core::{Embedding, ErrorKind};
use argmin::core::{CostFunction, Gradient};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::*;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn vectors(case: &Value) -> Vectors {
    let row = |row: &Value| Embedding::from_unit(numbers(row).into_iter().map(|v| v as f32).collect()).unwrap();
    from(&case["vectors"].as_array().unwrap().iter().map(row).collect::<Vec<Embedding>>())
}

fn from(embeddings: &[Embedding]) -> Vectors {
    Vectors::from_embeddings(embeddings).unwrap()
}

fn labels(case: &Value) -> Vec<usize> {
    case["labels"].as_array().unwrap().iter().map(|label| label.as_u64().unwrap() as usize).collect()
}

fn options(case: &Value) -> LogisticOptions {
    let class_weights = match &case["class_weight"] {
        Value::Null => ClassWeights::Uniform,
        Value::String(_) => ClassWeights::Balanced,
        given => ClassWeights::Given(numbers(given)),
    };
    LogisticOptions { inverse_regularization: case["c"].as_f64().unwrap(), class_weights, ..Default::default() }
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/logistic_regression.json")).unwrap()
}

#[test]
fn parameters_and_probabilities_agree_with_scikit_learn() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (vectors, labels) = (vectors(case), labels(case));
        let classes = labels.iter().max().unwrap() + 1;
        let model = LogisticModel::fit(&vectors, &labels, classes, &options(case), &CancelToken::new()).unwrap();
        let coefficients: Vec<f64> = case["coefficients"].as_array().unwrap().iter().flat_map(numbers).collect();
        assert_eq!(model.weights().len(), coefficients.len());
        for (found, expected) in model.weights().iter().zip(&coefficients) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{}: {found} {expected}", case["name"]);
        }
        // Between several classes only differences of intercepts matter; their mean is not determined by the objective.
        let centred = |values: Vec<f64>| {
            let mean = if values.len() == 1 { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 };
            values.into_iter().map(|value| value - mean).collect::<Vec<f64>>()
        };
        let found = centred(model.intercepts().iter().map(|v| f64::from(*v)).collect());
        for (found, expected) in found.iter().zip(centred(numbers(&case["intercepts"]))) {
            assert!((found - expected).abs() < 1e-4, "{}: {found} {expected}", case["name"]);
        }
        for (vector, expected) in vectors.iter().zip(case["probabilities"].as_array().unwrap()) {
            let found = model.probabilities(vector).unwrap();
            assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for (found, expected) in found.iter().zip(numbers(expected)) {
                assert!((found - expected).abs() < 1e-4, "{}: {found} {expected}", case["name"]);
            }
        }
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_cost() {
    let cancel = CancelToken::new();
    for case in fixture()["cases"].as_array().unwrap() {
        let (vectors, labels) = (vectors(case), labels(case));
        let classes = labels.iter().max().unwrap() + 1;
        let objective = Objective::new(&vectors, &labels, classes, &options(case), &cancel).unwrap();
        let parameters: Vec<f64> = (0..objective.rows * (vectors.dimension() + 1)).map(|i| (i as f64).sin()).collect();
        let gradient = objective.gradient(&parameters).unwrap();
        for (at, slope) in gradient.iter().enumerate() {
            let step = 1e-5;
            let moved = |by: f64| {
                let mut moved = parameters.clone();
                moved[at] += by;
                objective.cost(&moved).unwrap()
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slope - expected).abs() < 1e-8, "{at}: {slope} {expected}");
        }
    }
}

#[test]
fn separable_classes_are_told_apart_and_the_same_call_gives_the_same_bits() {
    let axis = |at: usize| Embedding::normalize((0..3).map(|i| f32::from(u8::from(i == at))).collect()).unwrap();
    let vectors = from(&(0..1500).map(|i| axis(i % 3)).collect::<Vec<_>>());
    let labels: Vec<usize> = (0..1500).map(|i| i % 3).collect();
    let fit = || LogisticModel::fit(&vectors, &labels, 3, &LogisticOptions::default(), &CancelToken::new()).unwrap();
    let model = fit();
    assert_eq!(model, fit());
    assert_eq!((model.classes(), model.dimension()), (3, 3));
    for class in 0..3 {
        assert_eq!(model.predict(&from(&[axis(class)]), &CancelToken::new()).unwrap()[0].0, class);
        assert!(model.probabilities(axis(class).as_slice()).unwrap()[class] > 0.9);
    }
    assert_eq!(LogisticModel::from_parts(model.weights().to_vec(), model.intercepts().to_vec()).unwrap(), model);
}

#[test]
fn fitting_again_from_elsewhere_finds_the_same() {
    let fixture = fixture();
    let case = &fixture["cases"][2];
    let (vectors, labels, cancel) = (vectors(case), labels(case), CancelToken::new());
    let weak = LogisticOptions { inverse_regularization: 50.0, ..options(case) };
    let elsewhere = LogisticModel::fit(&vectors, &labels, 3, &weak, &cancel).unwrap();
    let expected = LogisticModel::fit(&vectors, &labels, 3, &options(case), &cancel).unwrap();
    let found = elsewhere.refit(&vectors, &labels, &options(case), &cancel).unwrap();
    for (found, expected) in found.weights().iter().zip(expected.weights()) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    let loss = |model: &LogisticModel| model.mean_loss(&vectors, &labels, &ClassWeights::Uniform, &cancel).unwrap();
    assert!(loss(&elsewhere) < loss(&expected), "a weaker penalty fits closer");
    let by_hand: f64 = vectors
        .iter()
        .zip(&labels)
        .map(|(vector, label)| -expected.probabilities(vector).unwrap()[*label].ln())
        .sum::<f64>()
        / labels.len() as f64;
    assert!((loss(&expected) - by_hand).abs() < 1e-9);
}

#[test]
fn many_classes_are_fitted_like_few() {
    // Six and more rows of weights are multiplied as matrices, fewer one by one.
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let flat: Vec<f32> = (0..7 * 40 * 10).map(|_| rng.random_range(-1.0..1.0)).collect();
    let vectors = Vectors::new(flat, 10).unwrap();
    let labels: Vec<usize> = (0..280).map(|at| at % 7).collect();
    let options = LogisticOptions::default();
    let cancel = CancelToken::new();
    let objective = Objective::new(&vectors, &labels, 7, &options, &cancel).unwrap();
    let parameters: Vec<f64> = (0..7 * 11).map(|i| f64::from(i).cos()).collect();
    let gradient = objective.gradient(&parameters).unwrap();
    for at in (0..gradient.len()).step_by(5) {
        let moved = |by: f64| {
            let mut moved = parameters.clone();
            moved[at] += by;
            objective.cost(&moved).unwrap()
        };
        let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((gradient[at] - expected).abs() < 1e-8, "{at}: {} {expected}", gradient[at]);
    }
    let model = LogisticModel::fit(&vectors, &labels, 7, &options, &cancel).unwrap();
    let found = model.predict(&vectors, &cancel).unwrap();
    for (vector, (class, probability)) in vectors.iter().zip(found) {
        let all = model.probabilities(vector).unwrap();
        assert!(all.iter().all(|p| *p <= probability) && (all[class] - probability).abs() < 1e-12);
    }
}

#[test]
fn fitting_converges_whatever_the_penalty_and_the_data() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for round in 0..40 {
        let (count, classes) = (rng.random_range(12..80), rng.random_range(2..5));
        let spread = if round % 2 == 0 { 0.05 } else { 2.0 };
        let vectors: Vec<Embedding> = (0..count)
            .map(|at| {
                let axis = |i: usize| f32::from(u8::from(i == at % classes)) + spread * rng.random_range(-1.0..1.0);
                Embedding::normalize((0..8).map(axis).collect()).unwrap()
            })
            .collect();
        let vectors = from(&vectors);
        let labels: Vec<usize> = (0..count).map(|at| at % classes).collect();
        let inverse_regularization = 10f64.powi(round % 9 - 3);
        let options = LogisticOptions { inverse_regularization, ..LogisticOptions::default() };
        let model = LogisticModel::fit(&vectors, &labels, classes, &options, &CancelToken::new()).unwrap();
        let objective = Objective::new(&vectors, &labels, classes, &options, &CancelToken::new()).map(|o| {
            let parameters: Vec<f64> =
                model.weights().iter().chain(model.intercepts()).map(|v| f64::from(*v)).collect();
            o.gradient(&parameters).unwrap().iter().map(|slope| slope.abs()).fold(0.0, f64::max)
        });
        // Parameters are kept in single precision, so the slope at them is not quite 0.
        assert!(objective.unwrap() < 1e-4, "round {round}, C = {inverse_regularization}");
    }
}

#[test]
fn unusable_input_is_refused() {
    let vector = |x: f32, y: f32| Embedding::normalize(vec![x, y]).unwrap();
    let two = from(&[vector(1.0, 0.0), vector(0.0, 1.0)]);
    let none = Vectors::new(Vec::new(), 2).unwrap();
    let fit = |vectors: &Vectors, labels: &[usize], classes: usize, options: &LogisticOptions| {
        LogisticModel::fit(vectors, labels, classes, options, &CancelToken::new()).map_err(|e| e.kind())
    };
    let good = LogisticOptions::default();
    assert!(fit(&two, &[0, 1], 2, &good).is_ok());
    let refused = Err(ErrorKind::InvalidInput);
    assert_eq!(fit(&none, &[], 2, &good), refused);
    assert_eq!(fit(&two, &[0], 2, &good), refused);
    assert_eq!(fit(&two, &[0, 2], 2, &good), refused);
    assert_eq!(fit(&two, &[0, 0], 2, &good), refused);
    assert_eq!(fit(&two, &[0, 0], 1, &good), refused);
    assert_eq!(fit(&two, &[0, 1], 2, &LogisticOptions { inverse_regularization: 0.0, ..good.clone() }), refused);
    let weights = ClassWeights::Given(vec![1.0]);
    assert_eq!(fit(&two, &[0, 1], 2, &LogisticOptions { class_weights: weights, ..good.clone() }), refused);
    let cancel = CancelToken::new();
    cancel.cancel();
    let cancelled = LogisticModel::fit(&two, &[0, 1], 2, &good, &cancel).unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    let model = LogisticModel::fit(&two, &[0, 1], 2, &good, &CancelToken::new()).unwrap();
    let other = [1.0, 0.0, 0.0];
    assert_eq!(model.probabilities(&other).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(LogisticModel::from_parts(vec![1.0; 4], vec![0.0; 3]).is_err());
    assert!(LogisticModel::from_parts(vec![f32::NAN; 4], vec![0.0]).is_err());
}
