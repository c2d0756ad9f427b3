//! Rows of activations in unsigned bytes.

use super::{STEP, whole_group};
use crate::element::{Element, Rows, WeightFormat};
use crate::exponential::ROUND;
use crate::instructions::{InstructionSet, Kernel};
use crate::simd::Simd;

/// Groups whose numbers are all closer to zero than this count as zeros: the inverse of their scale would overflow.
pub(super) const SMALLEST: f32 = 1e-30;
/// Steps of a byte, with room for the roundings on the way, so that the greatest number never becomes 256.
const LEVELS: f32 = 254.98;

/// Activations [rows, k] in unsigned bytes with a scale and a zero point for each row and group of columns:
/// x = scale·(byte - zero). A group that holds a number that is not finite becomes NaN in every product.
#[derive(Debug, Clone, Default)]
pub struct QuantisedRows {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) group: usize,
    /// Rows of whole steps, filled up with bytes whose weights are zero.
    pub(super) bytes: Vec<u8>,
    /// For each row and group.
    pub(super) scales: Vec<f32>,
    /// For each row and group.
    pub(super) zeros: Vec<i32>,
}

impl QuantisedRows {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that are held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Quantises `x`, with a scale for each row and `group` columns, as [`super::QuantisedMatrix::pack`] groups them. Memory
    /// is reused.
    pub fn assign<E: Element>(&mut self, set: InstructionSet, x: Rows<'_, E>, group: usize) {
        let group = whole_group(group, x.columns);
        let groups = x.columns.div_ceil(group);
        (self.rows, self.columns, self.group) = (x.rows, x.columns, group);
        self.bytes.resize(x.rows * self.stride(), 0);
        self.scales.resize(x.rows * groups, 0.0);
        self.zeros.resize(x.rows * groups, 0);
        quantise(set, x.values.as_ptr().cast(), (E::FORMAT, x.stride), self);
    }

    /// Bytes of a row.
    pub(super) fn stride(&self) -> usize {
        self.columns.next_multiple_of(STEP)
    }

    pub(super) fn row_bytes(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride()..(row + 1) * self.stride()]
    }

    /// One row, as it is after rounding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.columns, "row {row} of rows [{}, {}]", self.rows, self.columns);
        let groups = out.chunks_mut(self.group).zip(self.row_bytes(row).chunks(self.group));
        for (group, (out, bytes)) in groups.enumerate() {
            let (scale, zero) = self.scale(row, group);
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = scale * (i32::from(*byte) - zero) as f32;
            }
        }
    }

    pub(super) fn scale(&self, row: usize, group: usize) -> (f32, i32) {
        let place = row * self.columns.div_ceil(self.group) + group;
        (self.scales[place], self.zeros[place])
    }
}

// Not generic, so that the kernel is compiled here and not in the crates that call it.
fn quantise(set: InstructionSet, numbers: *const u8, (format, stride): (WeightFormat, usize), out: &mut QuantisedRows) {
    set.run(Quantisation { numbers, format, stride, out });
}

/// Vectors whose extremes are looked for side by side, so that none waits for another.
const TOGETHER: usize = 4;

/// The quantisation of some rows.
struct Quantisation<'a> {
    /// The first number of the first row.
    numbers: *const u8,
    format: WeightFormat,
    /// Numbers from one row to the next.
    stride: usize,
    /// Has the rows' bytes, scales and zero points.
    out: &'a mut QuantisedRows,
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl Kernel for Quantisation<'_> {
    type Output = ();
    const BRAIN_FLOATS: bool = false;
    const BYTES: bool = false;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: passed on from the caller.
        unsafe {
            match self.format {
                WeightFormat::F32 => self.rows::<S, false>(),
                WeightFormat::Bf16 => self.rows::<S, true>(),
            }
        }
    }
}

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl Quantisation<'_> {
    /// # Safety
    /// The processor has the instructions of `S`; the rows are readable.
    #[inline(always)]
    unsafe fn rows<S: Simd, const BRAIN: bool>(self) {
        let Self { numbers, stride, out, .. } = self;
        let (width, length) = (out.stride(), if BRAIN { 2 } else { 4 });
        let groups = out.columns.div_ceil(out.group);
        for row in 0..out.rows {
            for group in 0..groups {
                let first = group * out.group;
                let count = (out.columns - first).min(out.group);
                let bytes = &mut out.bytes[row * width + first..(row + 1) * width];
                // SAFETY: the numbers of the group lie in the row, and there are bytes for them.
                unsafe {
                    let numbers = Numbers::<BRAIN>(numbers.add((row * stride + first) * length), count);
                    let (scale, inverse, zero) = numbers.scale::<S>();
                    numbers.quantise::<S>(inverse, zero, bytes.as_mut_ptr());
                    out.scales[row * groups + group] = scale;
                    out.zeros[row * groups + group] = zero as i32;
                }
                if group + 1 == groups {
                    bytes[count..].fill(0);
                }
            }
        }
    }
}

