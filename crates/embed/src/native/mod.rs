//! The BERT family on our own kernels: ragged runs without padding, in `f32`, brain floats or bytes.

mod forward;
mod network;

use std::sync::Arc;

use anser_kernels::{Element, InstructionSet};
use anser_models::{Encoder, ModelFiles, Pooling};
use half::bf16;

use crate::backend::{Backend, Batching, Input, Session};
use crate::{EmbedError, NumberFormat};
use forward::Pass;
use network::Network;

/// Multiplications of a run, some milliseconds of one thread: a question never waits longer for the texts before it. Longer
/// runs are no faster.
const RUN_PRODUCTS: usize = 1_200_000_000;
/// Fewest and most tokens of a run: fewer would read the weights too often, more would leave the second-level cache.
const RUN_TOKENS: (usize, usize) = (64, 256);

/// An encoder whose packed weights all sessions share.
#[derive(Debug)]
pub(crate) struct NativeBackend {
    network: Arc<Network>,
    format: NumberFormat,
}

impl NativeBackend {
    /// Whether these files hold an encoder that this engine can run.
    pub(crate) fn supports(files: &ModelFiles) -> bool {
        Encoder::readable(files)
    }

    /// Reads the encoder in `files` and packs it.
    pub(crate) fn load(files: &ModelFiles, pooling: Pooling, format: NumberFormat) -> Result<Self, EmbedError> {
        let encoder = Encoder::read(files)?;
        Self::new(encoder, pooling, format, InstructionSet::best()).map_err(|reason| EmbedError::UnfitSpec {
            model: files.spec.name.clone(),
            role: "an embedder of the native engine",
            reason: format!("the model {reason}"),
        })
    }

    fn new(encoder: Encoder, pooling: Pooling, format: NumberFormat, set: InstructionSet) -> Result<Self, String> {
        Ok(Self { network: Arc::new(Network::new(encoder, pooling, format, set)?), format })
    }

    /// Whether activations between products are brain floats: with bytes, where the processor multiplies them.
    fn brain_floats(&self) -> bool {
        match self.format {
            NumberFormat::F32 => false,
            NumberFormat::Bf16 => true,
            NumberFormat::Int8 => self.network.set.has_brain_float_products(),
        }
    }
}

impl Backend for NativeBackend {
    fn name(&self) -> String {
        format!("native {}", self.format)
    }

    fn batching(&self) -> Batching {
        Batching::Ragged
    }

    fn run_tokens(&self) -> usize {
        let network = &self.network;
        let per_token = network.layers.len() * network.hidden * (4 * network.hidden + 2 * network.intermediate);
        (RUN_PRODUCTS / per_token.max(1)).clamp(RUN_TOKENS.0, RUN_TOKENS.1)
    }

    /// A session runs on its caller's thread alone, however many it may have: as weights are shared, more threads are
    /// better spent on more sessions.
    fn session(&self, _threads: usize) -> Result<Box<dyn Session>, EmbedError> {
        let network = Arc::clone(&self.network);
        Ok(if self.brain_floats() {
            Box::new(NativeSession { network, pass: Pass::<bf16>::default() })
        } else {
            Box::new(NativeSession { network, pass: Pass::<f32>::default() })
        })
    }
}

struct NativeSession<E> {
    network: Arc<Network>,
    pass: Pass<E>,
}

impl<E: Element> Session for NativeSession<E> {
    fn run(&mut self, batch: &[Input]) -> Result<Vec<Vec<f32>>, String> {
        let texts = batch.iter().map(|input| input.ids.as_slice()).collect::<Vec<_>>();
        self.pass.run(&self.network, &texts)
    }
}

#[cfg(test)]
mod tests;
