//! The differentiable model: a llama decoder with a forward and a backward pass written by hand.

mod batch;
mod parameters;

use std::borrow::Cow;

use anser_core::{Precision, TrainableParts};
use anser_generate::{BaseModel, LlamaConfig, LoraAdapter};

use crate::TuneError;

pub use batch::{Batch, BatchObjective, BatchScores, ObjectiveResult};
pub use parameters::{Gradients, Parameter};

/// How a model is set up for training.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Which weights learn.
    pub parts: TrainableParts,
    /// Number format of frozen weights and of matrix products.
    pub precision: Precision,
    /// Whether activations are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Where random initial values and dropout masks come from.
    pub seed: u64,
    /// Threads of the matrix products, at least 1.
    pub threads: usize,
}

/// A llama decoder with weights that learn.
pub struct TrainableModel {
    config: LlamaConfig,
    parameters: Vec<Parameter>,
}

impl TrainableModel {
    /// Reads the base model's weights and sets up the parts that learn; `start` continues an adapter, with its ranks.
    pub fn load(base: &mut BaseModel, options: &ModelOptions, start: Option<&LoraAdapter>) -> Result<Self, TuneError> {
        let _ = (base, options, start);
        Err(TuneError::Internal("not yet".into()))
    }

    /// A model of this shape with random weights, all of which learn.
    pub fn from_scratch(config: &LlamaConfig, options: &ModelOptions) -> Result<Self, TuneError> {
        let _ = (config, options);
        Err(TuneError::Internal("not yet".into()))
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The weights that learn.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The same, to change their values; [`Self::refresh`] makes the change count.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Numbers in them.
    pub fn trainable_parameters(&self) -> u64 {
        self.parameters.iter().map(|parameter| parameter.values.len() as u64).sum()
    }

    /// Chooses the dropout masks of the next forward passes: give each micro-batch of a run its own number.
    pub fn set_step(&mut self, step: u64) {
        let _ = step;
    }

    /// Scores the batch and adds the loss's gradients to `gradients`. `stop` is asked at every block; once it says yes,
    /// returns `Stopped` with gradients half done.
    pub fn forward_backward(
        &mut self,
        batch: &Batch,
        objective: &dyn BatchObjective,
        gradients: &mut Gradients,
        stop: &dyn Fn() -> bool,
    ) -> Result<BatchScores, TuneError> {
        let _ = (batch, objective, gradients, stop);
        Err(TuneError::Internal("not yet".into()))
    }

    /// Scores the batch without dropout. Without `adapters` it is the frozen base that scores.
    pub fn score(&self, batch: &Batch, adapters: bool, stop: &dyn Fn() -> bool) -> Result<BatchScores, TuneError> {
        let _ = (batch, adapters, stop);
        Err(TuneError::Internal("not yet".into()))
    }

    /// Takes over changed parameter values into the packed matrices.
    pub fn refresh(&mut self) {}

    /// The low-rank updates as an adapter; `None` when it is not low-rank updates that learn.
    pub fn adapter(&self) -> Option<LoraAdapter> {
        None
    }

    /// Goes on with this adapter's values and ranks in place of the current ones.
    pub fn set_adapter(&mut self, adapter: &LoraAdapter) -> Result<(), TuneError> {
        let _ = adapter;
        Err(TuneError::Internal("not yet".into()))
    }

    /// The weights that learn as tensors of a whole model; none when it is low-rank updates that learn. All other tensors
    /// are the base's.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &[usize], Cow<'_, [f32]>)> {
        self.parameters.iter().map(|p| (p.name.as_str(), p.shape.as_slice(), Cow::Borrowed(p.values.as_slice())))
    }

    /// Bytes that training takes at its peak, the optimiser's two moments included.
    pub fn memory_estimate(config: &LlamaConfig, options: &ModelOptions, tokens: usize, targets: usize) -> u64 {
        let _ = (config, options, tokens, targets);
        0
    }
}
