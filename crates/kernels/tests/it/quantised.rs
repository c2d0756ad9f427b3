//! Products of bytes, and how near rounded numbers stay.

use anser_kernels::{Element, Epilogue, InstructionSet, QuantisedMatrix, QuantisedRows, Rows, RowsMut, Unary};
use half::bf16;
use proptest::prelude::*;

use crate::products::{expected, finished};
use crate::{close, random, roundoff, wide};

fn row_of(columns: usize, read: impl FnOnce(&mut [f32])) -> Vec<f64> {
    let mut row = vec![0.0; columns];
    read(&mut row);
    wide(&row)
}

fn product_of<E: Element, O: Element>(
    set: InstructionSet,
    (rows, n, k): (usize, usize, usize),
    group: usize,
    activation: Option<Unary>,
    seed: u64,
) {
    let what = format!("{} [{rows}, {k}] x [{k}, {n}] in groups of {group}, {activation:?}", set.name());
    let (weights, bias) = (random::<f32>(n * k, seed), random::<f32>(n, seed + 2));
    let numbers = random::<E>(rows * (k + 1), seed + 1);
    let packed = QuantisedMatrix::pack(Rows::dense(&weights, n, k), group).with_instructions(set);
    let mut x = QuantisedRows::new();
    x.assign(set, Rows::dense(&[E::from_f32(3.0)], 1, 1), 1);
    x.assign(set, Rows::new(&numbers, rows, k, k + 1), group);
    let rounded_x: Vec<f64> = (0..rows).flat_map(|row| row_of(k, |out| x.row(row, out))).collect();
    let rounded_weights: Vec<f64> = (0..n).flat_map(|row| row_of(k, |out| packed.row(row, out))).collect();
    // No number moves by more than half a step, and steps are a 127th or a 255th of the range.
    let near = |values: &[f64], exact: &[f64], tolerance: f64| {
        values.iter().zip(exact).all(|(a, b)| (a - b).abs() < tolerance)
    };
    assert!(near(&rounded_weights, &wide(&weights), 0.5 / 127.0 + 1e-5), "{what}: weights");
    let dense: Vec<f64> = numbers.chunks_exact(k + 1).flat_map(|row| wide(&row[..k])).collect();
    assert!(near(&rounded_x, &dense, 1.01 / 254.9), "{what}: rows");
    for columns in [n, n.div_ceil(2)] {
        let wanted = finished(&expected(&rounded_x, &rounded_weights, (rows, n, k)), n, columns, &bias, activation);
        let mut y = vec![O::from_f32(7.0); rows * (columns + 2)];
        let epilogue = Epilogue { bias: Some(&bias), activation };
        packed.product(&x, epilogue, RowsMut::new(&mut y, rows, columns, columns + 2));
        for (row, wanted) in y.chunks_exact(columns + 2).zip(wanted.chunks_exact(columns)) {
            close(&row[..columns], wanted, roundoff::<O>() + 1e-5, &what);
            assert!(row[columns..].iter().all(|&value| value == O::from_f32(7.0)), "{what}: wrote past a row");
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(30))]

    #[test]
    fn quantised_products_are_those_of_the_rounded_numbers(
        rows in 1_usize..30, n in 1_usize..130, k in 1_usize..150, group in 1_usize..20, seed: u64
    ) {
        for set in InstructionSet::available() {
            let activation = [None, Some(Unary::Gelu), Some(Unary::Relu)][(seed % 3) as usize];
            product_of::<f32, f32>(set, (rows, n, k), 4 * group, activation, seed >> 2);
            product_of::<bf16, bf16>(set, (rows, n, k), k, activation, seed >> 2);
        }
    }

    #[test]
    fn a_quantised_row_has_the_same_bits_alone_and_among_others(rows in 2_usize..40, n in 1_usize..100, k in 1_usize..90, seed: u64) {
        let (weights, numbers) = (random::<f32>(n * k, seed >> 1), random::<f32>(rows * k, (seed >> 1) + 1));
        for set in InstructionSet::available() {
            for group in [16, k] {
                let packed = QuantisedMatrix::pack(Rows::dense(&weights, n, k), group).with_instructions(set);
                let run = |numbers: &[f32]| {
                    let rows = numbers.len() / k;
                    let mut x = QuantisedRows::new();
                    x.assign(set, Rows::dense(numbers, rows, k), group);
                    let mut y = vec![0.0_f32; rows * n];
                    packed.product(&x, Epilogue { bias: None, activation: Some(Unary::Gelu) }, RowsMut::dense(&mut y, rows, n));
                    y
                };
                let together = run(&numbers);
                for (numbers, row) in numbers.chunks_exact(k).zip(together.chunks_exact(n)) {
                    assert_eq!(run(numbers), row, "{}", set.name());
                }
            }
        }
    }
}

#[test]
fn extreme_rows_stay_defined() {
    let (rows, n, k) = (7, 50, 40);
    let weights: Vec<f32> = random::<f32>(n * k, 5);
    let mut numbers = vec![0.0_f32; rows * k];
    let fill = |numbers: &mut [f32], row: usize, value: f32| numbers[row * k..(row + 1) * k].fill(value);
    fill(&mut numbers, 1, 1e-40);
    fill(&mut numbers, 2, 3e38);
    numbers[3 * k] = f32::NAN;
    numbers[4 * k + 1] = f32::INFINITY;
    fill(&mut numbers, 5, -1.0);
    fill(&mut numbers, 6, 1.0);
    for set in InstructionSet::available() {
        let packed = QuantisedMatrix::pack(Rows::dense(&weights, n, k), k).with_instructions(set);
        let mut x = QuantisedRows::new();
        x.assign(set, Rows::dense(&numbers, rows, k), k);
        let mut y = vec![0.0_f32; rows * n];
        packed.product(&x, Epilogue::default(), RowsMut::dense(&mut y, rows, n));
        let row = |row: usize| &y[row * n..(row + 1) * n];
        assert!(row(0).iter().chain(row(1)).all(|value| *value == 0.0), "{}", set.name());
        assert!(row(2).iter().all(|value| !value.is_nan()), "{}", set.name());
        assert!(row(3).iter().chain(row(4)).all(|value| value.is_nan()), "{}", set.name());
        for (minus, plus) in row(5).iter().zip(row(6)) {
            assert!((minus + plus).abs() < 1e-4, "{}", set.name());
        }
    }
}

#[test]
#[should_panic(expected = "not whole steps")]
fn groups_that_split_a_step_are_refused() {
    let _ = QuantisedMatrix::pack(Rows::dense(&[0.0; 24], 2, 12), 6);
}

#[test]
#[should_panic(expected = "do not fit")]
fn rows_in_other_groups_are_refused() {
    let packed = QuantisedMatrix::pack(Rows::dense(&[0.0; 24], 2, 12), 4);
    let mut x = QuantisedRows::new();
    x.assign(InstructionSet::best(), Rows::dense(&[0.0_f32; 12], 1, 12), 12);
    packed.product(&x, Epilogue::default(), RowsMut::dense(&mut [0.0_f32; 2], 1, 2));
}
