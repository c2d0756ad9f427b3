//! Dropout from a counter instead of a stream: the same key drops the same numbers, so that a backward pass needs no mask.

use crate::element::Element;
use crate::instructions::versions;

/// Which numbers of a row are dropped, and what the others are scaled by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutRow {
    key: u32,
    threshold: u32,
    scale: f32,
}

impl DropoutRow {
    /// Drops a share `rate` in [0, 1) of the numbers of the row that `key` stands for, and scales the rest by
    /// 1 / (1 − rate). Bits of `key` should differ a lot from row to row.
    pub fn new(rate: f32, key: u64) -> Self {
        let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
        Self { key: (mix(key) >> 32) as u32, threshold, scale: 1.0 / (1.0 - rate) }
    }

    /// The factor of a column: 0 or the scale.
    #[inline(always)]
    fn factor(&self, column: usize) -> f32 {
        // The finaliser of MurmurHash3 (Appleby) on a counter.
        let mut bits = self.key ^ (column as u32).wrapping_mul(0x9e37_79b9);
        bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
        bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
        bits ^= bits >> 16;
        if bits < self.threshold { 0.0 } else { self.scale }
    }
}

/// `SplitMix64` (Steele, Lea and Flood 2014): spreads a counter over all bits.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[inline(always)]
fn drop_out_body<E: Element, const FMA: bool>(row: DropoutRow, x: &[E], out: &mut [E]) {
    for (column, (out, x)) in out.iter_mut().zip(x).enumerate() {
        *out = E::from_f32(x.to_f32() * row.factor(column));
    }
}

versions! {
    /// Writes the row `x` with some numbers dropped.
    pub fn drop_out<E>(row: DropoutRow, x: &[E], out: &mut [E]) = drop_out_body
}

#[inline(always)]
fn add_dropped_out_body<const FMA: bool>(row: DropoutRow, x: &[f32], out: &mut [f32]) {
    for (column, (out, x)) in out.iter_mut().zip(x).enumerate() {
        *out += x * row.factor(column);
    }
}

versions! {
    /// Adds the row `x` with the same numbers dropped to `out`: the gradient's way.
    pub fn add_dropped_out(row: DropoutRow, x: &[f32], out: &mut [f32]) = add_dropped_out_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    #[test]
    fn the_dropped_share_and_the_mean_are_as_asked() {
        let x = vec![1.0_f32; 1000];
        let mut out = vec![0.0; 1000];
        let (mut dropped, mut sum) = (0, 0.0);
        for key in 0..200 {
            drop_out(InstructionSet::best(), DropoutRow::new(0.3, key), &x, &mut out);
            dropped += out.iter().filter(|&&value| value == 0.0).count();
            sum += out.iter().sum::<f32>();
        }
        assert!((dropped as f64 / 200_000.0 - 0.3).abs() < 0.01, "{dropped} of 200000 dropped");
        assert!((f64::from(sum) / 200_000.0 - 1.0).abs() < 0.01, "mean {sum}");
    }

    #[test]
    fn every_path_drops_the_same_and_the_backward_pass_too() {
        let x: Vec<f32> = (1_u8..=77).map(f32::from).collect();
        let row = DropoutRow::new(0.5, 42);
        let mut first = vec![0.0; 77];
        drop_out(InstructionSet::best(), row, &x, &mut first);
        for set in InstructionSet::available() {
            let (mut out, mut added) = (vec![0.0; 77], vec![1.0; 77]);
            drop_out(set, row, &x, &mut out);
            add_dropped_out(set, row, &x, &mut added);
            assert_eq!(out, first, "{}", set.name());
            assert!(
                added.iter().zip(&out).all(|(added, out)| added.to_bits() == (out + 1.0).to_bits()),
                "{}",
                set.name()
            );
        }
        let mut other = vec![0.0; 77];
        drop_out(InstructionSet::best(), DropoutRow::new(0.5, 43), &x, &mut other);
        assert_ne!(first, other);
    }
}
