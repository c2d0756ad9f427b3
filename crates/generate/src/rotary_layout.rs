//! The two orders in which files keep the rows of query and key projections.
//!
//! A rotary embedding turns pairs of a head's dimensions. Hugging Face pairs dimension `i` with `i + d/2`; llama's own
//! code, and GGUF files with it, pair `2i` with `2i + 1`, and the converter moves the rows of q and k to match.

/// Which way to move the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From neighbouring pairs (GGUF) to halves (Hugging Face).
    FromGguf,
    /// From halves to neighbouring pairs.
    ToGguf,
}

/// The rows (of `columns` values each) of a query or key projection with heads of `head_dim` rows, in the other order.
pub(crate) fn reorder_rows(values: &[f32], head_dim: usize, columns: usize, direction: Direction) -> Vec<f32> {
    let half = head_dim / 2;
    let mut moved = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * columns) {
        for row in 0..head_dim {
            let from = match direction {
                Direction::FromGguf => 2 * (row % half) + row / half,
                Direction::ToGguf => (row % 2) * half + row / 2,
            };
            moved.extend_from_slice(&head[from * columns..(from + 1) * columns]);
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_direction_undoes_the_other() {
        let values: Vec<f32> = (0..2 * 6 * 3).map(|value| value as f32).collect();
        let halves = reorder_rows(&values, 6, 3, Direction::FromGguf);
        assert_ne!(halves, values);
        assert_eq!(reorder_rows(&halves, 6, 3, Direction::ToGguf), values);
        // Rows 0, 2, 4 of the first head come first, then 1, 3, 5; the second head follows.
        let firsts: Vec<f32> = halves.iter().step_by(3).copied().collect();
        assert_eq!(firsts, [0., 6., 12., 3., 9., 15., 18., 24., 30., 21., 27., 33.]);
    }
}
