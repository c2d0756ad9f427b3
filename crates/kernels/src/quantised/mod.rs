//! Matrices and rows in one byte per number, and their products.
//!
//! Weights are symmetric: w = scale·q with q in [-127, 127] and a scale for each row of W and group of columns.
//! Activations are unsigned: x = scale·(q - zero) with a scale and a zero point for each row and group, so that all 256
//! steps lie inside the range that a row really has. The product of a group is then
//! scale·scale·(Σ q·q - zero·Σ q), where the last sum belongs to W alone. Sums of bytes are exact, so every instruction
//! set computes the same ones.

mod rows;
mod tile;

pub use rows::QuantisedRows;

use crate::element::{Element, Rows, RowsMut};
use crate::epilogue::Epilogue;
use crate::finish::Finish;
use crate::instructions::InstructionSet;
use crate::packed::{LANES, Line, PANEL, VECTORS};
use tile::Product;

/// Bytes that one step of a panel holds for each column.
const STEP: usize = 4;
/// Longest group: sums of more products of bytes could leave 32 bits.
const LONGEST_GROUP: usize = 1 << 15;

/// A weight matrix W [n, k] in bytes, multiplied from the right: y = x·Wᵀ.
#[derive(Debug, Clone)]
pub struct QuantisedMatrix {
    n: usize,
    k: usize,
    group: usize,
    instructions: InstructionSet,
    /// Panels of 48 columns; a step holds four bytes, next to each other in depth, for each of them.
    lines: Vec<Line>,
    /// For each panel and group, 48 scales.
    scales: Vec<f32>,
    /// For each panel and group, 48 sums of a column's bytes.
    sums: Vec<i32>,
}

impl QuantisedMatrix {
    /// Quantises and packs `weights` [n, k] with a scale for each row and `group` columns; the last group of a row may be
    /// shorter. A group as long as the depth, or longer, makes one scale for a row.
    ///
    /// Panics unless `group` is a multiple of 4 or no less than k, and when groups have more than 32,768 columns.
    pub fn pack(weights: Rows<'_, f32>, group: usize) -> Self {
        let (n, k) = (weights.rows, weights.columns);
        let group = whole_group(group, k);
        let groups = k.div_ceil(group);
        let steps = k.div_ceil(STEP);
        let panels = n.div_ceil(PANEL);
        let mut packed = Self {
            n,
            k,
            group,
            instructions: InstructionSet::best(),
            lines: vec![Line::default(); panels * steps * VECTORS],
            scales: vec![0.0; panels * groups * PANEL],
            sums: vec![0; panels * groups * PANEL],
        };
        for row in 0..n {
            packed.pack_row(row, weights.row(row));
        }
        packed
    }

    fn pack_row(&mut self, row: usize, weights: &[f32]) {
        let (panel, column) = (row / PANEL, row % PANEL);
        let (vector, lane) = (column / LANES, column % LANES);
        let (steps, groups) = (self.steps(), self.groups());
        let lines = &mut self.lines[panel * steps * VECTORS..(panel + 1) * steps * VECTORS];
        for (index, weights) in weights.chunks(self.group).enumerate() {
            let largest = weights.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
            let (scale, inverse) =
                if largest > rows::SMALLEST { (largest / 127.0, 127.0 / largest) } else { (0.0, 0.0) };
            let mut sum = 0;
            for (step, weights) in weights.chunks(STEP).enumerate() {
                let mut bytes = [0_u8; STEP];
                for (byte, weight) in bytes.iter_mut().zip(weights) {
                    let quantised = (weight * inverse).round_ties_even() as i8;
                    sum += i32::from(quantised);
                    *byte = quantised.cast_unsigned();
                }
                lines[(index * self.group / STEP + step) * VECTORS + vector].0[lane] = u32::from_le_bytes(bytes);
            }
            let place = (panel * groups + index) * PANEL + column;
            (self.scales[place], self.sums[place]) = (scale, sum);
        }
    }

    /// The same matrix, multiplied with these instructions.
    #[must_use]
    pub fn with_instructions(mut self, instructions: InstructionSet) -> Self {
        self.instructions = instructions;
        self
    }

    /// The instructions it is multiplied with.
    pub fn instructions(&self) -> InstructionSet {
        self.instructions
    }

    /// Rows of W: columns of the result.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns of W: the depth of the product.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns that share a scale, no more than k.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Memory of the packed numbers.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice()) + size_of_val(self.scales.as_slice()) + size_of_val(self.sums.as_slice())
    }

    /// One row of W, as it is after rounding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n && out.len() == self.k, "row {row} of a matrix [{}, {}]", self.n, self.k);
        let (panel, column) = (row / PANEL, row % PANEL);
        let (vector, lane) = (column / LANES, column % LANES);
        let (steps, groups) = (self.steps(), self.groups());
        let lines = &self.lines[panel * steps * VECTORS..(panel + 1) * steps * VECTORS];
        for (step, (out, lines)) in out.chunks_mut(STEP).zip(lines.chunks_exact(VECTORS)).enumerate() {
            let scale = self.scales[(panel * groups + step * STEP / self.group) * PANEL + column];
            for (out, byte) in out.iter_mut().zip(lines[vector].0[lane].to_le_bytes()) {
                *out = scale * f32::from(byte.cast_signed());
            }
        }
    }

    /// Multiplies the rows of `x` into `y`, on this thread. `y` may have fewer columns than W has rows (the rest is left
    /// out).
    ///
    /// Panics when the operands' depths or groups differ or when shapes do not fit.
    pub fn product<O: Element>(&self, x: &QuantisedRows, epilogue: Epilogue<'_>, y: RowsMut<'_, O>) {
        assert!(
            x.columns == self.k && (x.group == self.group || self.k == 0) && x.rows == y.rows && y.columns <= self.n,
            "operands of a product do not fit"
        );
        if x.rows > 0 && y.columns > 0 {
            self.finished(x, Finish::new(y, epilogue, false));
        }
    }

    // Not generic, so that the kernels are compiled here and not in the crates that call them.
    fn finished(&self, x: &QuantisedRows, finish: Finish<'_>) {
        self.instructions.run(Product { x, matrix: self, finish: finish.with_instructions(self.instructions) });
    }

    /// Groups of a row.
    fn groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Steps of a panel.
    fn steps(&self) -> usize {
        self.k.div_ceil(STEP)
    }
}

/// A group's length: no longer than the depth, no shorter than one step.
fn whole_group(group: usize, k: usize) -> usize {
    assert!(group >= k || (group > 0 && group.is_multiple_of(STEP)), "groups of {group} columns are not whole steps");
    let group = group.min(k).max(1);
    assert!(group <= LONGEST_GROUP, "a group of {group} columns is too long for sums of bytes");
    group
}
