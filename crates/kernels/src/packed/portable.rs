//! Products with packed panels on processors without brain-float instructions: panels are widened one by one and
//! multiplied by the gemm crate, which has its own paths for AVX-512, AVX2 and others.

use super::{Line, LowRank, PANEL, PackedMatrix, Part, VECTORS};
use crate::element::{Element, Rows, RowsMut, WeightFormat, convert, widen};
use crate::matmul::{Matrix, MatrixMut, matmul};

impl Part<'_> {
    pub(super) fn product_portable<E: Element, O: Element>(
        &self,
        x: Rows<'_, E>,
        low_rank: Option<LowRank<'_, E>>,
        y: RowsMut<'_, O>,
        accumulate: bool,
    ) {
        let rows = x.rows;
        let matrix = self.matrix;
        let x = matrix.dense(x);
        let low_rank = low_rank.map(|term| (term.weights.dense(term.x), term.x.columns, term.weights));
        let depth = x.len() / rows;
        let mut panel = Vec::new();
        let mut sums = vec![0.0; rows * PANEL];
        for index in 0..y.columns.div_ceil(PANEL) {
            let column = index * PANEL;
            let columns = (y.columns - column).min(PANEL);
            matrix.unpack(matrix.panel(self.panel + index, self.step), depth, &mut panel);
            multiply(&x, &panel, &mut sums, rows, false);
            if let Some((x, depth, weights)) = &low_rank {
                weights.unpack(weights.panel(self.panel + index, 0), *depth, &mut panel);
                multiply(x, &panel, &mut sums, rows, true);
            }
            for (row, sums) in sums.chunks_exact(PANEL).enumerate() {
                let first = row * y.stride + column;
                let out = &mut y.values[first..first + columns];
                if accumulate {
                    out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = O::from_f32(out.to_f32() + sum));
                } else {
                    convert(matrix.instructions, &sums[..columns], out);
                }
            }
        }
    }
}

impl PackedMatrix {
    /// The rows as `f32` without gaps.
    fn dense<E: Element>(&self, x: Rows<'_, E>) -> Vec<f32> {
        let mut dense = vec![0.0; x.rows * x.columns];
        for (row, out) in dense.chunks_exact_mut(x.columns.max(1)).enumerate() {
            widen(self.instructions, x.row(row), out);
        }
        dense
    }

    /// The first `depth` rows of a panel's lines as `f32` [depth, 48].
    fn unpack(&self, lines: &[Line], depth: usize, out: &mut Vec<f32>) {
        let numbers = lines[..self.steps(depth) * VECTORS].iter().map(|line| line.0);
        out.clear();
        match self.format {
            WeightFormat::F32 => out.extend(numbers.flatten().map(f32::from_bits)),
            WeightFormat::Bf16 => {
                out.resize(self.steps(depth) * 2 * PANEL, 0.0);
                let packed = numbers.flatten().collect::<Vec<u32>>();
                for (pair, step) in out.chunks_exact_mut(2 * PANEL).zip(packed.chunks_exact(PANEL)) {
                    let (low, high) = pair.split_at_mut(PANEL);
                    low.iter_mut().zip(step).for_each(|(low, bits)| *low = f32::from_bits(bits << 16));
                    high.iter_mut().zip(step).for_each(|(high, bits)| *high = f32::from_bits(bits & 0xffff_0000));
                }
            }
        }
        out.truncate(depth * PANEL);
    }
}

fn multiply(x: &[f32], panel: &[f32], sums: &mut [f32], rows: usize, accumulate: bool) {
    let depth = panel.len() / PANEL;
    matmul(
        Matrix::new(x, rows, depth),
        Matrix::new(panel, depth, PANEL),
        MatrixMut::new(sums, rows, PANEL),
        accumulate,
    );
}
