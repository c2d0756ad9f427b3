//! Products with packed matrices, of plain matrices and of narrow rows.

use anser_kernels::{
    Element, Epilogue, InstructionSet, LowRank, Matrix, MatrixMut, PackedMatrix, Rows, RowsMut, Unary, WeightFormat,
    matmul, outer_sum,
};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

/// x·Wᵀ in plain loops.
pub(crate) fn expected(x: &[f64], weights: &[f64], (rows, n, k): (usize, usize, usize)) -> Vec<f64> {
    let mut y = vec![0.0; rows * n];
    for row in 0..rows {
        for column in 0..n {
            let terms = x[row * k..(row + 1) * k].iter().zip(&weights[column * k..(column + 1) * k]);
            y[row * n + column] = terms.map(|(a, b)| a * b).sum();
        }
    }
    y
}

/// The first `columns` of each row of `sums` [rows, n] with the bias and the activation.
pub(crate) fn finished(sums: &[f64], n: usize, columns: usize, bias: &[f32], activation: Option<Unary>) -> Vec<f64> {
    let add = |(sum, bias): (&f64, &f32)| applied(activation, sum + f64::from(*bias));
    sums.chunks_exact(n).flat_map(|row| row[..columns].iter().zip(bias).map(add).collect::<Vec<_>>()).collect()
}

fn applied(activation: Option<Unary>, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        None => x,
        Some(Unary::Gelu) => x * normal_distribution(x),
        Some(Unary::GeluTanh) => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))),
        Some(Unary::Relu) => x.max(0.0),
        Some(Unary::Silu) => x * sigmoid(x),
        Some(Unary::Tanh) => x.tanh(),
    }
}

