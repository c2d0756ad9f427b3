//! The backward pass of a block: gradients of its input, and what its weights' gradients are made from.

use anser_kernels::{
    Attended, AttentionGradients, Element, LowRank, RmsNormBackward, Rows, RowsMut, attend_backward, convert,
    gated_unit_backward, rms_norm_backward, rms_norm_weight_gradient, rotate, weigh_rows,
};
use rayon::prelude::*;

use super::forward::{Pass, unit_input};
use super::layout::{Layout, ROWS};
use super::network::{DOWN, GATE_UP, Norm, OUT, QKV};
use super::workspace::{PerThread, Saved, SavedRows, Scratch, Slopes, front};

/// Where a block's gradients go.
pub(super) struct BlockSlopes<'a, E> {
    /// Gradient of the residual stream: of the block's output before, of its input after.
    pub(super) dx: &'a mut [f32],
    pub(super) slopes: &'a mut [Slopes<E>],
    pub(super) d_attended: &'a mut [E],
    pub(super) d_qkv: &'a mut [E],
}

/// Runs block `index` backwards. With `lowest` the gradient stops in this block and that of its input is left unfinished.
pub(super) fn block_backward<E: Element>(
    pass: &Pass<'_>,
    (index, lowest): (usize, bool),
    layout: &Layout,
    saved: &Saved<E>,
    out: BlockSlopes<'_, E>,
    threads: &PerThread<Scratch<E>>,
) {
    let BlockSlopes { dx, slopes, d_attended, d_qkv } = out;
    let config = &pass.network.config;
    let (hidden, attended) = (config.hidden, config.heads * config.head_dim);
    let rows = slopes.par_iter_mut().zip(&saved.rows).zip(dx.par_chunks_mut(ROWS * hidden));
    let rows = rows.zip(d_attended.par_chunks_mut(ROWS * attended));
    rows.enumerate().for_each(|(place, (((slopes, saved_rows), dx), d_attended))| {
        let rows = RowBlock { pass, index, place, layout, saved: saved_rows };
        rows.feed_forward(slopes, dx, &mut threads.get());
        rows.attention_output(slopes, &saved.attended, (dx, d_attended), &mut threads.get());
    });
    attention(pass, layout, saved, (d_attended, d_qkv), threads);
    let d_qkv = &*d_qkv;
    let rows = slopes.par_iter_mut().zip(&saved.rows).zip(dx.par_chunks_mut(ROWS * hidden));
    rows.enumerate().for_each(|(place, ((slopes, saved), dx))| {
        let rows = RowBlock { pass, index, place, layout, saved };
        rows.attention_input(slopes, d_qkv, (dx, lowest), &mut threads.get());
    });
}

struct RowBlock<'a, E> {
    pass: &'a Pass<'a>,
    index: usize,
    place: usize,
    layout: &'a Layout,
    saved: &'a SavedRows<E>,
}

