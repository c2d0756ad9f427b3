//! A frozen weight matrix, in parts that threads share out.

use std::borrow::Cow;

use anser_kernels::{PackedMatrix, Rows, RowsMut, WeightFormat};
use rayon::prelude::*;

/// Output columns of one part: enough work for a task, and a part of a usual width still fits a second-level cache.
const PART: usize = 192;
/// Rows that one task multiplies.
const ROWS: usize = 64;

/// A matrix W `[outputs, inputs]`, multiplied as y = x·Wᵀ.
///
/// Every element of a product is summed in one order, whatever the number of rows and threads: a token's logits do not
/// depend on who else is being answered.
pub(crate) struct Linear {
    parts: Vec<PackedMatrix>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// Packs the rows of `matrices`, each `[_, inputs]`, one below another.
    pub(crate) fn new(matrices: &[Vec<f32>], inputs: usize) -> Self {
        let rows = match matrices {
            [one] => Cow::Borrowed(one.as_slice()),
            several => Cow::Owned(several.concat()),
        };
        let outputs = rows.len() / inputs;
        let parts = rows.chunks(PART * inputs);
        let parts =
            parts.map(|part| PackedMatrix::pack(part, part.len() / inputs, inputs, WeightFormat::F32)).collect();
        Self { parts, inputs, outputs }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(PackedMatrix::bytes).sum()
    }

    /// One row of W into `out`; `None` if there is no such row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) -> Option<()> {
        let part = self.parts.get(row / PART).filter(|part| row % PART < part.n())?;
        part.row(row % PART, out);
        Some(())
    }

    /// The product of the rows of `x` (`[_, inputs]`), `[_, outputs]`.
    pub(crate) fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.inputs;
        // Threads write blocks of their own, [part][rows][columns of the part], which are then put in their places.
        let mut blocks = vec![0.0; rows * self.outputs];
        blocks.par_chunks_mut((rows * PART).max(1)).zip(&self.parts).for_each(|(block, part)| {
            let columns = part.n();
            block.par_chunks_mut(ROWS * columns).zip(x.par_chunks(ROWS * self.inputs)).for_each(|(block, x)| {
                let rows = x.len() / self.inputs;
                let x = Rows::dense(x, rows, self.inputs);
                part.product(x, None, RowsMut::dense(block, rows, columns), false);
            });
        });
        if rows == 1 || self.parts.len() == 1 {
            return blocks;
        }
        let mut y = vec![0.0; rows * self.outputs];
        for (part, block) in blocks.chunks(rows * PART).enumerate() {
            let columns = block.len() / rows;
            for (y, values) in y.chunks_exact_mut(self.outputs).zip(block.chunks_exact(columns)) {
                y[part * PART..part * PART + columns].copy_from_slice(values);
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_multiply_the_same_alone_and_together() {
        let (inputs, outputs, rows) = (70, 500, 150);
        let value = |seed: usize| ((seed * 7919 + 13) % 1009) as f32 / 500.0 - 1.0;
        let weights: Vec<f32> = (0..outputs * inputs).map(value).collect();
        let x: Vec<f32> = (0..rows * inputs).map(|at| value(at + 5)).collect();
        let linear = Linear::new(&[weights[..200 * inputs].to_vec(), weights[200 * inputs..].to_vec()], inputs);
        let together = linear.multiply(&x);
        for (row, (x, y)) in x.chunks(inputs).zip(together.chunks(outputs)).enumerate() {
            assert_eq!(linear.multiply(x), y, "row {row}");
            for (column, weights) in weights.chunks(inputs).enumerate() {
                let exact: f64 = x.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((f64::from(y[column]) - exact).abs() < 1e-4);
            }
        }
        let mut row = vec![0.0; inputs];
        for at in [0, 191, 192, 499] {
            linear.row(at, &mut row).unwrap();
            assert_eq!(row, weights[at * inputs..(at + 1) * inputs]);
        }
        assert!(linear.row(500, &mut row).is_none());
    }
}
