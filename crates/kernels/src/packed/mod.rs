//! Matrices packed for the product y = x·Wᵀ: panels of 48 output columns, each the depth long.
//!
//! A panel is a run of steps. A step holds one 32-bit number for each of the 48 columns: an `f32`, or two brain floats that
//! lie next to each other in depth, which is what the processor's brain-float product takes. Missing columns and an odd
//! last depth are filled with zeros. Every instruction set reads the same layout.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod panels;
mod portable;

use half::bf16;
use rayon::prelude::*;

use crate::element::{Element, Rows, RowsMut, WeightFormat, convert};
use crate::epilogue::Epilogue;
use crate::instructions::{InstructionSet, Level};

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
        epilogue.check(y.columns);
        let (rows, columns) = (y.rows, y.columns);
        let mut sums = vec![0.0; rows * columns];
        self.product(x, None, RowsMut::dense(&mut sums, rows, columns), false);
        for (row, sums) in sums.chunks_exact_mut(columns.max(1)).enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum += epilogue.bias.map_or(0.0, |bias| bias[column]);
                *sum = epilogue.activation.map_or(*sum, |activation| activation.at::<false>(*sum));
            }
            convert(self.instructions, sums, &mut y.values[row * y.stride..][..columns]);
        }
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
        let Self { matrix, panel, step } = *self;
        assert!(E::FORMAT == matrix.format, "rows and weights of a product have different formats");
        let fits = step + matrix.steps(x.columns) <= matrix.steps(matrix.k) && panel * PANEL + y.columns <= matrix.n;
        assert!(x.rows == y.rows && fits, "operands of a product do not fit");
        if let Some(LowRank { x: second, weights }) = &low_rank {
            let fits = weights.n == matrix.n && weights.format == matrix.format;
            assert!(fits && second.rows == x.rows && second.columns <= weights.k, "a low-rank product does not fit");
        }
        if y.rows == 0 || y.columns == 0 {
            return;
        }
        match matrix.instructions.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 if matrix.format == WeightFormat::Bf16 => self.product_avx512(x, low_rank, y, accumulate),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16
                if matrix.format == WeightFormat::F32 && O::FORMAT == WeightFormat::F32 =>
            {
                self.product_avx512(x, low_rank, y, accumulate);
            }
            _ => self.product_portable(x, low_rank, y, accumulate),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn product_avx512<E: Element, O: Element>(
        &self,
        x: Rows<'_, E>,
        low_rank: Option<LowRank<'_, E>>,
        y: RowsMut<'_, O>,
        accumulate: bool,
    ) {
        use avx512::{Block, Left, Target};
        assert!(!(accumulate && O::FORMAT == WeightFormat::Bf16), "sums are kept in f32");
        let matrix = self.matrix;
        let left = |x: &Rows<'_, E>, steps: usize| {
            let last = x.rows.saturating_sub(1) * x.stride * size_of::<E>() + steps * 4;
            assert!(
                x.rows == 0 || last <= size_of_val(x.values),
                "the last row of a product's left operand has no pair"
            );
            Left { rows: x.values.as_ptr().cast::<u8>(), stride: x.stride * size_of::<E>(), steps }
        };
        let first = left(&x, matrix.steps(x.columns));
        let second = low_rank.as_ref().map(|term| left(&term.x, term.weights.steps(term.x.columns)));
        let nothing = Left { steps: 0, ..first };
        for index in 0..y.columns.div_ceil(PANEL) {
            let lines = matrix.panel(self.panel + index, self.step).as_ptr();
            let terms = match (&second, &low_rank) {
                (Some(second), Some(term)) => {
                    [(first, lines), (*second, term.weights.panel(self.panel + index, 0).as_ptr())]
                }
                _ => [(first, lines), (nothing, lines)],
            };
            let column = index * PANEL;
            let values = y.values[column..].as_mut_ptr();
            let target = match (O::FORMAT, accumulate) {
                (WeightFormat::F32, false) => Target::F32(values.cast()),
                (WeightFormat::F32, true) => Target::Add(values.cast()),
                (WeightFormat::Bf16, _) => Target::Bf16(values.cast()),
            };
            let block = Block { target, stride: y.stride, rows: y.rows, columns: (y.columns - column).min(PANEL) };
            // SAFETY: `left` checked the rows, panels have the steps of their matrix's depth, which is no less than the
            // operands', and `RowsMut` checked the target; the instruction set exists only where the processor has it.
            #[expect(unsafe_code, reason = "kernels on raw pointers into operands whose extent is checked above")]
            unsafe {
                match matrix.format {
                    WeightFormat::F32 => avx512::panel_f32(terms, block),
                    WeightFormat::Bf16 => avx512::panel_bf16(terms, block),
                }
            }
        }
    }
}
