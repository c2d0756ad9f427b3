//! An adapter's matrices on a device.

use candle_core::{Result, Tensor};

use crate::config::PROJECTIONS;
use crate::decoder::adapter::{LoadedAdapter, Projection};
use crate::decoder::device::Place;

/// Low-rank updates by block and projection.
pub(crate) struct DeviceAdapter {
    blocks: Vec<[Option<Update>; PROJECTIONS.len()]>,
}

struct Update {
    /// `[inputs, rank]`.
    a: Tensor,
    /// `[rank, outputs]`, the scale multiplied in.
    b: Tensor,
}

impl DeviceAdapter {
    /// Brings `adapter` to `place`.
    pub(crate) fn new(adapter: &LoadedAdapter, place: &Place) -> Result<Self> {
        let mut blocks = Vec::new();
        for block in &adapter.blocks {
            let mut updates: [Option<Update>; PROJECTIONS.len()] = Default::default();
            for (slot, update) in updates.iter_mut().zip(block) {
                if let Some(update) = update {
                    let a = place.tensor(update.a.clone(), &[update.rank, update.inputs])?.t()?;
                    let b = place.tensor(update.b.clone(), &[update.outputs, update.rank])?.t()?;
                    *slot = Some(Update { a, b });
                }
            }
            blocks.push(updates);
        }
        Ok(Self { blocks })
    }

    fn find(&self, block: usize, projection: Projection) -> Option<&Update> {
        self.blocks.get(block)?.get(projection as usize)?.as_ref()
    }

    /// Whether it changes this projection.
    pub(crate) fn has(&self, block: usize, projection: Projection) -> bool {
        self.find(block, projection).is_some()
    }

    /// What it adds to this projection of the rows of `x`.
    pub(crate) fn update(&self, block: usize, projection: Projection, x: &Tensor) -> Result<Option<Tensor>> {
        self.find(block, projection).map(|update| x.matmul(&update.a)?.matmul(&update.b)).transpose()
    }
}
