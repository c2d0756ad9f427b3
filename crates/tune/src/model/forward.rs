//! The forward pass of a block.

use anser_kernels::{
    AttentionInput, Element, InstructionSet, LowRank, RmsNorm, Rows, RowsMut, attend, convert, gated_unit, rms_norm,
    rotate,
};
use rayon::prelude::*;

use super::layout::{Layout, ROWS, Unit};
use super::lora::Dropout;
use super::network::{Block, DOWN, GATE_UP, Group, Network, Norm, OUT, QKV};
use super::workspace::{PerThread, Saved, SavedRows, Scratch, front};

/// What holds for a whole pass.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) set: InstructionSet,
    /// Whether low-rank updates count.
    pub(super) adapters: bool,
    pub(super) dropout: Option<Dropout>,
}

impl Pass<'_> {
    /// The dropout of a group, if it has any.
    pub(super) fn dropout_of(&self, block: usize, group: usize) -> Option<Dropout> {
        let updated = self.network.blocks[block].groups[group].update.is_some() && self.adapters;
        self.dropout.filter(|_| updated).map(|dropout| dropout.of(block, group))
    }

    fn norm<E: Element>(&self, norm: &Norm, x: &[f32], normalised: &mut [E], scales: &mut [f32], out: &mut [E]) {
        let epsilon = self.network.config.norm_epsilon;
        rms_norm(self.set, RmsNorm { x, weight: &norm.weight, epsilon, normalised, scales, out });
    }
}

/// A group applied to some rows: where they come from and what their dropout is.
struct Applied<'a, E> {
    group: &'a Group,
    x: &'a [E],
    /// The batch's row that `x` begins with.
    first: usize,
    dropout: Option<Dropout>,
}

impl<E: Element> Applied<'_, E> {
    /// y = x·Wᵀ plus the low-rank update, through u = A·x, which is kept. `accumulate` adds to y.
    fn multiply<O: Element>(
        &self,
        pass: &Pass<'_>,
        low_rank: &mut Vec<E>,
        dropped: &mut Vec<E>,
        y: &mut [O],
        accumulate: bool,
    ) {
        let group = self.group;
        let rows = self.x.len() / group.inputs;
        let x = Rows::dense(self.x, rows, group.inputs);
        let y = RowsMut::dense(y, rows, group.outputs);
        let Some(update) = group.update.as_ref().filter(|_| pass.adapters) else {
            return group.forward.product(x, None, y, accumulate);
        };
        low_rank.resize(rows * update.rank, E::default());
        let input = match self.dropout {
            Some(dropout) => {
                let out = front(dropped, self.x.len());
                dropout.apply(pass.set, self.first, group.inputs, self.x, out);
                Rows::dense(out, rows, group.inputs)
            }
            None => x,
        };
        update.down.product(input, None, RowsMut::dense(low_rank, rows, update.rank), false);
        let low_rank = LowRank { x: Rows::dense(low_rank, rows, update.rank), weights: &update.up };
        group.forward.product(x, Some(low_rank), y, accumulate);
    }
}

/// Runs block `index` over the residual stream `x`, keeping in `saved` what its backward pass needs.
pub(super) fn block_forward<E: Element>(
    pass: &Pass<'_>,
    index: usize,
    layout: &Layout,
    x: &mut [f32],
    state: (&mut Saved<E>, &PerThread<Scratch<E>>),
) {
    let (saved, threads) = state;
    let block = &pass.network.blocks[index];
    let hidden = pass.network.config.hidden;
    let width = block.attention_width();
    let rows = saved.rows.par_iter_mut().zip(x.par_chunks(ROWS * hidden)).zip(saved.qkv.par_chunks_mut(ROWS * width));
    rows.enumerate().for_each(|(place, ((saved, x), qkv))| {
        before_attention(pass, (index, place * ROWS), layout, (x, saved, qkv), &mut threads.get());
    });
    attention(pass, block, layout, saved, threads);
    let attended = &saved.attended;
    let rows = saved.rows.par_iter_mut().zip(x.par_chunks_mut(ROWS * hidden));
    rows.enumerate().for_each(|(place, (saved, x))| {
        after_attention(pass, (index, place), layout, (x, saved, attended), &mut threads.get());
    });
}