/// Φ(x) by the series Σ x^(2i+1) / (1·3·…·(2i+1)) (Marsaglia 2004).
fn normal_distribution(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term, mut i) = (x, x, 1.0);
    while term.abs() > 1e-18 {
        i += 2.0;
        term *= x * x / i;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

fn product_of<E: Element, O: Element>(set: InstructionSet, (rows, n, k): (usize, usize, usize), seed: u64) {
    let what = format!("{} [{rows}, {k}] x [{k}, {n}] in {:?}", set.name(), E::FORMAT);
    let stride = k.next_multiple_of(2);
    let weights: Vec<f32> = random::<E>(n * k, seed).iter().map(|value| value.to_f32()).collect();
    let mut x = random::<E>(rows * stride, seed + 1);
    x.chunks_exact_mut(stride.max(1)).for_each(|row| row[k..].fill(E::default()));
    let dense: Vec<f64> = x.chunks_exact(stride).flat_map(|row| wide(&row[..k])).collect();
    let wanted = expected(&dense, &wide(&weights), (rows, n, k));
    let tolerance = roundoff::<O>() + 4e-6;
    let x = Rows::new(&x, rows, k, stride);
    let empty = || PackedMatrix::empty(E::FORMAT).with_instructions(set);
    let mut packed = empty();
    packed.assign(Rows::dense(&weights, n, k));
    let mut other = empty();
    other.assign_transposed_in_parallel(Rows::dense(&transposed(&weights, n, k), k, n));
    for packed in [&packed, &other] {
        let mut y = vec![O::from_f32(7.0); rows * (n + 3)];
        packed.product(x, None, RowsMut::new(&mut y, rows, n, n + 3), false);
        for (row, wanted) in y.chunks_exact(n + 3).zip(wanted.chunks_exact(n)) {
            close(&row[..n], wanted, tolerance, &what);
            assert!(
                row[n..].iter().all(|value| value.to_f32().to_bits() == 7.0_f32.to_bits()),
                "{what}: wrote past a row"
            );
        }
    }
    let mut row = vec![0.0; k];
    packed.row(n - 1, &mut row);
    assert_eq!(row, weights[(n - 1) * k..], "{what}: a row");
}

proptest! {
    #![proptest_config(crate::cases(40))]

    #[test]
    fn packed_products_are_those_of_plain_loops(rows in 1_usize..30, n in 1_usize..130, k in 1_usize..70, seed: u64) {
        for set in InstructionSet::available() {
            product_of::<f32, f32>(set, (rows, n, k), seed >> 1);
            product_of::<bf16, f32>(set, (rows, n, k), seed >> 1);
            product_of::<bf16, bf16>(set, (rows, n, k), seed >> 1);
        }
    }

    #[test]
    fn products_are_finished_with_bias_and_activation(
        rows in 1_usize..20, n in 1_usize..130, k in 1_usize..70, seed: u64
    ) {
        fn check<E: Element, O: Element>(set: InstructionSet, (rows, n, k): (usize, usize, usize), seed: u64) {
            let activation = [
                None,
                Some(Unary::Gelu),
                Some(Unary::GeluTanh),
                Some(Unary::Relu),
                Some(Unary::Silu),
                Some(Unary::Tanh),
            ][(seed % 6) as usize];
            let (stride, columns) = (k.next_multiple_of(2), n - n / 3);
            let weights: Vec<f32> = random::<E>(n * k, seed).iter().map(|value| value.to_f32()).collect();
            let bias = random::<f32>(n, seed + 2);
            let x = random::<E>(rows * stride, seed + 1);
            let dense: Vec<f64> = x.chunks_exact(stride).flat_map(|row| wide(&row[..k])).collect();
            let sums = expected(&dense, &wide(&weights), (rows, n, k));
            let mut packed = PackedMatrix::empty(E::FORMAT).with_instructions(set);
            packed.assign(Rows::dense(&weights, n, k));
            let wanted = finished(&sums, n, columns, &bias, activation);
            let mut y = vec![O::from_f32(7.0); rows * (columns + 2)];
            let epilogue = Epilogue { bias: Some(&bias), activation };
            packed.product_with(Rows::new(&x, rows, k, stride), epilogue, RowsMut::new(&mut y, rows, columns, columns + 2));
            for (index, (row, wanted)) in y.chunks_exact(columns + 2).zip(wanted.chunks_exact(columns)).enumerate() {
                close(&row[..columns], wanted, roundoff::<O>() + 4e-6, &format!("{} {activation:?}", set.name()));
                assert!(row[columns..].iter().all(|&value| value == O::from_f32(7.0)), "wrote past a row");
                // The same bits alone.
                let mut alone = vec![O::default(); columns];
                let x = Rows::new(&x[index * stride..(index + 1) * stride], 1, k, stride);
                packed.product_with(x, epilogue, RowsMut::dense(&mut alone, 1, columns));
                assert_eq!(alone, row[..columns], "{} {activation:?}", set.name());
            }
        }
        for set in InstructionSet::available() {
            check::<f32, f32>(set, (rows, n, k), seed >> 2);
            check::<f32, bf16>(set, (rows, n, k), seed >> 2);
            check::<bf16, f32>(set, (rows, n, k), seed >> 2);
            check::<bf16, bf16>(set, (rows, n, k), seed >> 2);
        }
    }

    #[test]
    fn low_rank_products_and_old_values_are_added(
        rows in 1_usize..20, n in 1_usize..100, k in 1_usize..40, rank in 1_usize..10, seed: u64
    ) {
        let seed = seed >> 1;
        for set in InstructionSet::available() {
            for format in [WeightFormat::F32, WeightFormat::Bf16] {
                let (k, rank) = (2 * k, 2 * rank);
                let pack = |values: &[f32], k: usize| {
                    let mut packed = PackedMatrix::empty(format).with_instructions(set);
                    packed.assign(Rows::dense(values, n, k));
                    packed
                };
                let numbers = |count: usize, seed: u64| -> Vec<f32> {
                    random::<bf16>(count, seed).into_iter().map(bf16::to_f32).collect()
                };
                let (weights, up) = (numbers(n * k, seed), numbers(n * rank, seed + 1));
                let (x, u) = (numbers(rows * k, seed + 2), numbers(rows * rank, seed + 3));
                let old = random::<f32>(rows * n, seed + 4);
                let first = expected(&wide(&x), &wide(&weights), (rows, n, k));
                let second = expected(&wide(&u), &wide(&up), (rows, n, rank));
                let sum: Vec<f64> = first.iter().zip(second).zip(wide(&old)).map(|((a, b), c)| a + b + c).collect();
                let (weights, up) = (pack(&weights, k), pack(&up, rank));
                let mut y = old;
                let out = RowsMut::dense(&mut y, rows, n);
                if format == WeightFormat::F32 {
                    let low_rank = LowRank { x: Rows::dense(&u, rows, rank), weights: &up };
                    weights.product(Rows::dense(&x, rows, k), Some(low_rank), out, true);
                } else {
                    let round = |values: &[f32]| values.iter().map(|&value| bf16::from_f32(value)).collect::<Vec<_>>();
                    let (x, u) = (round(&x), round(&u));
                    let low_rank = LowRank { x: Rows::dense(&u, rows, rank), weights: &up };
                    weights.product(Rows::dense(&x, rows, k), Some(low_rank), out, true);
                }
                close(&y, &sum, 8e-6, set.name());
            }
        }
    }

    #[test]
    fn parts_leave_out_the_rest(rows in 1_usize..12, panels in 1_usize..4, skipped in 0_usize..20, seed: u64) {
        let (n, k) = (48 * panels + 5, 50);
        let (first, skipped) = (48 * (panels - 1), 2 * skipped);
        let weights = random::<f32>(n * k, seed >> 1);
        let depth = k - skipped;
        let x = random::<f32>(rows * depth, seed >> 2);
        let columns = n - first - 2;
        let part: Vec<f32> = weights.chunks_exact(k).skip(first).take(columns).flat_map(|row| row[skipped..].to_vec()).collect();
        let wanted = expected(&wide(&x), &wide(&part), (rows, columns, depth));
        for set in InstructionSet::available() {
            let packed = PackedMatrix::pack(&weights, n, k, WeightFormat::F32).with_instructions(set);
            let mut y = vec![0.0; rows * columns];
            let out = RowsMut::dense(&mut y, rows, columns);
            packed.part(first, skipped).product(Rows::dense(&x, rows, depth), None, out, false);
            close(&y, &wanted, 4e-6, set.name());
        }
    }

    #[test]
    fn multiplying_many_rows_is_the_same_on_any_number_of_threads(rows in 1_usize..200, n in 1_usize..70, k in 1_usize..70, seed: u64) {
        let (weights, x) = (random::<f32>(n * k, seed >> 1), random::<f32>(rows * k, seed >> 2));
        for format in [WeightFormat::F32, WeightFormat::Bf16] {
            let packed = PackedMatrix::pack(&weights, n, k, format);
            assert_eq!((packed.n(), packed.k(), packed.format()), (n, k, format));
            let run = |threads: usize| {
                let mut y = vec![0.5; rows * n];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| packed.multiply(&x, rows, &mut y, true));
                y
            };
            let y = run(1);
            assert_eq!(run(3), y);
            let wanted = expected(&wide(&x), &wide(&weights), (rows, n, k));
            let wanted: Vec<f64> = wanted.iter().map(|value| value + 0.5).collect();
            let tolerance = if format == WeightFormat::F32 { 4e-6 } else { 0.004 * (k as f64).sqrt() };
            close(&y, &wanted, tolerance, "multiply");
        }
    }

    #[test]
    fn plain_products_transpose_and_add(rows in 1_usize..40, n in 1_usize..40, k in 0_usize..40, seed: u64) {
        let (a, b) = (random::<f32>(rows * k, seed >> 1), random::<f32>(k * n, seed >> 2));
        let old = random::<f32>(rows * n, seed >> 3);
        let mut wanted = expected(&wide(&a), &wide(&transposed(&b, k, n)), (rows, n, k));
        let mut y = vec![f32::NAN; rows * n];
        matmul(Matrix::new(&a, rows, k), Matrix::new(&b, k, n), MatrixMut::new(&mut y, rows, n), false);
        close(&y, &wanted, 4e-6, "plain");
        let (a, b) = (transposed(&a, rows, k), transposed(&b, k, n));
        let mut y = old.clone();
        let (a, b) = (Matrix::new(&a, k, rows).transposed(), Matrix::new(&b, n, k).transposed());
        matmul(a, b, MatrixMut::new(&mut y, rows, n), true);
        wanted.iter_mut().zip(wide(&old)).for_each(|(wanted, old)| *wanted += old);
        close(&y, &wanted, 4e-6, "transposed and added");
    }

    #[test]
    fn outer_sums_are_those_of_plain_loops(rows in 1_usize..150, few in 1_usize..20, columns in 1_usize..110, seed: u64) {
        fn check<E: Element>(set: InstructionSet, (rows, few, columns): (usize, usize, usize), seed: u64) {
            let (a, b) = (random::<E>(rows * (few + 1), seed), random::<E>(rows * (columns + 2), seed + 1));
            let mut out = random::<f32>(few * columns, seed + 2);
            let mut wanted = wide(&out);
            for row in 0..rows {
                for i in 0..few {
                    for j in 0..columns {
                        let product = a[row * (few + 1) + i].to_f32() * b[row * (columns + 2) + j].to_f32();
                        wanted[i * columns + j] += f64::from(product);
                    }
                }
            }
            let (a, b) = (Rows::new(&a, rows, few, few + 1), Rows::new(&b, rows, columns, columns + 2));
            outer_sum(set, a, b, RowsMut::dense(&mut out, few, columns));
            close(&out, &wanted, 8e-6, set.name());
        }
        for set in InstructionSet::available() {
            check::<f32>(set, (rows, few, columns), seed >> 1);
            check::<bf16>(set, (rows, few, columns), seed >> 1);
        }
    }
}

#[test]
#[should_panic(expected = "do not fit")]
fn operands_that_do_not_fit_are_refused() {
    let packed = PackedMatrix::pack(&[0.0; 12], 3, 4, WeightFormat::F32);
    packed.product(Rows::dense(&[0.0_f32; 10], 2, 5), None, RowsMut::dense(&mut [0.0_f32; 6], 2, 3), false);
}

#[test]
#[should_panic(expected = "different formats")]
fn operands_of_another_format_are_refused() {
    let packed = PackedMatrix::pack(&[0.0; 12], 3, 4, WeightFormat::Bf16);
    packed.product(Rows::dense(&[0.0_f32; 8], 2, 4), None, RowsMut::dense(&mut [0.0_f32; 6], 2, 3), false);
}

#[test]
#[should_panic(expected = "need 11, not 10")]
fn views_beyond_their_slice_are_refused() {
    let _ = Rows::new(&[0.0_f32; 10], 3, 3, 4);
}
