//! Matrices packed for the product y = x·Wᵀ: panels of 48 output columns, each the depth long.
//!
//! A panel is a run of steps. A step holds one 32-bit number for each of the 48 columns: an `f32`, or two brain floats that
//! lie next to each other in depth, which is what the processor's brain-float product takes. Missing columns and an odd
//! last depth are filled with zeros. Every instruction set reads the same layout.

mod panels;
mod tile;

use half::bf16;
use rayon::prelude::*;
use tile::{Product, Term};

use crate::element::{Element, Rows, RowsMut, WeightFormat, convert};
use crate::epilogue::Epilogue;
use crate::finish::Finish;
use crate::instructions::InstructionSet;

/// 32-bit numbers of a vector register and of a cache line.
pub(crate) const LANES: usize = 16;
/// Vectors of a panel's step.
pub(crate) const VECTORS: usize = 3;
/// Columns of a panel.
pub(crate) const PANEL: usize = LANES * VECTORS;
/// Rows that one task multiplies, so that they stay in the second-level cache.
const ROWS: usize = 64;

/// One vector of a panel's step, aligned to a cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; LANES]);

/// A weight matrix W [n, k] that is multiplied from the right, y = x·Wᵀ, again and again.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    format: WeightFormat,
    instructions: InstructionSet,
    lines: Vec<Line>,
}

/// A second product that is added to the first one before the result is written: `x`·Wᵀ of a matrix with as many rows.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a, E> {
    /// The left operand, as many rows as the first one's.
    pub x: Rows<'a, E>,
    /// The matrix, with the same n and format as the first.
    pub weights: &'a PackedMatrix,
}

impl PackedMatrix {
    /// Packs `weights` [n, k], row-major.
    pub fn pack(weights: &[f32], n: usize, k: usize, format: WeightFormat) -> Self {
        let mut packed = Self::empty(format);
        packed.assign_in_parallel(Rows::dense(weights, n, k));
        packed
    }

    /// Packs a matrix that is stored the other way round, `weights` [k, n]: y = x·`weights`.
    pub fn pack_transposed(weights: &[f32], n: usize, k: usize, format: WeightFormat) -> Self {
        let mut packed = Self::empty(format);
        packed.assign_transposed_in_parallel(Rows::dense(weights, k, n));
        packed
    }

    /// A matrix without rows, to be filled by [`Self::assign`] or [`Self::assign_transposed`], which reuse its memory.
    pub fn empty(format: WeightFormat) -> Self {
        Self { n: 0, k: 0, format, instructions: InstructionSet::best(), lines: Vec::new() }
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

    /// Memory of the packed numbers.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// Number format of the packed numbers.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Multiplies `x` [rows, k] into `y` [rows, n], both without gaps; `accumulate` adds to `y` instead of overwriting it.
    /// With brain-float weights `x` is rounded to brain floats, too.
    pub fn multiply(&self, x: &[f32], rows: usize, y: &mut [f32], accumulate: bool) {
        let (n, k) = (self.n, self.k);
        assert!(x.len() >= rows * k && y.len() >= rows * n, "{rows} rows do not fit the operands of a product");
        if n == 0 {
            return;
        }
        let block = |x: &[f32], y: &mut [f32]| {
            let rows = y.len() / n;
            let y = RowsMut::dense(y, rows, n);
            match self.format {
                WeightFormat::F32 => self.product(Rows::dense(x, rows, k), None, y, accumulate),
                WeightFormat::Bf16 => {
                    let stride = k.next_multiple_of(2);
                    let mut rounded = vec![bf16::ZERO; rows * stride];
                    for (rounded, x) in rounded.chunks_exact_mut(stride.max(1)).zip(x.chunks_exact(k.max(1))) {
                        convert(self.instructions, x, &mut rounded[..k]);
                    }
                    self.product(Rows::new(&rounded, rows, k, stride), None, y, accumulate);
                }
            }
        };
        y[..rows * n].par_chunks_mut(ROWS * n).enumerate().for_each(|(index, y)| {
            let first = index * ROWS * k;
            block(&x[first..first + y.len() / n * k], y);
        });
    }

    /// Multiplies the rows of `x` into `y`, on this thread. `x` may have fewer columns than W (its rest counts as zero) and
    /// `y` fewer than W has rows (the rest is left out). `low_rank` is added before the result is rounded.
    ///
    /// Panics when the formats differ, when operands do not fit, or when the last of `x`'s rows has an odd number of brain
    /// floats and nothing behind it: each is read with its neighbour.
    pub fn product<E: Element, O: Element>(
        &self,
        x: Rows<'_, E>,
        low_rank: Option<LowRank<'_, E>>,
        y: RowsMut<'_, O>,
        accumulate: bool,
    ) {
        self.part(0, 0).product(x, low_rank, y, accumulate);
    }

    /// Multiplies the rows of `x` into `y` and finishes each number with `epilogue`, on this thread: y =
    /// activation(x·Wᵀ + bias). `y` may have fewer columns than W has rows (the rest is left out). A row's results depend
    /// on nothing but the row.
    ///
    /// Panics as [`Self::product`] does, and when the bias is shorter than `y` has columns.
    pub fn product_with<E: Element, O: Element>(&self, x: Rows<'_, E>, epilogue: Epilogue<'_>, y: RowsMut<'_, O>) {
        self.part(0, 0).finished(x, None, Finish::new(y, epilogue, false));
    }

    /// W from row `n` and column `k` on. Panics unless `n` is a multiple of 48 and `k` is even.
    pub fn part(&self, n: usize, k: usize) -> Part<'_> {
        assert!(
            n <= self.n && k <= self.k && n.is_multiple_of(PANEL) && k.is_multiple_of(2),
            "no part begins at [{n}, {k}]"
        );
        Part { matrix: self, panel: n / PANEL, step: self.steps(k) }
    }

