//! The directions along which vectors are longest, and work on matrices that cannot look at a cancel token itself.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anser_core::CancelToken;
use anser_kernels::{Matrix, MatrixMut, PackedMatrix, WeightFormat, matmul};
use nalgebra::DMatrix;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::vectors::Vectors;
use crate::{IndexError, Result};

/// Rows whose products are summed in f32 before they are added up in f64.
const PIECE: usize = 256;
/// Numbers of products that are in memory at once.
const PRODUCTS: usize = 1 << 25;
/// Rows that are projected between two looks at the cancel token.
const PROJECTED: usize = 16_384;
/// Rounds of the subspace iteration; the directions need not be exact.
const ROUNDS: usize = 4;
/// Between two looks at the cancel token.
const LOOK: Duration = Duration::from_millis(30);

/// `XᵀX` of the vectors X. Pieces are added in order, so the result does not depend on the threads.
pub(super) fn gram(vectors: &Vectors, cancel: &CancelToken) -> Result<DMatrix<f64>> {
    let d = vectors.dimension();
    let mut sum = DMatrix::<f64>::zeros(d, d);
    let at_once = (PRODUCTS / (d * d)).clamp(2, 64);
    for pieces in vectors.as_slice().chunks(at_once * PIECE * d) {
        let products = pieces.par_chunks(PIECE * d).map(|piece| {
            cancel.check()?;
            let rows = Matrix::new(piece, piece.len() / d, d);
            let mut product = vec![0.0_f32; d * d];
            matmul(rows.transposed(), rows, MatrixMut::new(&mut product, d, d), false);
            Ok(product)
        });
        for product in products.collect::<anser_core::Result<Vec<_>>>()? {
            sum.iter_mut().zip(product).for_each(|(sum, value)| *sum += f64::from(value));
        }
    }
    Ok(sum)
}

/// Nearly the first `count` eigenvectors of a Gram matrix, orthonormal, as rows one after another: subspace iteration
/// from a start drawn by `seed` (Golub and Van Loan, "Matrix Computations", section 8.2.4).
pub(super) fn leading_directions(
    gram: &DMatrix<f64>,
    count: usize,
    seed: u64,
    cancel: &CancelToken,
) -> Result<Vec<f32>> {
    let d = gram.nrows();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut basis = DMatrix::<f64>::from_fn(d, count.min(d), |_, _| random.random_range(-1.0..1.0));
    orthonormalise(&mut basis, &mut random);
    for _ in 0..ROUNDS {
        cancel.check()?;
        basis = gram * basis;
        orthonormalise(&mut basis, &mut random);
    }
    Ok(basis.iter().map(|value| *value as f32).collect())
}

/// Gram-Schmidt, twice over each column. A column that depends on those before it is drawn anew.
fn orthonormalise(basis: &mut DMatrix<f64>, random: &mut ChaCha8Rng) {
    for at in 0..basis.ncols() {
        for _ in 0..3 {
            let before = basis.column(at).norm();
            for _ in 0..2 {
                for other in 0..at {
                    let (others, mut column) = basis.columns_range_pair_mut(other..=other, at..=at);
                    let along = others.dot(&column);
                    column.zip_apply(&others, |value, other| *value -= along * other);
                }
            }
            let norm = basis.column(at).norm();
            if norm > 1e-9 * before && norm > 0.0 {
                basis.column_mut(at).unscale_mut(norm);
                break;
            }
            basis.column_mut(at).apply(|value| *value = random.random_range(-1.0..1.0));
        }
    }
}

/// The coordinates of vectors along some directions: `[vectors, directions]`, row after row.
pub(super) fn project(vectors: &Vectors, directions: &[f32], cancel: &CancelToken) -> Result<Vec<f32>> {
    let d = vectors.dimension();
    let count = directions.len() / d;
    let packed = PackedMatrix::pack(directions, count, d, WeightFormat::F32);
    let mut projected = vec![0.0_f32; vectors.len() * count];
    let tasks = vectors.as_slice().chunks(PROJECTED * d).zip(projected.chunks_mut(PROJECTED * count.max(1)));
    for (rows, projected) in tasks {
        cancel.check()?;
        packed.multiply(rows, rows.len() / d, projected, false);
    }
    Ok(projected)
}

