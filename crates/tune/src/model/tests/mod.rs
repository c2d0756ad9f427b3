//! Proofs about the differentiable model on tiny models, and what they share.

mod autograd;
mod behaviour;
mod device;
mod gradients;
mod reference;

use std::collections::BTreeMap;

use anser_core::{Device, LoraOptions, Precision, TrainableParts};
use anser_generate::{BaseModel, LlamaConfig, LoraAdapter};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::load::Source;
use super::{Batch, BatchObjective, BatchScores, Gradients, ModelOptions, ObjectiveResult, TrainableModel};
use crate::TuneError;

/// Tensors of a model by name.
pub(super) type Tensors = BTreeMap<String, Vec<f32>>;

/// Two blocks, two heads for each key and value head; even widths that are no multiple of any vector's.
pub(crate) fn tiny_config() -> LlamaConfig {
    LlamaConfig {
        blocks: 2,
        hidden: 20,
        feed_forward: 26,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        vocabulary: 61,
        context: 96,
        norm_epsilon: 1e-5,
        rope_base: 10_000.0,
        tied_embeddings: true,
    }
}

/// Weights large enough that every non-linearity bends.
pub(super) fn tensors(config: &LlamaConfig, seed: u64) -> Tensors {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let names = BaseModel::tensor_names(config);
    let mut values = |shape: &[usize]| {
        let (centre, spread) = if shape.len() == 1 { (1.0, 0.3) } else { (0.0, 0.5) };
        (0..shape.iter().product()).map(|_| centre + random.random_range(-spread..spread)).collect()
    };
    names.into_iter().map(|(name, shape)| (name, values(&shape))).collect()
}

pub(super) fn options(parts: TrainableParts) -> ModelOptions {
    ModelOptions { parts, precision: Precision::F32, recompute: false, seed: 7, threads: 2, device: Device::Cpu }
}

pub(super) fn lora(rank: usize, dropout: f64) -> TrainableParts {
    TrainableParts::Lora(LoraOptions { rank, dropout, ..LoraOptions::default() })
}

pub(super) fn build(
    config: &LlamaConfig,
    tensors: &Tensors,
    options: &ModelOptions,
    start: Option<&LoraAdapter>,
) -> Result<TrainableModel, TuneError> {
    let mut read = |name: &str| Ok(tensors.get(name).cloned().unwrap_or_default());
    TrainableModel::build(config, options, Source::Read(&mut read), start)
}

pub(super) fn model(config: &LlamaConfig, options: &ModelOptions) -> TrainableModel {
    build(config, &tensors(config, 1), options, None).unwrap()
}

/// A model whose low-rank updates do something: B is random, too.
pub(super) fn updated_model(config: &LlamaConfig, options: &ModelOptions) -> TrainableModel {
    let mut model = model(config, options);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for parameter in model.parameters_mut().iter_mut().filter(|parameter| parameter.name.contains("lora_B")) {
        parameter.values.iter_mut().for_each(|value| *value = random.random_range(-0.3..0.3));
    }
    model.refresh().unwrap();
    model
}

/// Sequences of these lengths; about half of the tokens are targets.
pub(super) fn batch(config: &LlamaConfig, lengths: &[usize], seed: u64) -> Batch {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut batch = Batch::default();
    for &length in lengths {
        let tokens: Vec<u32> = (0..length).map(|_| random.random_range(0..config.vocabulary as u32)).collect();
        let learn: Vec<bool> = (0..length).map(|_| random.random_bool(0.5)).collect();
        batch.push(&tokens, &learn);
    }
    batch
}

/// A loss that weighs every target differently.
pub(super) struct Weighted;

impl Weighted {
    pub(super) fn weight(target: usize) -> f32 {
        0.02 * (target % 7) as f32 - 0.1
    }
}

impl BatchObjective for Weighted {
    fn gradient(&self, scores: &BatchScores) -> ObjectiveResult {
        let weights: Vec<f32> = (0..scores.log_probabilities.len()).map(Self::weight).collect();
        let terms = scores.log_probabilities.iter().zip(&weights);
        ObjectiveResult { loss: terms.map(|(score, weight)| f64::from(*score) * f64::from(*weight)).sum(), weights }
    }
}

pub(super) fn go_on() -> bool {
    false
}

/// Scores and gradients of [`Weighted`].
pub(super) fn gradients(model: &mut TrainableModel, batch: &Batch) -> (BatchScores, Gradients) {
    let mut gradients = Gradients::zeros(model.parameters());
    let scores = model.forward_backward(batch, &Weighted, &mut gradients, &go_on).unwrap();
    (scores, gradients)
}

pub(super) fn loss(model: &TrainableModel, batch: &Batch) -> f64 {
    Weighted.gradient(&model.score(batch, true, &go_on).unwrap()).loss
}

/// Largest difference over the largest magnitude.
pub(super) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().chain(b).fold(1e-9_f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}
