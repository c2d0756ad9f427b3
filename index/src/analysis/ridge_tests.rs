//! Ridge regression agrees with scikit-learn, and bad input is refused.

use anser_core::ErrorKind;
use serde_json::Value;

use super::*;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn cases() -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("../../tests/fixtures/ridge_regression.json")).unwrap();
    fixture["cases"].as_array().unwrap().clone()
}

fn data(case: &Value) -> (Vectors, Vec<f64>, Vec<usize>) {
    let flat = case["vectors"].as_array().unwrap().iter().flat_map(numbers).map(|x| x as f32).collect();
    let folds = numbers(&case["folds"]).into_iter().map(|fold| fold as usize).collect();
    (Vectors::new(flat, 6).unwrap(), numbers(&case["values"]), folds)
}

#[test]
fn weights_and_intercept_agree_with_scikit_learn() {
    let cancel = CancelToken::new();
    for case in cases() {
        let (vectors, values, folds) = data(&case);
        let alpha = case["alpha"].as_f64().unwrap();
        let model = RidgeModel::fit(&vectors, &values, alpha, &cancel).unwrap();
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-5, "{}: {found} {expected}", case["name"]);
        };
        let coefficients = numbers(&case["coefficients"]);
        assert_eq!(model.weights().len(), coefficients.len());
        model.weights().iter().zip(&coefficients).for_each(|(found, expected)| near(f64::from(*found), *expected));
        near(model.intercept(), case["intercept"].as_f64().unwrap());
        let found = model.predict(&vectors, &cancel).unwrap();
        for (row, found) in vectors.iter().zip(&found) {
            let products = row.iter().zip(&coefficients).map(|(x, w)| f64::from(*x) * w);
            near(*found, case["intercept"].as_f64().unwrap() + products.sum::<f64>());
        }
        let by_folds = RidgeFolds::new(&vectors, &values, &folds, &cancel).unwrap();
        let again = by_folds.fit_without(&[], alpha).unwrap();
        near(again.intercept(), model.intercept());
        assert_eq!(RidgeModel::from_parts(model.weights().to_vec(), model.intercept()).unwrap(), model);
    }
}

#[test]
fn cross_validation_agrees_with_scikit_learn() {
    let cancel = CancelToken::new();
    for case in cases() {
        let (vectors, values, folds) = data(&case);
        let by_folds = RidgeFolds::new(&vectors, &values, &folds, &cancel).unwrap();
        let scores = by_folds.cross_validate(&[], &numbers(&case["alphas"]), &cancel).unwrap();
        let expected = numbers(&case["mean_squared_errors"]);
        assert_eq!(scores.len(), expected.len());
        for (found, expected) in scores.iter().zip(&expected) {
            let found = found.mean_squared_error;
            assert!((found - expected).abs() < 1e-6 * expected.max(1.0), "{}: {found} {expected}", case["name"]);
        }
        let best = scores.iter().min_by(|a, b| a.mean_squared_error.total_cmp(&b.mean_squared_error)).unwrap();
        assert!((best.alpha - case["best_alpha"].as_f64().unwrap()).abs() < 1e-12);
        // What is left out plays no part: the same as if those rows were not there.
        let kept: Vec<usize> = (0..values.len()).filter(|row| folds[*row] != 3).collect();
        let fewer: Vec<f64> = kept.iter().map(|row| values[*row]).collect();
        let fewer_folds: Vec<usize> = kept.iter().map(|row| folds[*row]).collect();
        let alone = RidgeFolds::new(&vectors.gather(&kept), &fewer, &fewer_folds, &cancel).unwrap();
        let (a, b) = (
            by_folds.cross_validate(&[3], &[0.1], &cancel).unwrap()[0],
            alone.cross_validate(&[], &[0.1], &cancel).unwrap()[0],
        );
        assert!((a.mean_squared_error - b.mean_squared_error).abs() < 1e-9);
    }
}

#[test]
fn equal_vectors_and_one_row_predict_the_mean() {
    let cancel = CancelToken::new();
    let same = Vectors::new([1.0, 0.0].repeat(4), 2).unwrap();
    let model = RidgeModel::fit(&same, &[1.0, 2.0, 3.0, 6.0], 1.0, &cancel).unwrap();
    assert!((model.predict(&same, &cancel).unwrap()[0] - 3.0).abs() < 1e-9);
    let one = Vectors::new(vec![1.0, 0.0], 2).unwrap();
    let model = RidgeModel::fit(&one, &[7.0], 1.0, &cancel).unwrap();
    assert!((model.predict(&one, &cancel).unwrap()[0] - 7.0).abs() < 1e-9);
}

#[test]
fn unusable_input_is_refused() {
    let cancel = CancelToken::new();
    let two = Vectors::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
    let none = Vectors::new(Vec::new(), 2).unwrap();
    let fit = |vectors: &Vectors, values: &[f64], alpha: f64| {
        RidgeModel::fit(vectors, values, alpha, &CancelToken::new()).map_err(|e| e.kind())
    };
    let refused = Err(ErrorKind::InvalidInput);
    assert!(fit(&two, &[1.0, 2.0], 1.0).is_ok());
    assert_eq!(fit(&none, &[], 1.0), refused);
    assert_eq!(fit(&two, &[1.0], 1.0), refused);
    assert_eq!(fit(&two, &[1.0, f64::NAN], 1.0), refused);
    for alpha in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(fit(&two, &[1.0, 2.0], alpha), refused, "{alpha}");
    }
    let model = RidgeModel::fit(&two, &[1.0, 2.0], 1.0, &cancel).unwrap();
    let other = Vectors::new(vec![1.0; 3], 3).unwrap();
    assert_eq!(model.predict(&other, &cancel).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(RidgeModel::from_parts(Vec::new(), 0.0).is_err() && RidgeModel::from_parts(vec![1.0], f64::NAN).is_err());
    let folds = RidgeFolds::new(&two, &[1.0, 2.0], &[0, 1], &cancel).unwrap();
    assert_eq!(folds.cross_validate(&[1], &[1.0], &cancel).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(folds.fit_without(&[0, 1], 1.0).unwrap_err().kind(), ErrorKind::InvalidInput);
    cancel.cancel();
    assert_eq!(RidgeModel::fit(&two, &[1.0, 2.0], 1.0, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
}