impl<E: Element> RowBlock<'_, E> {
    fn first(&self) -> usize {
        self.place * ROWS
    }

    /// The gradient of a group's input from that of its output, through the frozen matrix and the low-rank update.
    fn through<O: Element>(&self, group: usize, slopes: &mut Slopes<E>, out: &mut [O], scratch: [&mut Vec<f32>; 2]) {
        let matrix = &self.pass.network.blocks[self.index].groups[group];
        let rows = out.len() / matrix.inputs;
        self.slope_of_update(group, slopes);
        let slope = Rows::dense(&slopes.outputs[group], rows, matrix.outputs);
        let Some(update) = &matrix.update else {
            return matrix.backward.product(slope, None, RowsMut::dense(out, rows, matrix.inputs), false);
        };
        let low_rank = Rows::dense(&slopes.low_rank[group], rows, update.rank);
        let Some(dropout) = self.pass.dropout_of(self.index, group) else {
            let low_rank = LowRank { x: low_rank, weights: &update.down_back };
            return matrix.backward.product(slope, Some(low_rank), RowsMut::dense(out, rows, matrix.inputs), false);
        };
        let [sum, part] = scratch.map(|buffer| front(buffer, rows * matrix.inputs));
        matrix.backward.product(slope, None, RowsMut::dense(sum, rows, matrix.inputs), false);
        update.down_back.product(low_rank, None, RowsMut::dense(part, rows, matrix.inputs), false);
        dropout.add_gradient(self.pass.set, self.first(), matrix.inputs, part, sum);
        convert(self.pass.set, sum, out);
    }

    /// The gradient of a group's low-rank product A·x.
    fn slope_of_update(&self, group: usize, slopes: &mut Slopes<E>) {
        let matrix = &self.pass.network.blocks[self.index].groups[group];
        let Some(update) = &matrix.update else { return };
        let rows = slopes.outputs[group].len() / matrix.outputs;
        slopes.low_rank[group].resize(rows * update.rank, E::default());
        let slope = Rows::dense(&slopes.outputs[group], rows, matrix.outputs);
        update.up_back.product(slope, None, RowsMut::dense(&mut slopes.low_rank[group], rows, update.rank), false);
    }

    /// Drops what the forward pass dropped from a group's input, which is kept for the update's gradient.
    fn drop_input(&self, group: usize, input: &mut [E], scratch: &mut Vec<E>) {
        if let Some(dropout) = self.pass.dropout_of(self.index, group) {
            let width = self.pass.network.blocks[self.index].groups[group].inputs;
            let dropped = front(scratch, input.len());
            dropout.apply(self.pass.set, self.first(), width, input, dropped);
            input.copy_from_slice(dropped);
        }
    }

    /// Back through a norm: adds to the residual stream's gradient.
    fn norm(&self, norm: &Norm, gradient: &[f32], kept: (&[E], &[f32]), out: (&mut [f32], &mut Vec<f32>)) {
        let (normalised, scales) = kept;
        let (dx, weight_gradient) = out;
        if norm.parameter.is_some() {
            weight_gradient.clear();
            weight_gradient.resize(norm.weight.len(), 0.0);
            rms_norm_weight_gradient(self.pass.set, gradient, normalised, weight_gradient);
        }
        let operands = RmsNormBackward { gradient, normalised, scales, weight: &norm.weight, out: dx };
        rms_norm_backward(self.pass.set, operands);
    }

    fn feed_forward(&self, slopes: &mut Slopes<E>, dx: &mut [f32], scratch: &mut Scratch<E>) {
        let (config, block) = (&self.pass.network.config, &self.pass.network.blocks[self.index]);
        let rows = dx.len() / config.hidden;
        let Scratch { rows: buffer, dropped, wide, narrow, .. } = scratch;
        convert(self.pass.set, dx, &mut slopes.outputs[DOWN]);
        let d_activation = front(buffer, rows * config.feed_forward);
        self.through(DOWN, slopes, d_activation, [wide, narrow]);
        let Slopes { inputs, outputs, .. } = slopes;
        let gate_up = Rows::dense(&self.saved.gate_up, rows, 2 * config.feed_forward);
        gated_unit_backward(self.pass.set, gate_up, d_activation, &mut outputs[GATE_UP], &mut inputs[DOWN]);
        self.drop_input(DOWN, &mut inputs[DOWN], dropped);

        let mut d_normed = std::mem::take(wide);
        let mut spare = Vec::new();
        self.through(GATE_UP, slopes, front(&mut d_normed, dx.len()), [narrow, &mut spare]);
        weigh_rows(self.pass.set, &self.saved.normalised_mid, &block.norm_mid.weight, &mut slopes.inputs[GATE_UP]);
        self.drop_input(GATE_UP, &mut slopes.inputs[GATE_UP], dropped);
        let kept = (self.saved.normalised_mid.as_slice(), self.saved.scales_mid.as_slice());
        let gradient = &d_normed[..dx.len()];
        self.norm(&block.norm_mid, gradient, kept, (dx, &mut slopes.norm_mid));
        *wide = d_normed;
    }

    fn attention_output(
        &self,
        slopes: &mut Slopes<E>,
        attended: &[E],
        (dx, d_attended): (&[f32], &mut [E]),
        scratch: &mut Scratch<E>,
    ) {
        let config = &self.pass.network.config;
        convert(self.pass.set, dx, &mut slopes.outputs[OUT]);
        self.through(OUT, slopes, d_attended, [&mut scratch.wide, &mut scratch.narrow]);
        let width = config.heads / config.kv_heads * config.head_dim;
        self.layout.gather(self.layout.block_rows(self.place), attended, width, &mut slopes.inputs[OUT]);
        self.drop_input(OUT, &mut slopes.inputs[OUT], &mut scratch.dropped);
    }

    fn attention_input(
        &self,
        slopes: &mut Slopes<E>,
        d_qkv: &[E],
        (dx, lowest): (&mut [f32], bool),
        scratch: &mut Scratch<E>,
    ) {
        let block = &self.pass.network.blocks[self.index];
        self.gather_qkv(d_qkv, &mut slopes.outputs[QKV]);
        weigh_rows(self.pass.set, &self.saved.normalised_in, &block.norm_in.weight, &mut slopes.inputs[QKV]);
        if lowest && block.norm_in.parameter.is_none() {
            self.slope_of_update(QKV, slopes);
        } else {
            let Scratch { wide, narrow, unit, .. } = scratch;
            let d_normed = front(wide, dx.len());
            self.through(QKV, slopes, d_normed, [narrow, &mut unit[0]]);
            let kept = (self.saved.normalised_in.as_slice(), self.saved.scales_in.as_slice());
            self.norm(&block.norm_in, d_normed, kept, (dx, &mut slopes.norm_in));
        }
        self.drop_input(QKV, &mut slopes.inputs[QKV], &mut scratch.dropped);
    }

    /// Brings the units' gradients of queries, keys and values into rows.
    fn gather_qkv(&self, units: &[E], out: &mut [E]) {
        let config = &self.pass.network.config;
        let (heads, width) = (config.heads / config.kv_heads, config.head_dim);
        let stride = (config.heads + 2 * config.kv_heads) * width;
        for (row, out) in self.layout.block_rows(self.place).zip(out.chunks_exact_mut(stride)) {
            for group in 0..config.kv_heads {
                let unit = &units[self.layout.place(row, group, (heads + 2) * width)];
                let (queries, rest) = unit.split_at(heads * width);
                let (key, value) = rest.split_at(width);
                out[group * heads * width..][..heads * width].copy_from_slice(queries);
                out[(config.heads + group) * width..][..width].copy_from_slice(key);
                out[(config.heads + config.kv_heads + group) * width..][..width].copy_from_slice(value);
            }
        }
    }
}

