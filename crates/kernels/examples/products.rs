//! Prints what the packed products reach on one thread, in GFLOP/s, for the shapes of a small llama.

use std::hint::black_box;
use std::time::Instant;

use anser_kernels::{InstructionSet, Matrix, MatrixMut, PackedMatrix, Rows, RowsMut, WeightFormat, matmul};
use half::bf16;

fn best(flops: f64, mut work: impl FnMut()) -> f64 {
    let mut fastest = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        work();
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    flops / fastest / 1e9
}

fn main() {
    println!("processor: {}", InstructionSet::best().name());
    let number = |index: usize| ((index * 7919) % 1000) as f32 / 1000.0 - 0.5;
    for rows in [64, 128] {
        for (n, k) in [(960, 576), (576, 576), (3072, 576), (576, 1536), (576, 3072), (576, 960), (24, 576)] {
            let weights: Vec<f32> = (0..n * k).map(number).collect();
            let x: Vec<f32> = (0..rows * k).map(number).collect();
            let rounded: Vec<bf16> = x.iter().map(|&value| bf16::from_f32(value)).collect();
            let mut y = vec![0.0; rows * n];
            let mut out = vec![bf16::ZERO; rows * n];
            let flops = 2.0 * (rows * n * k) as f64;
            let packed = PackedMatrix::pack(&weights, n, k, WeightFormat::Bf16);
            let brain = best(flops, || {
                packed.product(Rows::dense(&rounded, rows, k), None, RowsMut::dense(black_box(&mut y), rows, n), false);
            });
            let narrow = best(flops, || {
                packed.product(
                    Rows::dense(&rounded, rows, k),
                    None,
                    RowsMut::dense(black_box(&mut out), rows, n),
                    false,
                );
            });
            let packed = PackedMatrix::pack(&weights, n, k, WeightFormat::F32);
            let full = best(flops, || {
                packed.product(Rows::dense(&x, rows, k), None, RowsMut::dense(black_box(&mut y), rows, n), false);
            });
            let weights = Matrix::new(&weights, n, k).transposed();
            let gemm = best(flops, || {
                matmul(Matrix::new(&x, rows, k), weights, MatrixMut::new(black_box(&mut y), rows, n), false);
            });
            println!(
                "[{rows}, {k}] x [{k}, {n}]: bf16 {brain:.0} (to bf16 {narrow:.0}), f32 {full:.0}, gemm crate {gemm:.0}"
            );
        }
    }
}
