//! Bringing matrices into panels, and rows back out of them.

use rayon::iter::{ParallelBridge as _, ParallelIterator as _};

use super::{LANES, Line, PANEL, PackedMatrix, VECTORS};
use crate::element::{Element, Rows, WeightFormat};
use crate::instructions::versions;

impl PackedMatrix {
    /// Packs `weights` [n, k], reusing this matrix's memory. On this thread.
    pub fn assign<E: Element>(&mut self, weights: Rows<'_, E>) {
        self.reshape(weights.rows, weights.columns);
        let pack = self.rows_packer(weights);
        self.panels().for_each(|(first, panel)| pack(first, panel));
    }

    /// Packs a matrix that is stored the other way round, `weights` [k, n], reusing this matrix's memory. On this thread.
    pub fn assign_transposed<E: Element>(&mut self, weights: Rows<'_, E>) {
        self.reshape(weights.columns, weights.rows);
        let pack = self.columns_packer(weights);
        self.panels().for_each(|(first, panel)| pack(first, panel));
    }

    /// [`Self::assign`] on all threads: for large matrices.
    pub fn assign_in_parallel<E: Element>(&mut self, weights: Rows<'_, E>) {
        self.reshape(weights.rows, weights.columns);
        let pack = self.rows_packer(weights);
        self.panels().par_bridge().for_each(|(first, panel)| pack(first, panel));
    }

    /// [`Self::assign_transposed`] on all threads: for large matrices.
    pub fn assign_transposed_in_parallel<E: Element>(&mut self, weights: Rows<'_, E>) {
        self.reshape(weights.columns, weights.rows);
        let pack = self.columns_packer(weights);
        self.panels().par_bridge().for_each(|(first, panel)| pack(first, panel));
    }

    fn rows_packer<'a, E: Element>(&self, weights: Rows<'a, E>) -> impl Fn(usize, &mut [Line]) + Sync + use<'a, E> {
        let (set, format) = (self.instructions, self.format);
        move |first, panel| match format {
            WeightFormat::F32 => rows_f32(set, panel, weights, first),
            WeightFormat::Bf16 => rows_bf16(set, panel, weights, first),
        }
    }

    fn columns_packer<'a, E: Element>(&self, weights: Rows<'a, E>) -> impl Fn(usize, &mut [Line]) + Sync + use<'a, E> {
        let (set, format) = (self.instructions, self.format);
        move |first, panel| match format {
            WeightFormat::F32 => columns_f32(set, panel, weights, first),
            WeightFormat::Bf16 => columns_bf16(set, panel, weights, first),
        }
    }

    fn reshape(&mut self, n: usize, k: usize) {
        (self.n, self.k) = (n, k);
        self.lines.resize(n.div_ceil(PANEL) * self.steps(k) * VECTORS, Line::default());
    }

    /// Each panel with the first of W's rows that it holds.
    fn panels(&mut self) -> impl Iterator<Item = (usize, &mut [Line])> + Send {
        let lines = (self.steps(self.k) * VECTORS).max(1);
        self.lines.chunks_exact_mut(lines).enumerate().map(|(index, panel)| (index * PANEL, panel))
    }

    /// One row of W.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n && out.len() == self.k, "row {row} of a matrix [{}, {}]", self.n, self.k);
        let (vector, lane) = ((row % PANEL) / LANES, row % LANES);
        let steps = self.panel(row / PANEL, 0).chunks_exact(VECTORS).map(|step| step[vector].0[lane]);
        match self.format {
            WeightFormat::F32 => out.iter_mut().zip(steps).for_each(|(out, bits)| *out = f32::from_bits(bits)),
            WeightFormat::Bf16 => {
                for (out, bits) in out.chunks_mut(2).zip(steps) {
                    let pair = [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)];
                    out.copy_from_slice(&pair[..out.len()]);
                }
            }
        }
    }
}

#[inline(always)]
fn bf16_bits<E: Element>(value: E) -> u32 {
    match E::FORMAT {
        WeightFormat::Bf16 => value.bits(),
        WeightFormat::F32 => <half::bf16 as Element>::from_f32(value.to_f32()).bits(),
    }
}

/// Sixteen rows are read side by side, so that each line is written once.
#[inline(always)]
fn rows_f32_body<E: Element, const FMA: bool>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) {
    for vector in 0..VECTORS {
        for lane in 0..LANES {
            let row = first + vector * LANES + lane;
            if row < weights.rows {
                for (step, &value) in panel.chunks_exact_mut(VECTORS).zip(weights.row(row)) {
                    step[vector].0[lane] = value.to_f32().to_bits();
                }
            } else {
                panel.chunks_exact_mut(VECTORS).for_each(|step| step[vector].0[lane] = 0);
            }
        }
    }
}

#[inline(always)]
fn rows_bf16_body<E: Element, const FMA: bool>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) {
    for vector in 0..VECTORS {
        for lane in 0..LANES {
            let row = first + vector * LANES + lane;
            if row < weights.rows {
                for (step, pair) in panel.chunks_exact_mut(VECTORS).zip(weights.row(row).chunks(2)) {
                    let high = pair.get(1).map_or(0, |&value| bf16_bits(value));
                    step[vector].0[lane] = bf16_bits(pair[0]) | high << 16;
                }
            } else {
                panel.chunks_exact_mut(VECTORS).for_each(|step| step[vector].0[lane] = 0);
            }
        }
    }
}

#[inline(always)]
fn columns_f32_body<E: Element, const FMA: bool>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) {
    let columns = (weights.columns - first).min(PANEL);
    for (row, step) in panel.chunks_exact_mut(VECTORS).enumerate() {
        let values = &weights.row(row)[first..first + columns];
        let mut numbers = [0; PANEL];
        for (number, &value) in numbers.iter_mut().zip(values) {
            *number = value.to_f32().to_bits();
        }
        write(step, &numbers);
    }
}

#[inline(always)]
fn columns_bf16_body<E: Element, const FMA: bool>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) {
    let columns = (weights.columns - first).min(PANEL);
    for (pair, step) in panel.chunks_exact_mut(VECTORS).enumerate() {
        let low = &weights.row(2 * pair)[first..first + columns];
        let mut numbers = [0; PANEL];
        if 2 * pair + 1 < weights.rows {
            let high = &weights.row(2 * pair + 1)[first..first + columns];
            for ((number, &low), &high) in numbers.iter_mut().zip(low).zip(high) {
                *number = bf16_bits(low) | bf16_bits(high) << 16;
            }
        } else {
            for (number, &low) in numbers.iter_mut().zip(low) {
                *number = bf16_bits(low);
            }
        }
        write(step, &numbers);
    }
}

#[inline(always)]
fn write(step: &mut [Line], numbers: &[u32; PANEL]) {
    for (line, numbers) in step.iter_mut().zip(numbers.as_chunks::<LANES>().0) {
        line.0 = *numbers;
    }
}

versions! { fn rows_f32<E>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) = rows_f32_body }
versions! { fn rows_bf16<E>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) = rows_bf16_body }
versions! { fn columns_f32<E>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) = columns_f32_body }
versions! { fn columns_bf16<E>(panel: &mut [Line], weights: Rows<'_, E>, first: usize) = columns_bf16_body }