/// Norm, queries, keys and values, rotation: of one row block whose first row is `first`.
fn before_attention<E: Element>(
    pass: &Pass<'_>,
    (index, first): (usize, usize),
    layout: &Layout,
    (x, saved, qkv): (&[f32], &mut SavedRows<E>, &mut [E]),
    scratch: &mut Scratch<E>,
) {
    let (config, block) = (&pass.network.config, &pass.network.blocks[index]);
    let group = &block.groups[QKV];
    let normed = front(&mut scratch.rows, x.len());
    pass.norm(&block.norm_in, x, &mut saved.normalised_in, &mut saved.scales_in, normed);
    let wide = front(&mut scratch.wide, qkv.len());
    let applied = Applied { group, x: normed, first, dropout: pass.dropout_of(index, QKV) };
    applied.multiply(pass, &mut saved.low_rank[QKV], &mut scratch.dropped, wide, false);
    let rotated = (config.heads + config.kv_heads) * config.head_dim;
    let rows = wide.chunks_exact(group.outputs).zip(qkv.chunks_exact_mut(group.outputs));
    for (row, (wide, qkv)) in rows.enumerate() {
        let position = layout.position(first + row);
        rotate(pass.set, &pass.network.rotary, position, false, &wide[..rotated], &mut qkv[..rotated]);
        convert(pass.set, &wide[rotated..], &mut qkv[rotated..]);
    }
}

/// The queries, keys and values of a unit.
pub(super) fn unit_input<'a, E: Element>(network: &Network, unit: Unit, qkv: &'a [E]) -> AttentionInput<'a, E> {
    let config = &network.config;
    let (heads, width) = (config.heads / config.kv_heads, config.head_dim);
    let stride = (config.heads + 2 * config.kv_heads) * width;
    let rows =
        |column: usize, columns: usize| Rows::new(&qkv[unit.start * stride + column..], unit.tokens, columns, stride);
    AttentionInput {
        queries: rows(unit.group * heads * width, heads * width),
        keys: rows((config.heads + unit.group) * width, width),
        values: rows((config.heads + config.kv_heads + unit.group) * width, width),
    }
}

fn attention<E: Element>(
    pass: &Pass<'_>,
    _block: &Block,
    layout: &Layout,
    saved: &mut Saved<E>,
    threads: &PerThread<Scratch<E>>,
) {
    let config = &pass.network.config;
    let heads = config.heads / config.kv_heads;
    let attended = layout.split(&mut saved.attended, heads * config.head_dim);
    let log_sums = layout.split(&mut saved.log_sums, heads);
    let qkv = &saved.qkv;
    layout.units.par_iter().zip(attended).zip(log_sums).for_each(|((unit, attended), log_sums)| {
        let input = unit_input(pass.network, *unit, qkv);
        attend(input, attended, log_sums, &mut threads.get().attention);
    });
}

/// Attention's output matrix, norm and the gated unit, each added to the residual stream `x`: of one row block.
fn after_attention<E: Element>(
    pass: &Pass<'_>,
    (index, place): (usize, usize),
    layout: &Layout,
    (x, saved, attended): (&mut [f32], &mut SavedRows<E>, &[E]),
    scratch: &mut Scratch<E>,
) {
    let (config, block) = (&pass.network.config, &pass.network.blocks[index]);
    let rows = layout.block_rows(place);
    let first = rows.start;
    let Scratch { rows: input, dropped, .. } = scratch;
    let gathered = front(input, rows.len() * config.heads * config.head_dim);
    layout.gather(rows.clone(), attended, config.heads / config.kv_heads * config.head_dim, gathered);
    let applied = Applied { group: &block.groups[OUT], x: gathered, first, dropout: pass.dropout_of(index, OUT) };
    applied.multiply(pass, &mut saved.low_rank[OUT], dropped, x, true);

    let normed = front(input, x.len());
    pass.norm(&block.norm_mid, x, &mut saved.normalised_mid, &mut saved.scales_mid, normed);
    let applied = Applied { group: &block.groups[GATE_UP], x: normed, first, dropout: pass.dropout_of(index, GATE_UP) };
    applied.multiply(pass, &mut saved.low_rank[GATE_UP], dropped, &mut saved.gate_up, false);

    let activation = front(input, rows.len() * config.feed_forward);
    gated_unit(pass.set, Rows::dense(&saved.gate_up, rows.len(), 2 * config.feed_forward), activation);
    let applied = Applied { group: &block.groups[DOWN], x: activation, first, dropout: pass.dropout_of(index, DOWN) };
    applied.multiply(pass, &mut saved.low_rank[DOWN], dropped, x, true);
}
