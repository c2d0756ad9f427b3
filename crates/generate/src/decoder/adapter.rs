//! An adapter as the decoder uses it.

use std::sync::OnceLock;

use anser_kernels::{Matrix, MatrixMut, matmul};

use crate::adapter::{LoraAdapter, split_name};
use crate::config::{LlamaConfig, PROJECTIONS};
use crate::decoder::device::DeviceAdapter;

/// A projection of a block, by its place in [`PROJECTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Projection {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

/// An adapter's matrices, by block and projection.
pub(crate) struct LoadedAdapter {
    pub(super) blocks: Vec<[Option<Update>; PROJECTIONS.len()]>,
    bytes: usize,
    /// The same matrices where a decoder on a GPU reads them, once one has asked for them.
    pub(super) device: OnceLock<DeviceAdapter>,
}

/// The two matrices of a projection's update.
pub(super) struct Update {
    /// `[rank, inputs]`.
    pub(super) a: Vec<f32>,
    /// `[outputs, rank]`, the scale multiplied in.
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl LoadedAdapter {
    /// Takes the matrices of an adapter that fits `config`.
    pub(crate) fn new(adapter: LoraAdapter, config: &LlamaConfig) -> Self {
        let bytes = adapter.bytes();
        let mut blocks: Vec<[Option<Update>; PROJECTIONS.len()]> = Vec::new();
        blocks.resize_with(config.blocks, Default::default);
        for (name, pair) in adapter.updates {
            let place = split_name(&name).and_then(|(block, projection)| {
                let at = PROJECTIONS.iter().position(|known| *known == projection)?;
                blocks.get_mut(block)?.get_mut(at)
            });
            if let Some(place) = place {
                let b = pair.b.iter().map(|value| value * pair.scale).collect();
                *place = Some(Update { a: pair.a, b, rank: pair.rank, inputs: pair.inputs, outputs: pair.outputs });
            }
        }
        Self { blocks, bytes, device: OnceLock::new() }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the update of a projection for the rows of `x` (without gaps) to `y`, whose rows lie `stride` apart.
    pub(crate) fn add(&self, block: usize, projection: Projection, x: &[f32], y: &mut [f32], stride: usize) {
        let Some(update) = self.blocks.get(block).and_then(|block| block[projection as usize].as_ref()) else { return };
        let rows = x.len() / update.inputs;
        let mut low = vec![0.0; rows * update.rank];
        let a = Matrix::new(&update.a, update.rank, update.inputs);
        matmul(Matrix::new(x, rows, update.inputs), a.transposed(), MatrixMut::new(&mut low, rows, update.rank), false);
        let b = Matrix::new(&update.b, update.outputs, update.rank);
        let y = MatrixMut::strided(y, rows, update.outputs, stride);
        matmul(Matrix::new(&low, rows, update.rank), b.transposed(), y, true);
    }
}
