//! The differentiable model: a llama decoder with a forward and a backward pass written by hand.
//!
//! Frozen matrices lie packed for both directions; only what learns has a gradient, and nothing below the lowest block
//! that learns is looked at on the way back. Work is cut into blocks of rows that stay in a core's cache from one matrix to
//! the next, so that a pass over a block of the decoder is three stretches of parallel work.

mod backward;
mod batch;
mod device;
mod forward;
mod head;
mod layout;
mod load;
mod lora;
mod memory;
mod network;
mod parameters;
mod pass;
#[cfg(test)]
mod tests;
mod weight_gradients;
mod workspace;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anser_core::{Device, Precision, TrainableParts};
use anser_generate::{BaseModel, LlamaConfig, LoraAdapter};
use anser_kernels::InstructionSet;
use half::bf16;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use batch::{Batch, BatchObjective, BatchScores, ObjectiveResult};
use device::{DevicePasses, Place};
use forward::Pass;
use load::Source;
use lora::Dropout;
use network::Network;
pub use parameters::{Gradients, Parameter};
use pass::{Context, Passes};

use crate::TuneError;

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
    /// What multiplies. Parameters and the optimiser stay in the machine's own memory, whatever it is.
    pub device: Device,
}

/// A llama decoder with weights that learn.
pub struct TrainableModel {
    options: ModelOptions,
    network: Network,
    parameters: Vec<Parameter>,
    pool: ThreadPool,
    passes: Mutex<AnyPasses>,
    step: u64,
}

enum AnyPasses {
    F32(Passes<f32>),
    Bf16(Passes<bf16>),
    Device(Box<DevicePasses>),
}

impl TrainableModel {
    /// Reads the base model's weights and sets up the parts that learn; `start` continues an adapter, with its ranks.
    pub fn load(base: &mut BaseModel, options: &ModelOptions, start: Option<&LoraAdapter>) -> Result<Self, TuneError> {
        let config = base.config().clone();
        Self::build(&config, options, Source::Read(&mut |name| base.tensor(name)), start)
    }

    /// A model of this shape with random weights, all of which learn.
    pub fn from_scratch(config: &LlamaConfig, options: &ModelOptions) -> Result<Self, TuneError> {
        let options = ModelOptions { parts: TrainableParts::All, ..options.clone() };
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        Self::build(config, &options, Source::Random(&mut random), None)
    }

