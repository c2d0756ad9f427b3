//! The forward and the backward pass on a device: the steps of the processor's passes, in candle's tensors.
//!
//! Written by hand like those, and not left to candle's automatic differentiation: that would also compute the gradients
//! of frozen matrices, twice the work for low-rank updates, and several of candle's operations lose gradients silently.

mod attention;
mod backward;
mod forward;
mod head;
mod weights;

use std::collections::HashMap;

use anser_core::{Device, Precision, StopReason};
use anser_generate::{device_failure, open_device, weight_type};
use candle_core::{DType, Result, Tensor};

use super::batch::{Batch, BatchObjective, BatchScores};
use super::network::{Embedding, Network};
use super::parameters::{Gradients, Parameter};
use super::pass::Context;
use crate::TuneError;
use attention::Sequences;
use backward::block_backward;
use forward::{Saved, block_forward};
use head::HeadState;
use weights::DeviceWeights;

/// Where tensors lie, and as what numbers matrices are multiplied.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: Device,
    device: candle_core::Device,
    dtype: DType,
}

impl Place {
    /// Opens `name`, to multiply in `precision`.
    pub(super) fn open(name: Device, precision: Precision) -> std::result::Result<Self, TuneError> {
        let device = open_device(name)?;
        let dtype = match precision {
            Precision::Bf16 if weight_type(&device) == DType::BF16 => DType::BF16,
            // Gradients need the range of brain floats: of 16-bit floats they would lose most.
            Precision::F32 | Precision::Bf16 => DType::F32,
        };
        Ok(Self { name, device, dtype })
    }

    /// The same place with other numbers.
    #[cfg(test)]
    pub(super) fn with_numbers(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Brings row-major values there, as the numbers that matrices have.
    pub(super) fn matrix(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.exact(values, shape)?.to_dtype(self.dtype)
    }

    /// Brings row-major values there, as 32-bit numbers.
    fn exact(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        Tensor::from_slice(values, shape, &self.device)
    }

    pub(super) fn failed(&self, error: &candle_core::Error) -> TuneError {
        device_failure(self.name, error).into()
    }
}

/// Passes on a device.
pub(super) struct DevicePasses {
    place: Place,
    weights: DeviceWeights,
}

/// A parameter's gradient, still on the device.
type Found = (usize, Tensor);

impl DevicePasses {
    /// Takes the frozen tensors of a model, which lie on the device already, by name.
    pub(super) fn new(
        place: Place,
        network: &Network,
        frozen: &HashMap<String, Tensor>,
    ) -> std::result::Result<Self, TuneError> {
        let weights = DeviceWeights::new(&place, network, frozen).map_err(|error| place.failed(&error))?;
        Ok(Self { place, weights })
    }

    /// Takes over the values of all parameters.
    pub(super) fn refresh(
        &mut self,
        network: &Network,
        parameters: &[Parameter],
    ) -> std::result::Result<(), TuneError> {
        let Self { place, weights } = self;
        weights.refresh(place, network, parameters).map_err(|error| place.failed(&error))
    }

    /// Scores a batch without a way back.
    pub(super) fn score(&self, context: &Context<'_>, batch: &Batch) -> std::result::Result<BatchScores, TuneError> {
        let network = context.pass.network;
        let sequences = self.on_device(Sequences::new(&self.place, &batch.sequence_starts))?;
        let mut x = self.on_device(self.embed(batch))?;
        for index in 0..network.blocks.len() {
            go_on(context)?;
            x = self.on_device(block_forward(&self.pass(context), index, &sequences, x))?.1;
        }
        go_on(context)?;
        let mut head = self.on_device(HeadState::new(&self.place, batch))?;
        self.on_device(head.score(&self.pass(context), batch, &x, false))
    }

