//! The passes in candle's tensors beside those on our own kernels: scores, every gradient, whole runs.

use anser_core::{Device, DeviceFault, ErrorKind, Precision, StopReason, TrainableParts};
use anser_generate::LlamaConfig;
use candle_core::DType;

use super::super::device::Place;
use super::super::load::Source;
use super::super::{Gradients, ModelOptions, TrainableModel};
use super::{Weighted, batch, go_on, gradients, lora, loss, options, tensors, tiny_config, updated_model};
use crate::TuneError;
use crate::objective::CrossEntropy;
use crate::optimizer::{AdamW, AdamWOptions};

/// A model at `place` with the parameters of `like`.
fn at(place: Place, config: &LlamaConfig, options: &ModelOptions, like: &TrainableModel) -> TrainableModel {
    let tensors = tensors(config, 1);
    let mut read = |name: &str| Ok(tensors.get(name).cloned().unwrap_or_default());
    let mut model = TrainableModel::build_at(Some(place), config, options, Source::Read(&mut read), None).unwrap();
    for (own, other) in model.parameters_mut().iter_mut().zip(like.parameters()) {
        assert_eq!((&own.name, &own.shape), (&other.name, &other.shape));
        own.values.clone_from(&other.values);
    }
    model.refresh().unwrap();
    model
}

fn processor() -> Place {
    Place::open(Device::Cpu, Precision::F32).unwrap()
}

/// Compares scores and all gradients of the two kinds of passes; `most` is relative to a tensor's largest gradient.
fn agrees(place: &Place, config: &LlamaConfig, options: &ModelOptions, most: f32) {
    let mut expected = updated_model(config, options);
    let mut got = at(place.clone(), config, options, &expected);
    expected.set_step(5);
    got.set_step(5);
    let batch = batch(config, &[9, 1, 30, 17], 2);
    let ((expected_scores, expected_all), (scores, all)) =
        (gradients(&mut expected, &batch), gradients(&mut got, &batch));
    assert_eq!(scores.targets_of_sequence, expected_scores.targets_of_sequence);
    for (got, expected) in scores.log_probabilities.iter().zip(&expected_scores.log_probabilities) {
        assert!((got - expected).abs() < most * expected.abs().max(1.0), "{got} instead of {expected}");
    }
    for (parameter, (got, expected)) in expected.parameters().iter().zip(all.values.iter().zip(&expected_all.values)) {
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 0.0, "{}", parameter.name);
        for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
            let name = &parameter.name;
            assert!((got - expected).abs() <= most * largest, "{name}[{place}]: {got} instead of {expected}");
        }
    }
    let plain = |model: &TrainableModel| model.score(&batch, false, &go_on).unwrap();
    let (expected, got) = (plain(&expected), plain(&got));
    assert_eq!(got.likeliest, expected.likeliest);
    for (got, expected) in got.log_probabilities.iter().zip(&expected.log_probabilities) {
        assert!((got - expected).abs() < most * expected.abs().max(1.0), "{got} instead of {expected}");
    }
}

fn all_parts() -> [TrainableParts; 4] {
    [lora(4, 0.0), lora(3, 0.4), TrainableParts::LastBlocks { blocks: 1 }, TrainableParts::All]
}

#[test]
fn scores_and_every_gradient_are_those_of_the_kernels() {
    for tied_embeddings in [true, false] {
        let config = LlamaConfig { tied_embeddings, ..tiny_config() };
        for parts in all_parts() {
            for recompute in [false, true] {
                agrees(&processor(), &config, &ModelOptions { recompute, ..options(parts.clone()) }, 1e-4);
            }
        }
    }
}

#[test]
fn a_run_has_the_same_losses() {
    let config = tiny_config();
    let options = options(lora(4, 0.1));
    let mut kernels = updated_model(&config, &options);
    let mut device = at(processor(), &config, &options, &kernels);
    let batches: Vec<_> = (0..4).map(|seed| batch(&config, &[20, 11, 33], seed)).collect();
    let constants = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let curve = |model: &mut TrainableModel| -> Vec<f64> {
        let mut optimizer = AdamW::new(constants, model.parameters());
        (0..20)
            .map(|step| {
                let batch = &batches[step % batches.len()];
                let objective = CrossEntropy { targets: batch.targets() };
                let mut gradients = Gradients::zeros(model.parameters());
                model.set_step(step as u64);
                let scores = model.forward_backward(batch, &objective, &mut gradients, &go_on).unwrap();
                optimizer.update(model.parameters_mut(), &gradients.values, 1e-2);
                model.refresh().unwrap();
                let sum: f64 = scores.log_probabilities.iter().map(|score| f64::from(*score)).sum();
                -sum / scores.log_probabilities.len() as f64
            })
            .collect()
    };
    let (expected, got) = (curve(&mut kernels), curve(&mut device));
    assert!(expected[19] < 0.9 * expected[0], "{expected:?}");
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() < 1e-3, "{got} instead of {expected}");
    }
    let (kernels, device) = (kernels.adapter().unwrap(), device.adapter().unwrap());
    assert_eq!(kernels.updates.keys().collect::<Vec<_>>(), device.updates.keys().collect::<Vec<_>>());
}

#[test]
fn sixteen_bits_stay_near_and_finite() {
    let config = tiny_config();
    let options = options(lora(4, 0.0));
    let expected = updated_model(&config, &options);
    let mut got = at(processor().with_numbers(DType::BF16), &config, &options, &expected);
    let batch = batch(&config, &[30, 17], 2);
    let exact = loss(&expected, &batch);
    let (_, all) = gradients(&mut got, &batch);
    assert!((loss(&got, &batch) - exact).abs() < 0.05 * exact.abs().max(1.0));
    assert!(all.values.iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn it_stops_when_asked_and_a_device_that_is_not_there_is_named() {
    let config = tiny_config();
    let options = options(lora(2, 0.0));
    let like = updated_model(&config, &options);
    let mut model = at(processor(), &config, &options, &like);
    let mut gradients = Gradients::zeros(model.parameters());
    let stopped = model.forward_backward(&batch(&config, &[9], 1), &Weighted, &mut gradients, &|| true);
    assert!(matches!(stopped, Err(TuneError::Stopped(StopReason::Cancel))));

    let options = ModelOptions { device: Device::Cuda(4096), ..options };
    let error = super::build(&config, &tensors(&config, 1), &options, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let TuneError::Device(error) = error else { panic!("{error}") };
    assert!(matches!(error.fault, DeviceFault::NotBuilt | DeviceFault::Missing), "{error}");
}

#[test]
fn a_gpu_gives_the_gradients_of_the_processor() {
    let open = |device| Place::open(device, Precision::F32).ok();
    let Some(place) = [Device::Cuda(0), Device::Metal].into_iter().find_map(open) else {
        eprintln!("skipped: no GPU that this build can use");
        return;
    };
    for parts in all_parts() {
        agrees(&place, &tiny_config(), &options(parts), 5e-3);
    }
}
