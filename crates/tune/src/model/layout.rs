//! How a batch is cut up for work: blocks of rows for everything that is done row by row, and units of one sequence and one
//! key and value head for attention.

use std::ops::Range;

use anser_generate::LlamaConfig;
use anser_kernels::Element;

use super::batch::Batch;

/// Rows of a row block: a multiple of the products' tiles, few enough for the second-level cache.
pub(super) const ROWS: usize = 64;

/// One sequence and one key and value head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// First row of the sequence.
    pub(super) start: usize,
    /// Its tokens.
    pub(super) tokens: usize,
    /// The key and value head.
    pub(super) group: usize,
}

/// A batch's cut.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) rows: usize,
    /// Sequence by sequence, head by head: results of units lie one behind another in this order.
    pub(super) units: Vec<Unit>,
    /// Of each row: the first row and the tokens of its sequence.
    sequences: Vec<(usize, usize)>,
    kv_heads: usize,
}

impl Layout {
    pub(super) fn new(batch: &Batch, config: &LlamaConfig) -> Self {
        let spans = batch.sequence_starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        let units = spans
            .clone()
            .flat_map(|(start, tokens)| (0..config.kv_heads).map(move |group| Unit { start, tokens, group }));
        let sequences = spans.clone().flat_map(|(start, tokens)| std::iter::repeat_n((start, tokens), tokens));
        Self {
            rows: batch.tokens.len(),
            units: units.collect(),
            sequences: sequences.collect(),
            kv_heads: config.kv_heads,
        }
    }

    /// Number of row blocks.
    pub(super) fn row_blocks(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    /// Rows of a row block.
    pub(super) fn block_rows(&self, block: usize) -> Range<usize> {
        block * ROWS..((block + 1) * ROWS).min(self.rows)
    }

    /// A row's place in its sequence.
    pub(super) fn position(&self, row: usize) -> usize {
        row - self.sequences[row].0
    }

    /// Where a row's share of the unit of `group` lies in a buffer of units that are `width` wide.
    pub(super) fn place(&self, row: usize, group: usize, width: usize) -> Range<usize> {
        let (start, tokens) = self.sequences[row];
        let first = ((start * self.kv_heads + group * tokens) + row - start) * width;
        first..first + width
    }

    /// Cuts a buffer of units that are `width` wide into them.
    pub(super) fn split<'a, T>(&self, mut values: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        let mut parts = Vec::with_capacity(self.units.len());
        for unit in &self.units {
            let (part, rest) = values.split_at_mut(unit.tokens * width);
            parts.push(part);
            values = rest;
        }
        parts
    }

    /// Copies the rows of a row block out of a buffer of units: each unit's row goes to `columns(group)` of the row.
    pub(super) fn gather<E: Element>(&self, rows: Range<usize>, units: &[E], width: usize, out: &mut [E]) {
        let stride = self.kv_heads * width;
        for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
            for (group, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&units[self.place(row, group, width)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::tiny_config;

    #[test]
    fn rows_come_back_out_of_units_in_order() {
        let mut batch = Batch::default();
        batch.push(&[1, 2, 3], &[false; 3]);
        batch.push(&[4, 5], &[false; 2]);
        let layout = Layout::new(&batch, &tiny_config());
        assert_eq!((layout.rows, layout.units.len(), layout.position(4)), (5, 4, 1));
        let mut units = vec![0.0_f32; 5 * 2 * 3];
        for (unit, part) in layout.units.iter().zip(layout.split(&mut units, 3)) {
            for (index, values) in part.chunks_exact_mut(3).enumerate() {
                values.fill(((unit.start + index) * 10 + unit.group) as f32);
            }
        }
        let mut out = vec![0.0; 3 * 6];
        layout.gather(2..5, &units, 3, &mut out);
        assert_eq!(out, [20., 20., 20., 21., 21., 21., 30., 30., 30., 31., 31., 31., 40., 40., 40., 41., 41., 41.]);
    }
}