/// Where the numbers of a group lie, and how many there are; brain floats or `f32`.
#[derive(Clone, Copy)]
struct Numbers<const BRAIN: bool>(*const u8, usize);

#[expect(unsafe_code, reason = "raw pointers into checked slices, and vector instructions")]
impl<const BRAIN: bool> Numbers<BRAIN> {
    /// A vector of the numbers from `at` on.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and all of the vector's numbers are there.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the pointer comes from a slice of this format")]
    unsafe fn load<S: Simd>(self, at: usize) -> S::Floats {
        // SAFETY: passed on from the caller.
        unsafe {
            if BRAIN { S::load_brain(self.0.cast::<u16>().add(at)) } else { S::load(self.0.cast::<f32>().add(at)) }
        }
    }

    /// A vector of the last numbers, from `at` on; those that are missing are zero.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and fewer than a vector's numbers are there.
    #[inline(always)]
    #[expect(clippy::cast_ptr_alignment, reason = "the pointer comes from a slice of this format")]
    unsafe fn load_last<S: Simd>(self, at: usize) -> S::Floats {
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe {
            let rest = self.1 - at;
            if !BRAIN {
                return S::load_some(self.0.cast::<f32>().add(at), rest);
            }
            let mut lanes = [0_u16; 16];
            std::ptr::copy_nonoverlapping(self.0.cast::<u16>().add(at), lanes.as_mut_ptr(), rest);
            S::load_brain(lanes.as_ptr())
        }
    }

    /// The scale, its inverse and the zero point.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and the numbers are there.
    #[inline(always)]
    unsafe fn scale<S: Simd>(self) -> (f32, f32, f32) {
        // SAFETY: passed on from the caller.
        unsafe {
            let nothing = S::splat(0.0);
            let (mut lows, mut highs, mut faults) = ([nothing; TOGETHER], [nothing; TOGETHER], [nothing; TOGETHER]);
            let together = self.1 / (TOGETHER * S::LANES) * (TOGETHER * S::LANES);
            let whole = self.1 / S::LANES * S::LANES;
            let mut take = |numbers: S::Floats, place: usize| {
                lows[place] = S::min(lows[place], numbers);
                highs[place] = S::max(highs[place], numbers);
                // Zero, unless a number is not finite.
                faults[place] = S::multiply_add(numbers, nothing, faults[place]);
            };
            for at in (0..together).step_by(TOGETHER * S::LANES) {
                for place in 0..TOGETHER {
                    take(self.load::<S>(at + place * S::LANES), place);
                }
            }
            for at in (together..whole).step_by(S::LANES) {
                take(self.load::<S>(at), 0);
            }
            if whole < self.1 {
                take(self.load_last::<S>(whole), 0);
            }
            let low = S::least(S::min(S::min(lows[0], lows[1]), S::min(lows[2], lows[3])));
            let high = S::greatest(S::max(S::max(highs[0], highs[1]), S::max(highs[2], highs[3])));
            let faulty = S::any_nan(S::add(S::add(faults[0], faults[1]), S::add(faults[2], faults[3])));
            let range = high - low;
            if faulty {
                (f32::NAN, 0.0, 0.0)
            } else if range > SMALLEST {
                let inverse = LEVELS / range;
                (range / LEVELS, inverse, (-low * inverse).round_ties_even())
            } else {
                (0.0, 0.0, 0.0)
            }
        }
    }

    /// Writes a byte for each number.
    ///
    /// # Safety
    /// The processor has the instructions of `S`; the numbers are there, and room for as many bytes.
    #[inline(always)]
    unsafe fn quantise<S: Simd>(self, inverse: f32, zero: f32, bytes: *mut u8) {
        // SAFETY: passed on from the caller; no vector has more than 16 lanes.
        unsafe {
            let (inverse, shift) = (S::splat(inverse), S::splat(zero + ROUND));
            let whole = self.1 / S::LANES * S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                // Two roundings, so that every instruction set gets the same bytes.
                let shifted = S::add(S::multiply(self.load::<S>(at), inverse), shift);
                S::store_bytes(bytes.add(at), shifted);
            }
            if whole < self.1 {
                let mut lanes = [0_u8; 16];
                let shifted = S::add(S::multiply(self.load_last::<S>(whole), inverse), shift);
                S::store_bytes(lanes.as_mut_ptr(), shifted);
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), bytes.add(whole), self.1 - whole);
            }
        }
    }
}
