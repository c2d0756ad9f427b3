//! Low-rank updates in and out of a network, and dropout on their inputs.

use std::collections::{BTreeMap, BTreeSet};

use anser_core::LoraOptions;
use anser_generate::{AdapterConfig, LoraAdapter, LoraPair};
use anser_kernels::{DropoutRow, Element, InstructionSet, add_dropped_out, drop_out};

use super::network::Network;
use super::parameters::Parameter;

/// The adapter that the parameters make up. Its base model has no name yet.
pub(super) fn adapter(network: &Network, parameters: &[Parameter], options: &LoraOptions) -> LoraAdapter {
    let mut updates = BTreeMap::new();
    for group in network.blocks.iter().flat_map(|block| &block.groups) {
        for member in &group.members {
            let Some(update) = member.update else { continue };
            let pair = LoraPair {
                a: parameters[update.a].values.clone(),
                b: parameters[update.b].values.clone(),
                rank: update.rank,
                inputs: group.inputs,
                outputs: member.outputs,
                scale: update.scale,
            };
            updates.insert(member.name.clone(), pair);
        }
    }
    LoraAdapter { config: config(&updates, options), updates }
}

/// PEFT's description of these updates; what differs from `options` goes into its patterns.
fn config(updates: &BTreeMap<String, LoraPair>, options: &LoraOptions) -> AdapterConfig {
    let mut rank_pattern = BTreeMap::new();
    let mut alpha_pattern = BTreeMap::new();
    let mut modules = BTreeSet::new();
    for (name, pair) in updates {
        modules.insert(name.rsplit('.').next().unwrap_or(name).to_owned());
        if pair.rank != options.rank {
            rank_pattern.insert(name.clone(), pair.rank);
        }
        let alpha = f64::from(pair.scale) * pair.rank as f64;
        if (alpha - options.alpha).abs() > 1e-4 * options.alpha {
            alpha_pattern.insert(name.clone(), alpha);
        }
    }
    AdapterConfig {
        rank: options.rank,
        alpha: options.alpha,
        dropout: options.dropout,
        target_modules: modules.into_iter().collect(),
        base_model: String::new(),
        rank_pattern,
        alpha_pattern,
    }
}

/// Dropout on the inputs of one group's updates in one step. Matrices that share their input share its mask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    rate: f32,
    key: u64,
}

impl Dropout {
    /// The masks of a step.
    pub(super) fn new(rate: f32, seed: u64, step: u64) -> Self {
        Self { rate, key: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step.wrapping_mul(0xd1b5_4a32_d192_ed03) }
    }

    /// The mask of a group of a block.
    pub(super) fn of(self, block: usize, group: usize) -> Self {
        let place = (block * 4 + group) as u64;
        Self { key: self.key ^ place.wrapping_add(1).wrapping_mul(0x8cb9_2ba7_2f3d_8dd7), ..self }
    }

    fn row(self, row: usize) -> DropoutRow {
        DropoutRow::new(self.rate, self.key.wrapping_add(row as u64))
    }

    /// Writes the rows `x`, the first of which is row `first` of the batch, with some numbers dropped.
    pub(super) fn apply<E: Element>(self, set: InstructionSet, first: usize, width: usize, x: &[E], out: &mut [E]) {
        for (row, (x, out)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            drop_out(set, self.row(first + row), x, out);
        }
    }

    /// Adds the gradient of dropped rows to `out`.
    pub(super) fn add_gradient(self, set: InstructionSet, first: usize, width: usize, x: &[f32], out: &mut [f32]) {
        for (row, (x, out)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            add_dropped_out(set, self.row(first + row), x, out);
        }
    }
}
