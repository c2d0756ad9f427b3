//! Rotary position embedding (Su et al. 2021): dimension `i` of a head turns together with dimension `i + d/2`.

/// Sines and cosines of every position.
pub(crate) struct Rotary {
    half: usize,
    /// For each position, `half` cosines and then as many sines.
    table: Vec<f32>,
}

impl Rotary {
    /// Tables for `positions` positions of heads of `head_dim` dimensions.
    pub(crate) fn new(head_dim: usize, base: f32, positions: usize) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / base.powf(2.0 * i as f32 / head_dim as f32)).collect();
        let mut table = Vec::with_capacity(positions * head_dim);
        for position in 0..positions {
            let angles = || frequencies.iter().map(|frequency| position as f32 * frequency);
            table.extend(angles().map(f32::cos));
            table.extend(angles().map(f32::sin));
        }
        Self { half, table }
    }

    /// Turns every head of `row` to `position`, which must be below the tables' length.
    pub(crate) fn turn(&self, row: &mut [f32], position: usize) {
        let width = 2 * self.half;
        let (cosines, sines) = self.table[position * width..(position + 1) * width].split_at(self.half);
        for head in row.chunks_exact_mut(width) {
            let (first, second) = head.split_at_mut(self.half);
            for (((x, y), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                (*x, *y) = (*x * cosine - *y * sine, *y * cosine + *x * sine);
            }
        }
    }
}
