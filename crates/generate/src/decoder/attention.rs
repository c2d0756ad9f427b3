//! Causal attention of the newest tokens of a sequence over all of it.

use anser_kernels::{Matrix, MatrixMut, matmul};
use rayon::prelude::*;

use crate::config::LlamaConfig;

/// The attention output of `rows` tokens, `[rows, query width]`. Queries lie `stride` apart in `queries`; `keys` and
/// `values` (`[length, kv width]`) end with these tokens' own.
pub(crate) fn attend(
    config: &LlamaConfig,
    queries: &[f32],
    stride: usize,
    rows: usize,
    (keys, values): (&[f32], &[f32]),
) -> Vec<f32> {
    let (dim, kv_width) = (config.head_dim, config.kv_width());
    let length = keys.len() / kv_width;
    let group = config.heads / config.kv_heads;
    let scale = 1.0 / (dim as f32).sqrt();
    let one = |(head, out): (usize, &mut [f32])| {
        let shared = head / group * dim;
        let mut scores = vec![0.0; rows * length];
        matmul(
            Matrix::strided(&queries[head * dim..], rows, dim, stride),
            Matrix::strided(&keys[shared..], length, dim, kv_width).transposed(),
            MatrixMut::new(&mut scores, rows, length),
            false,
        );
        for (row, scores) in scores.chunks_exact_mut(length).enumerate() {
            softmax(scores, length - rows + row + 1, scale);
        }
        matmul(
            Matrix::new(&scores, rows, length),
            Matrix::strided(&values[shared..], length, dim, kv_width),
            MatrixMut::new(out, rows, dim),
            false,
        );
    };
    // Heads are computed apart, [heads][rows][dim], and then put side by side.
    let mut heads = vec![0.0; rows * config.query_width()];
    heads.par_chunks_exact_mut(rows * dim).enumerate().for_each(one);
    if rows == 1 {
        return heads;
    }
    let mut joined = vec![0.0; heads.len()];
    for (head, values) in heads.chunks_exact(rows * dim).enumerate() {
        for (row, values) in joined.chunks_exact_mut(config.query_width()).zip(values.chunks_exact(dim)) {
            row[head * dim..(head + 1) * dim].copy_from_slice(values);
        }
    }
    joined
}

/// Softmax of the first `seen` scores times `scale`; the others become 0.
fn softmax(scores: &mut [f32], seen: usize, scale: f32) {
    let (scores, unseen) = scores.split_at_mut(seen);
    unseen.fill(0.0);
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = ((*score - highest) * scale).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_sees_itself_and_those_before_it() {
        let mut scores = [1.0, 3.0, 9.0];
        softmax(&mut scores, 2, 0.5);
        assert!((scores[0] - 0.268_941_4).abs() < 1e-6 && (scores[1] - 0.731_058_6).abs() < 1e-6);
        assert_eq!(scores[2].to_bits(), 0);
    }
}
