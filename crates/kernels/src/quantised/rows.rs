//! Rows of activations in unsigned bytes.

use super::{STEP, whole_group};
use crate::element::{Element, Rows};
use crate::instructions::{InstructionSet, versions};

/// Groups whose numbers are all closer to zero than this count as zeros: the inverse of their scale would overflow.
pub(super) const SMALLEST: f32 = 1e-30;
/// Steps of a byte, with room for the roundings on the way, so that the greatest number never becomes 256.
const LEVELS: f32 = 254.98;
/// Adding 1.5·2^23 rounds to the nearest integer and leaves it in the lowest bits.
const ROUND: f32 = 12_582_912.0;

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
        quantise(set, x, self);
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

#[inline(always)]
fn quantise_body<E: Element, const FMA: bool>(x: Rows<'_, E>, out: &mut QuantisedRows) {
    let (group, stride) = (out.group, out.stride());
    let mut places = out.scales.iter_mut().zip(&mut out.zeros);
    for row in 0..x.rows {
        let bytes = &mut out.bytes[row * stride..(row + 1) * stride];
        for (numbers, bytes) in x.row(row).chunks(group).zip(bytes.chunks_mut(group.next_multiple_of(STEP))) {
            let (mut low, mut high, mut finite) = (0.0_f32, 0.0_f32, true);
            for number in numbers {
                let number = number.to_f32();
                (low, high) = (low.min(number), high.max(number));
                finite &= number.is_finite();
            }
            let range = high - low;
            let inverse = if range > SMALLEST { LEVELS / range } else { 0.0 };
            let zero = (-low * inverse).round_ties_even();
            for (byte, number) in bytes.iter_mut().zip(numbers) {
                let shifted = number.to_f32() * inverse + (zero + ROUND);
                *byte = shifted.to_bits() as u8;
            }
            bytes[numbers.len()..].fill(0);
            if let Some((scale, place)) = places.next() {
                *scale = if finite { if range > SMALLEST { range / LEVELS } else { 0.0 } } else { f32::NAN };
                *place = zero as i32;
            }
        }
    }
}

versions! {
    fn quantise<E>(x: Rows<'_, E>, out: &mut QuantisedRows) = quantise_body
}