    fn build<'a>(
        config: &'a LlamaConfig,
        options: &'a ModelOptions,
        source: Source<'a>,
        start: Option<&'a LoraAdapter>,
    ) -> Result<Self, TuneError> {
        let place = if options.device.is_cpu() { None } else { Some(Place::open(options.device, options.precision)?) };
        Self::build_at(place, config, options, source, start)
    }

    /// The same, with the passes at `place` rather than on the processor's own kernels.
    fn build_at<'a>(
        place: Option<Place>,
        config: &'a LlamaConfig,
        options: &'a ModelOptions,
        source: Source<'a>,
        start: Option<&'a LoraAdapter>,
    ) -> Result<Self, TuneError> {
        let threads = options.threads.max(1);
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("tune-{index}")).build();
        let pool = pool.map_err(|error| TuneError::Internal(format!("cannot start its threads: {error}")))?;
        let mut frozen = HashMap::new();
        let taking = place.as_ref().map(|place| (place, &mut frozen));
        let (mut network, parameters) = load::build(config, options, source, start, taking)?;
        let passes = Mutex::new(match (place, options.precision) {
            (Some(place), _) => {
                let passes = DevicePasses::new(place, &network, &frozen)?;
                network.unpack(load::format_of(options.precision));
                AnyPasses::Device(Box::new(passes))
            }
            (None, Precision::F32) => AnyPasses::F32(Passes::new(threads)),
            (None, Precision::Bf16) => AnyPasses::Bf16(Passes::new(threads)),
        });
        let mut model = Self { options: options.clone(), network, parameters, pool, passes, step: 0 };
        model.refresh()?;
        Ok(model)
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &LlamaConfig {
        &self.network.config
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
        self.step = step;
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
        self.check(batch)?;
        let lengths = self.parameters.iter().map(|parameter| parameter.values.len());
        if !lengths.eq(gradients.values.iter().map(Vec::len)) {
            return Err(TuneError::Internal("the gradients are not shaped as the parameters".into()));
        }
        let dropout = match &self.options.parts {
            TrainableParts::Lora(lora) if lora.dropout > 0.0 => {
                Some(Dropout::new(lora.dropout as f32, self.options.seed, self.step))
            }
            _ => None,
        };
        let context = self.context(true, dropout, stop);
        let recompute = self.options.recompute;
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *passes {
            AnyPasses::F32(passes) => passes.forward_backward(&context, batch, objective, gradients, recompute),
            AnyPasses::Bf16(passes) => passes.forward_backward(&context, batch, objective, gradients, recompute),
            AnyPasses::Device(passes) => passes.forward_backward(&context, batch, objective, gradients, recompute),
        }
    }

    /// Scores the batch without dropout. Without `adapters` it is the frozen base that scores.
    pub fn score(&self, batch: &Batch, adapters: bool, stop: &dyn Fn() -> bool) -> Result<BatchScores, TuneError> {
        self.check(batch)?;
        let context = self.context(adapters, None, stop);
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *passes {
            AnyPasses::F32(passes) => passes.score(&context, batch),
            AnyPasses::Bf16(passes) => passes.score(&context, batch),
            AnyPasses::Device(passes) => passes.score(&context, batch),
        }
    }

    fn context<'a>(&'a self, adapters: bool, dropout: Option<Dropout>, stop: &'a dyn Fn() -> bool) -> Context<'a> {
        let pass = Pass { network: &self.network, set: InstructionSet::best(), adapters, dropout };
        Context { pass, parameters: &self.parameters, pool: &self.pool, stop }
    }

    fn check(&self, batch: &Batch) -> Result<(), TuneError> {
        batch.check(self.network.config.vocabulary)?;
        let context = self.network.config.context;
        match batch.sequence_starts.windows(2).map(|pair| pair[1] - pair[0]).max() {
            Some(tokens) if tokens > context => {
                let reason = format!("allows examples of {tokens} tokens, but the model's context holds {context}");
                Err(TuneError::hyperparameter("max_tokens", reason))
            }
            _ => Ok(()),
        }
    }

    /// Takes over changed parameter values into the packed matrices, or onto the device. Only a device can fail.
    pub fn refresh(&mut self) -> Result<(), TuneError> {
        let Self { pool, network, parameters, passes, .. } = self;
        if let AnyPasses::Device(passes) = passes.get_mut().unwrap_or_else(PoisonError::into_inner) {
            return passes.refresh(network, parameters);
        }
        pool.install(|| network.refresh(parameters));
        Ok(())
    }

    /// The low-rank updates as an adapter without a base model's name; `None` when it is not low-rank updates that learn.
    pub fn adapter(&self) -> Option<LoraAdapter> {
        match &self.options.parts {
            TrainableParts::Lora(lora) => Some(lora::adapter(&self.network, &self.parameters, lora)),
            _ => None,
        }
    }

    /// The weights that learn as tensors of a whole model; none when it is low-rank updates that learn. All other tensors
    /// are the base's.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &[usize], Cow<'_, [f32]>)> {
        let whole = !matches!(self.options.parts, TrainableParts::Lora(_));
        self.parameters.iter().filter(move |_| whole).map(Parameter::tensor)
    }

    /// Bytes that training takes at its peak, the optimiser's two moments included, for batches of `tokens` tokens of which
    /// `targets` are targets.
    pub fn memory_estimate(config: &LlamaConfig, options: &ModelOptions, tokens: usize, targets: usize) -> u64 {
        memory::estimate(config, options, tokens, targets)
    }
}
