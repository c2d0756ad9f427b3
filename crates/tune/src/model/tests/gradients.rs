//! Gradients against finite differences, for every tensor that learns.

use anser_core::TrainableParts;
use anser_generate::LlamaConfig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Batch, ModelOptions, TrainableModel};
use super::reference::{self, doubles, merged};
use super::{batch, build, gradients, lora, loss, options, tensors, tiny_config, updated_model};

/// Single weights of each tensor that are moved.
const PROBES: usize = 12;

/// Compares every parameter's gradient with central differences of the plain 64-bit model, weight by weight, and of the
/// model itself, along the gradient.
fn check(config: &LlamaConfig, options: &ModelOptions, batch: &Batch) {
    let base = tensors(config, 1);
    let mut model = updated_model(config, options);
    let exact = reference::log_probabilities(config, &doubles(&merged(&base, &model)), batch);
    let (scores, gradients) = gradients(&mut model, batch);
    for (score, exact) in scores.log_probabilities.iter().zip(&exact) {
        assert!((f64::from(*score) - exact).abs() < 1e-4 * exact.abs().max(1.0), "scores {score} instead of {exact}");
    }
    let mut random = ChaCha8Rng::seed_from_u64(11);
    assert!(!model.parameters().is_empty());
    for index in 0..model.parameters().len() {
        let name = model.parameters()[index].name.clone();
        let gradient = &gradients.values[index];
        let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!(length > 0.0, "{name} has no gradient");
        let largest = gradient.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for _ in 0..PROBES {
            let place = random.random_range(0..gradient.len());
            let slope = weight_slope(config, &base, &mut model, batch, (index, place));
            let error = (f64::from(gradient[place]) - slope).abs();
            let allowed = 2e-3 * slope.abs() + 2e-4 * f64::from(largest);
            assert!(error < allowed, "{name}[{place}]: gradient {}, slope {slope}", gradient[place]);
        }
        let direction: Vec<f32> = gradient.iter().map(|value| (f64::from(*value) / length) as f32).collect();
        let slope = direction_slope(&mut model, batch, index, &direction);
        assert!((slope / length - 1.0).abs() < 0.02, "{name}: gradient's length {length}, slope along it {slope}");
    }
}

/// Central difference of the 64-bit loss by one weight.
fn weight_slope(
    config: &LlamaConfig,
    base: &super::Tensors,
    model: &mut TrainableModel,
    batch: &Batch,
    (index, place): (usize, usize),
) -> f64 {
    let old = model.parameters()[index].values[place];
    let step = 2e-3_f32;
    let mut at = |value: f32| {
        model.parameters_mut()[index].values[place] = value;
        reference::loss(config, &doubles(&merged(base, model)), batch)
    };
    let slope = (at(old + step) - at(old - step)) / f64::from((old + step) - (old - step));
    model.parameters_mut()[index].values[place] = old;
    slope
}

/// Central difference of the model's own loss along a direction.
fn direction_slope(model: &mut TrainableModel, batch: &Batch, index: usize, direction: &[f32]) -> f64 {
    let old = model.parameters()[index].values.clone();
    let step = 1e-2_f32;
    let mut at = |step: f32| {
        let values = model.parameters_mut()[index].values.iter_mut().zip(&old).zip(direction);
        values.for_each(|((value, old), direction)| *value = old + step * direction);
        model.refresh().unwrap();
        loss(model, batch)
    };
    let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
    at(0.0);
    slope
}

#[test]
fn low_rank_updates_of_all_projections() {
    let config = tiny_config();
    check(&config, &options(lora(3, 0.0)), &batch(&config, &[9, 1, 14], 5));
}

#[test]
fn low_rank_updates_of_some_projections_with_an_odd_rank() {
    let config = tiny_config();
    let mut parts = lora(1, 0.0);
    if let TrainableParts::Lora(lora) = &mut parts {
        lora.target_modules = vec!["v_proj".into(), "up_proj".into()];
    }
    check(&config, &options(parts), &batch(&config, &[20], 5));
}

#[test]
fn the_last_block_and_the_final_norm() {
    let config = tiny_config();
    check(&config, &options(TrainableParts::LastBlocks { blocks: 1 }), &batch(&config, &[9, 12], 6));
}

#[test]
fn all_weights_with_tied_embeddings() {
    let config = tiny_config();
    check(&config, &options(TrainableParts::All), &batch(&config, &[9, 2, 11], 7));
}

#[test]
fn all_weights_with_an_output_matrix_of_their_own() {
    let config = LlamaConfig { tied_embeddings: false, ..tiny_config() };
    check(&config, &options(TrainableParts::All), &batch(&config, &[9, 2, 11], 8));
}

#[test]
fn all_weights_over_more_rows_than_a_row_block() {
    let config = LlamaConfig { heads: 3, kv_heads: 1, ..tiny_config() };
    check(&config, &options(TrainableParts::All), &batch(&config, &[70, 31], 9));
}

#[test]
fn dropout_goes_the_same_way_back() {
    let config = tiny_config();
    let batch = batch(&config, &[9, 14], 5);
    let base = tensors(&config, 1);
    let mut model = build(&config, &base, &options(lora(3, 0.4)), None).unwrap();
    for parameter in model.parameters_mut() {
        let values = parameter.values.iter_mut().enumerate();
        values.for_each(|(index, value)| *value += 0.05 * ((index % 5) as f32 - 2.0));
    }
    model.refresh().unwrap();
    model.set_step(4);
    let (_, gradients) = gradients(&mut model, &batch);
    for index in 0..model.parameters().len() {
        let gradient = &gradients.values[index];
        let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let direction: Vec<f32> = gradient.iter().map(|value| (f64::from(*value) / length) as f32).collect();
        let old = model.parameters()[index].values.clone();
        let mut at = |step: f32| {
            let values = model.parameters_mut()[index].values.iter_mut().zip(&old).zip(&direction);
            values.for_each(|((value, old), direction)| *value = old + step * direction);
            model.refresh().unwrap();
            let (scores, _) = super::gradients(&mut model, &batch);
            super::super::BatchObjective::gradient(&super::Weighted, &scores).loss
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        at(0.0);
        let name = &model.parameters()[index].name;
        assert!((slope / length - 1.0).abs() < 0.02, "{name}: gradient's length {length}, slope along it {slope}");
    }
}