/// Attention backwards, and the rotation of queries and keys turned back.
fn attention<E: Element>(
    pass: &Pass<'_>,
    layout: &Layout,
    saved: &Saved<E>,
    (d_attended, d_qkv): (&[E], &mut [E]),
    threads: &PerThread<Scratch<E>>,
) {
    let config = &pass.network.config;
    let (heads, width) = (config.heads / config.kv_heads, config.head_dim);
    let unit_width = (heads + 2) * width;
    let places = layout.split(d_qkv, unit_width);
    layout.units.par_iter().zip(places).for_each(|(unit, d_qkv)| {
        let mut scratch = threads.get();
        let Scratch { attention, unit: [queries, keys, values], .. } = &mut *scratch;
        let tokens = unit.tokens;
        let begin = layout.place(unit.start, unit.group, heads * width).start;
        let attended = Attended {
            out: Rows::dense(&saved.attended[begin..], tokens, heads * width),
            log_sums: &saved.log_sums[begin / width..][..tokens * heads],
            gradient: Rows::new(
                &d_attended[(unit.start * config.heads + unit.group * heads) * width..],
                tokens,
                heads * width,
                config.heads * width,
            ),
        };
        let gradients = AttentionGradients {
            queries: front(queries, tokens * heads * width),
            keys: front(keys, tokens * width),
            values: front(values, tokens * width),
        };
        attend_backward(unit_input(pass.network, *unit, &saved.qkv), attended, gradients, attention);
        for (token, out) in d_qkv.chunks_exact_mut(unit_width).enumerate() {
            let (d_queries, rest) = out.split_at_mut(heads * width);
            let (d_key, d_value) = rest.split_at_mut(width);
            let rotary = &pass.network.rotary;
            rotate(pass.set, rotary, token, true, &queries[token * heads * width..][..heads * width], d_queries);
            rotate(pass.set, rotary, token, true, &keys[token * width..][..width], d_key);
            convert(pass.set, &values[token * width..][..width], d_value);
        }
    });
}
