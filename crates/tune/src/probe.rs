//! Optimiser steps on given tokens, without a data set around them: what speed is measured with.

use anser_core::{Device, Precision, TrainableParts};
use anser_generate::BaseModel;

use crate::TuneError;
use crate::model::{Batch, Gradients, ModelOptions, TrainableModel};
use crate::objective::CrossEntropy;
use crate::optimizer::{AdamW, AdamWOptions, clip};

/// Norm that the gradients of a step are clipped to.
const MAX_GRAD_NORM: f64 = 1.0;

/// A model and its optimiser, ready to take steps.
pub struct StepProbe {
    model: TrainableModel,
    gradients: Gradients,
    optimizer: AdamW,
}

impl StepProbe {
    /// Reads the base model and sets up the parts that learn.
    pub fn load(
        base: &mut BaseModel,
        parts: &TrainableParts,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, TuneError> {
        Self::load_on(Device::Cpu, base, parts, precision, threads)
    }

    /// The same on a device.
    pub fn load_on(
        device: Device,
        base: &mut BaseModel,
        parts: &TrainableParts,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, TuneError> {
        let options = ModelOptions { parts: parts.clone(), precision, recompute: false, seed: 0, threads, device };
        let model = TrainableModel::load(base, &options, None)?;
        let gradients = Gradients::zeros(model.parameters());
        let constants = AdamWOptions { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let optimizer = AdamW::new(constants, model.parameters());
        Ok(Self { model, gradients, optimizer })
    }

    /// One whole step: forward, backward, clipping, update. The loss, which is returned, counts each sequence's tokens
    /// from position `targets_from` on.
    pub fn step(&mut self, sequences: &[Vec<u32>], targets_from: usize, learning_rate: f64) -> Result<f64, TuneError> {
        let mut batch = Batch::default();
        for tokens in sequences {
            let learn: Vec<bool> = (0..tokens.len()).map(|position| position >= targets_from).collect();
            batch.push(tokens, &learn);
        }
        self.gradients.clear();
        let objective = CrossEntropy { targets: batch.targets() };
        let scores = self.model.forward_backward(&batch, &objective, &mut self.gradients, &|| false)?;
        clip(&mut self.gradients.values, MAX_GRAD_NORM);
        self.optimizer.update(self.model.parameters_mut(), &self.gradients.values, learning_rate);
        self.model.refresh()?;
        let sum: f64 = scores.log_probabilities.iter().map(|p| f64::from(*p)).sum();
        Ok(-sum / scores.log_probabilities.len().max(1) as f64)
    }
}