/// Does work that cannot be interrupted on a thread of its own. When `cancel` is set this returns at once, and the work
/// goes on until it is done, with nobody to take its result; it must be bounded. A panic becomes an error.
pub(super) fn unless_cancelled<T: Send + 'static>(
    what: &str,
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    cancel.check()?;
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name(what.to_owned())
        .spawn(move || drop(sender.send(work())))
        .map_err(|e| IndexError::internal(format!("cannot start a thread for {what}: {e}")))?;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => cancel.check()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(IndexError::internal(format!("{what} ended without a result")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anser_core::{Embedding, ErrorKind};

    use super::*;

    fn vectors(rows: usize, d: usize) -> Vectors {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<Embedding> = (0..rows)
            .map(|_| {
                let row = (0..d).map(|at| random.random_range(-1.0_f32..1.0) / (at + 1) as f32).collect();
                Embedding::normalize(row).unwrap()
            })
            .collect();
        Vectors::from_embeddings(&rows).unwrap()
    }

    #[test]
    fn the_gram_matrix_is_that_of_all_rows() {
        let x = vectors(2500, 7);
        let found = gram(&x, &CancelToken::new()).unwrap();
        for (a, b) in [(0, 0), (0, 3), (6, 2)] {
            let expected: f64 = x.iter().map(|v| f64::from(v[a]) * f64::from(v[b])).sum();
            assert!((found[(a, b)] - expected).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn directions_are_orthonormal_and_hold_the_largest_part_first() {
        let x = vectors(3000, 24);
        let gram = gram(&x, &CancelToken::new()).unwrap();
        let directions = leading_directions(&gram, 5, 0, &CancelToken::new()).unwrap();
        let mut eigenvalues: Vec<f64> = gram.clone().symmetric_eigenvalues().iter().copied().collect();
        eigenvalues.sort_by(|a, b| b.total_cmp(a));
        let projected = project(&x, &directions, &CancelToken::new()).unwrap();
        let held = |at: usize| projected.iter().skip(at).step_by(5).map(|v| f64::from(*v).powi(2)).sum::<f64>();
        assert!((held(0) / eigenvalues[0] - 1.0).abs() < 0.02, "{} {}", held(0), eigenvalues[0]);
        assert!((0..4).all(|at| held(at) > held(at + 1) * 0.9));
        for (a, first) in directions.chunks_exact(24).enumerate() {
            for (b, second) in directions.chunks_exact(24).enumerate() {
                let dot: f32 = first.iter().zip(second).map(|(x, y)| x * y).sum();
                assert!((dot - f32::from(u8::from(a == b))).abs() < 1e-5, "{a} {b} {dot}");
            }
        }
    }

    #[test]
    fn equal_vectors_have_orthonormal_directions_too() {
        let one = Vectors::new([0.6, 0.8, 0.0].repeat(50), 3).unwrap();
        let gram = gram(&one, &CancelToken::new()).unwrap();
        let directions = leading_directions(&gram, 3, 0, &CancelToken::new()).unwrap();
        assert!(directions.chunks_exact(3).all(|v| (v.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5));
    }

    #[test]
    fn work_that_cannot_look_up_is_left_behind_and_a_panic_is_an_error() {
        let cancel = CancelToken::new();
        let other = cancel.clone();
        let error = unless_cancelled("a test", &cancel, move || {
            other.cancel();
            std::thread::sleep(Duration::from_secs(1));
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
        let panics = unless_cancelled("a test", &CancelToken::new(), || panic!("as intended"));
        assert!(panics.map(|()| 0).unwrap_err().to_string().contains("a test ended without a result"));
        assert_eq!(unless_cancelled("a test", &CancelToken::new(), || 7).unwrap(), 7);
    }
}