    /// Scores a batch, asks `objective` for the loss's derivative and adds all gradients.
    pub(super) fn forward_backward(
        &self,
        context: &Context<'_>,
        batch: &Batch,
        objective: &dyn BatchObjective,
        gradients: &mut Gradients,
        recompute: bool,
    ) -> std::result::Result<BatchScores, TuneError> {
        let network = context.pass.network;
        let pass = self.pass(context);
        let sequences = self.on_device(Sequences::new(&self.place, &batch.sequence_starts))?;
        let mut x = self.on_device(self.embed(batch))?;
        let mut kept = Vec::new();
        for index in 0..network.blocks.len() {
            go_on(context)?;
            let input = x.clone();
            let (saved, output) = self.on_device(block_forward(&pass, index, &sequences, x))?;
            x = output;
            if index >= network.first {
                kept.push(if recompute { Kept::Input(input) } else { Kept::Activations(Box::new(saved)) });
            }
        }
        go_on(context)?;
        let mut head = self.on_device(HeadState::new(&self.place, batch))?;
        let scores = self.on_device(head.score(&pass, batch, &x, true))?;
        let weights = objective.gradient(&scores).weights;
        if weights.len() != scores.log_probabilities.len() {
            return Err(TuneError::Internal("the objective has not one weight for each target".into()));
        }
        let mut found = Vec::new();
        let mut dx = self.on_device(head.backward(&pass, &weights, &x, &mut found))?;
        for (index, kept) in (network.first..network.blocks.len()).zip(kept).rev() {
            go_on(context)?;
            let saved = match kept {
                Kept::Activations(saved) => saved,
                Kept::Input(input) => Box::new(self.on_device(block_forward(&pass, index, &sequences, input))?.0),
            };
            dx = self.on_device(block_backward(&pass, index, &sequences, (*saved, dx), &mut found))?;
        }
        if let Embedding::Learned(index) = network.embedding {
            let table = self.on_device(self.embedding_gradient(batch, &dx, network))?;
            found.push((index, table));
        }
        for (index, gradient) in found {
            let values =
                self.on_device(gradient.to_dtype(DType::F32).and_then(|all| all.flatten_all()?.to_vec1::<f32>()))?;
            let out = gradients.values.get_mut(index).filter(|out| out.len() == values.len());
            let out = out.ok_or_else(|| TuneError::Internal("a gradient is not shaped as its parameter".into()))?;
            out.iter_mut().zip(values).for_each(|(out, value)| *out += value);
        }
        Ok(scores)
    }

    fn pass<'a>(&'a self, context: &'a Context<'_>) -> DevicePass<'a> {
        DevicePass { place: &self.place, weights: &self.weights, context }
    }

    fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let tokens = Tensor::new(batch.tokens.as_slice(), &self.place.device)?;
        self.weights.embedding.index_select(&tokens, 0)?.to_dtype(DType::F32)
    }

    fn embedding_gradient(&self, batch: &Batch, dx: &Tensor, network: &Network) -> Result<Tensor> {
        let tokens = Tensor::new(batch.tokens.as_slice(), &self.place.device)?;
        let shape = (network.config.vocabulary, network.config.hidden);
        Tensor::zeros(shape, DType::F32, &self.place.device)?.index_add(&tokens, dx, 0)
    }

    fn on_device<T>(&self, result: Result<T>) -> std::result::Result<T, TuneError> {
        result.map_err(|error| self.place.failed(&error))
    }
}

/// What a pass reads.
struct DevicePass<'a> {
    place: &'a Place,
    weights: &'a DeviceWeights,
    context: &'a Context<'a>,
}

/// What a block's forward pass leaves for the backward pass.
enum Kept {
    Activations(Box<Saved>),
    Input(Tensor),
}

/// The reason given here is the harder one: whoever set the signal knows whether it was a pause.
fn go_on(context: &Context<'_>) -> std::result::Result<(), TuneError> {
    if (context.stop)() { Err(TuneError::Stopped(StopReason::Cancel)) } else { Ok(()) }
}
