//! Products of rows with packed panels: a tile of the result stays in registers over the whole depth.

use super::{Line, PANEL};
use crate::finish::{Finish, Place, TILE, Waiting};
use crate::instructions::Kernel;
use crate::simd::Simd;

/// A left operand with the panels it is multiplied with: rows of 32-bit steps, each one `f32` or a pair of brain floats.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    /// The first row.
    pub(super) rows: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// Steps of a row.
    pub(super) steps: usize,
    /// From the first step of the first panel on.
    pub(super) lines: &'a [Line],
    /// Lines from one panel to the next.
    pub(super) panel: usize,
}

/// The sum of two products, the second of which may have no steps; of brain floats with `BRAIN`, else of `f32`.
pub(super) struct Product<'a, const BRAIN: bool> {
    /// Each left operand has as many readable rows as the result, and lines for all of the result's columns.
    pub(super) terms: [Term<'a>; 2],
    pub(super) finish: Finish<'a>,
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl<const BRAIN: bool> Kernel for Product<'_, BRAIN> {
    type Output = ();
    const BRAIN_FLOATS: bool = BRAIN;
    const BYTES: bool = false;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut waiting: Waiting = [[0.0; PANEL]; TILE];
        let all = self.finish.columns();
        for column in (0..all).step_by(S::VECTORS * S::LANES) {
            let place = Place { row: 0, column, columns: all - column };
            // SAFETY: passed on from the caller; fewer vectors only for columns that the result does not have.
            unsafe {
                match place.columns.div_ceil(S::LANES).min(S::VECTORS) {
                    1 => self.rows::<S, 1>(place, &mut waiting),
                    2 => self.rows::<S, 2>(place, &mut waiting),
                    3 if S::VECTORS == 3 => self.rows::<S, 3>(place, &mut waiting),
                    _ => {}
                }
            }
        }
    }
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl<const BRAIN: bool> Product<'_, BRAIN> {
    #[inline(always)]
    unsafe fn rows<S: Simd, const NV: usize>(&self, mut place: Place, waiting: &mut Waiting) {
        while place.row < self.finish.rows() {
            let rows = (self.finish.rows() - place.row).min(S::ROWS);
            // SAFETY: the tile's rows never exceed the result's.
            unsafe {
                match rows {
                    1 => self.tile::<S, 1, NV>(place, waiting),
                    2 => self.tile::<S, 2, NV>(place, waiting),
                    3 => self.tile::<S, 3, NV>(place, waiting),
                    4 => self.tile::<S, 4, NV>(place, waiting),
                    5 if S::ROWS >= 5 => self.tile::<S, 5, NV>(place, waiting),
                    6 if S::ROWS >= 6 => self.tile::<S, 6, NV>(place, waiting),
                    7 if S::ROWS >= 7 => self.tile::<S, 7, NV>(place, waiting),
                    8 if S::ROWS >= 8 => self.tile::<S, 8, NV>(place, waiting),
                    _ => {}
                }
                self.finish.activate(rows, place, waiting);
            }
            place.row += rows;
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(&self, place: Place, waiting: &mut Waiting) {
        // SAFETY: whoever made the product promises readable steps and lines, and the caller a tile inside the result.
        unsafe {
            let mut sums = self.finish.begin::<S, MR, NV>(place);
            for term in &self.terms {
                let first = term.rows.add(place.row * term.stride);
                let lines = term.lines.as_ptr().add(place.column / PANEL * term.panel).cast::<f32>();
                let lines = lines.add(place.column % PANEL);
                for step in 0..term.steps {
                    add_step::<S, BRAIN, MR, NV>(&mut sums, lines.add(step * PANEL), first.add(step * 4), term.stride);
                }
            }
            self.finish.take::<S, MR, NV>(sums, place, waiting);
        }
    }
}

/// Adds the products of one step of `MR` rows with one step of `NV` vectors of a panel.
///
/// # Safety
/// The processor has the instructions of `S`; rows and line are readable.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
unsafe fn add_step<S: Simd, const BRAIN: bool, const MR: usize, const NV: usize>(
    sums: &mut [[S::Floats; NV]; MR],
    line: *const f32,
    first: *const u8,
    stride: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        if !BRAIN {
            let weights: [S::Floats; NV] = std::array::from_fn(|vector| S::load(line.add(vector * S::LANES)));
            let x = |row: usize| S::splat(first.add(row * stride).cast::<f32>().read_unaligned());
            return multiply::<S, MR, NV>(sums, x, weights);
        }
        let pairs: [S::Integers; NV] =
            std::array::from_fn(|vector| S::load_integers(line.add(vector * S::LANES).cast()));
        let x = |row: usize| first.add(row * stride).cast::<i32>().read_unaligned();
        if S::BRAIN_FLOATS {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = S::splat_integer(x(row));
                for (sum, &pairs) in sums.iter_mut().zip(&pairs) {
                    *sum = S::add_brain_products(*sum, x, pairs);
                }
            }
            return;
        }
        // All lower halves before all upper ones: only one of them need be in registers.
        let x = |row: usize| S::splat_integer(x(row));
        multiply::<S, MR, NV>(sums, |row| S::lower(x(row)), pairs.map(|pairs| S::lower(pairs)));
        multiply::<S, MR, NV>(sums, |row| S::upper(x(row)), pairs.map(|pairs| S::upper(pairs)));
    }
}

/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
#[expect(unsafe_code, reason = "vector instructions; the caller promises that the processor has them")]
unsafe fn multiply<S: Simd, const MR: usize, const NV: usize>(
    sums: &mut [[S::Floats; NV]; MR],
    x: impl Fn(usize) -> S::Floats,
    weights: [S::Floats; NV],
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: passed on from the caller.
        unsafe {
            let x = x(row);
            for (sum, &weights) in sums.iter_mut().zip(&weights) {
                *sum = S::multiply_add(x, weights, *sum);
            }
        }
    }
}
