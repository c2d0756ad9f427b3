//! Products of quantised rows with a packed matrix of bytes: a tile of sums stays in registers over a whole group.

use super::{QuantisedMatrix, QuantisedRows, STEP};
use crate::finish::{Finish, Place, TILE, Waiting};
use crate::instructions::Kernel;
use crate::packed::{PANEL, VECTORS};
use crate::simd::Simd;

/// A product with what happens to it at the end. The operands fit each other.
pub(super) struct Product<'a> {
    pub(super) x: &'a QuantisedRows,
    pub(super) matrix: &'a QuantisedMatrix,
    pub(super) finish: Finish<'a>,
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl Kernel for Product<'_> {
    type Output = ();
    const BRAIN_FLOATS: bool = false;
    const BYTES: bool = true;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut waiting: Waiting = [[0.0; PANEL]; TILE];
        let all = self.finish.columns();
        for column in (0..all).step_by(S::VECTORS * S::LANES) {
            let place = Place { row: 0, column, columns: all - column };
            // SAFETY: passed on from the caller.
            unsafe {
                match S::VECTORS {
                    2 => self.rows::<S, 2>(place, &mut waiting),
                    _ => self.rows::<S, 3>(place, &mut waiting),
                }
            }
        }
    }
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl Product<'_> {
    #[inline(always)]
    unsafe fn rows<S: Simd, const NV: usize>(&self, mut place: Place, waiting: &mut Waiting) {
        while place.row < self.finish.rows() {
            let rows = (self.finish.rows() - place.row).min(S::BYTE_ROWS);
            // SAFETY: the tile's rows never exceed the result's.
            unsafe {
                match rows {
                    1 => self.tile::<S, 1, NV>(place, waiting),
                    2 => self.tile::<S, 2, NV>(place, waiting),
                    3 => self.tile::<S, 3, NV>(place, waiting),
                    4 => self.tile::<S, 4, NV>(place, waiting),
                    5 if S::BYTE_ROWS >= 5 => self.tile::<S, 5, NV>(place, waiting),
                    6 if S::BYTE_ROWS >= 6 => self.tile::<S, 6, NV>(place, waiting),
                    7 if S::BYTE_ROWS >= 7 => self.tile::<S, 7, NV>(place, waiting),
                    8 if S::BYTE_ROWS >= 8 => self.tile::<S, 8, NV>(place, waiting),
                    _ => {}
                }
                self.finish.activate(rows, place, waiting);
            }
            place.row += rows;
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(&self, place: Place, waiting: &mut Waiting) {
        let groups = self.matrix.groups();
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = self.finish.begin::<S, MR, NV>(place);
            if groups == 1 {
                self.group::<S, MR, NV>(&mut sums, 0, place);
            } else {
                for group in 0..groups {
                    self.group::<S, MR, NV>(&mut sums, group, place);
                }
            }
            self.finish.take::<S, MR, NV>(sums, place, waiting);
        }
    }

    /// Adds the products of one group.
    #[inline(always)]
    unsafe fn group<S: Simd, const MR: usize, const NV: usize>(
        &self,
        sums: &mut [[S::Floats; NV]; MR],
        group: usize,
        place: Place,
    ) {
        let Self { x, matrix, .. } = self;
        let (groups, steps, stride) = (matrix.groups(), matrix.steps(), x.stride());
        let (panel, column) = (place.column / PANEL, place.column % PANEL);
        let first = group * matrix.group / STEP;
        let count = (matrix.group.div_ceil(STEP)).min(steps - first);
        // SAFETY: the matrix has its panels' steps, scales and sums for all columns of the result, and rows as many steps.
        unsafe {
            let lines = matrix.lines.as_ptr().add((panel * steps + first) * VECTORS).cast::<i32>().add(column);
            let of_columns = (panel * groups + group) * PANEL + column;
            let bytes = x.bytes.as_ptr().add(place.row * stride + first * STEP);
            let of_rows = place.row * groups + group;
            // Σ q·q − zero·Σ q.
            let column_sums: [S::Integers; NV] = std::array::from_fn(|vector| {
                S::load_integers(matrix.sums.as_ptr().add(of_columns + vector * S::LANES))
            });
            let mut products = [column_sums; MR];
            for (row, products) in products.iter_mut().enumerate() {
                let zero = *x.zeros.as_ptr().add(of_rows + row * groups);
                let zero = S::splat_integer(if S::CENTRED_BYTES { 128 - zero } else { -zero });
                for product in products {
                    *product = S::multiply_integers(zero, *product);
                }
            }
            for step in 0..count {
                let line = lines.add(step * PANEL);
                let weights: [S::Integers; NV] =
                    std::array::from_fn(|vector| S::load_integers(line.add(vector * S::LANES)));
                for (row, products) in products.iter_mut().enumerate() {
                    let x = S::splat_integer(bytes.add(row * stride + step * STEP).cast::<i32>().read_unaligned());
                    for (sum, &weights) in products.iter_mut().zip(&weights) {
                        *sum = S::add_byte_products(*sum, x, weights);
                    }
                }
            }
            let scales: [S::Floats; NV] =
                std::array::from_fn(|vector| S::load(matrix.scales.as_ptr().add(of_columns + vector * S::LANES)));
            for (row, (sums, products)) in sums.iter_mut().zip(products).enumerate() {
                let scale = S::splat(*x.scales.as_ptr().add(of_rows + row * groups));
                for ((sum, product), &of_column) in sums.iter_mut().zip(products).zip(&scales) {
                    *sum = S::multiply_add(S::multiply(S::to_floats(product), of_column), scale, *sum);
                }
            }
        }
    }
}