    /// Steps in the depth of `columns` numbers.
    fn steps(&self, columns: usize) -> usize {
        match self.format {
            WeightFormat::F32 => columns,
            WeightFormat::Bf16 => columns.div_ceil(2),
        }
    }

    /// The lines of a panel from a step on.
    fn panel(&self, panel: usize, step: usize) -> &[Line] {
        let lines = self.steps(self.k) * VECTORS;
        &self.lines[panel * lines + step * VECTORS..(panel + 1) * lines]
    }
}

/// A matrix from some row and column on.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    matrix: &'a PackedMatrix,
    panel: usize,
    step: usize,
}

impl Part<'_> {
    /// As [`PackedMatrix::product`].
    pub fn product<E: Element, O: Element>(
        &self,
        x: Rows<'_, E>,
        low_rank: Option<LowRank<'_, E>>,
        y: RowsMut<'_, O>,
        accumulate: bool,
    ) {
        self.finished(x, low_rank, Finish::new(y, Epilogue::default(), accumulate));
    }

    fn finished<E: Element>(&self, x: Rows<'_, E>, low_rank: Option<LowRank<'_, E>>, finish: Finish<'_>) {
        let Self { matrix, panel, step } = *self;
        assert!(E::FORMAT == matrix.format, "rows and weights of a product have different formats");
        let fits =
            step + matrix.steps(x.columns) <= matrix.steps(matrix.k) && panel * PANEL + finish.columns() <= matrix.n;
        assert!(x.rows == finish.rows() && fits, "operands of a product do not fit");
        if x.rows == 0 || finish.columns() == 0 {
            return;
        }
        let first = matrix.term(x, panel, step);
        let second = low_rank.map_or(Term { steps: 0, ..first }, |LowRank { x: second, weights }| {
            let fits = weights.n == matrix.n && weights.format == matrix.format;
            assert!(fits && second.rows == x.rows && second.columns <= weights.k, "a low-rank product does not fit");
            weights.term(second, panel, 0)
        });
        multiply(matrix.instructions, matrix.format, [first, second], finish.with_instructions(matrix.instructions));
    }
}

impl PackedMatrix {
    /// The rows of `x`, of which there are some, with this matrix from a panel and a step on.
    fn term<E: Element>(&self, x: Rows<'_, E>, panel: usize, step: usize) -> Term<'_> {
        let (stride, steps) = (x.stride * size_of::<E>(), self.steps(x.columns));
        let end = (x.rows - 1) * stride + steps * size_of::<u32>();
        assert!(end <= size_of_val(x.values), "the last row of a product's left operand has no pair");
        let lines = self.steps(self.k) * VECTORS;
        let from = &self.lines[panel * lines + step * VECTORS..];
        Term { rows: x.values.as_ptr().cast(), stride, steps, lines: from, panel: lines }
    }
}

// Not generic, so that the kernels are compiled here and not in the crates that call them.
fn multiply(set: InstructionSet, format: WeightFormat, terms: [Term<'_>; 2], finish: Finish<'_>) {
    match format {
        WeightFormat::F32 => set.run(Product::<false> { terms, finish }),
        WeightFormat::Bf16 => set.run(Product::<true> { terms, finish }),
    }
}
