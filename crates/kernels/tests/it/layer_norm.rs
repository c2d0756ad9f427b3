//! Layer norm.

use anser_kernels::{Element, InstructionSet, LayerNorm, layer_norm, mean_row};
use half::bf16;
use proptest::prelude::*;

use crate::{close, random, roundoff, wide};

fn norm<E: Element>(set: InstructionSet, rows: usize, width: usize, (summed, seed): (bool, u64)) {
    let (x, addend) = (random::<f32>(rows * width, seed), random::<E>(rows * width, seed + 1));
    let (weight, bias) = (random::<f32>(width, seed + 2), random::<f32>(width, seed + 3));
    let epsilon = 1e-3_f32;
    let mut out = x.clone();
    let mut rounded = vec![E::default(); rows * width];
    let addend = summed.then_some(addend.as_slice());
    layer_norm(
        set,
        LayerNorm { x: &mut out, addend, weight: &weight, bias: &bias, epsilon, rounded: Some(&mut rounded) },
    );

    let mut wanted = Vec::new();
    for row in 0..rows {
        let place = row * width..(row + 1) * width;
        let mut values = wide(&x[place.clone()]);
        if let Some(addend) = addend {
            values.iter_mut().zip(&addend[place]).for_each(|(x, &addend)| *x += f64::from(addend.to_f32()));
        }
        let mean = values.iter().sum::<f64>() / width as f64;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        let columns = values.iter().zip(&weight).zip(&bias);
        wanted.extend(columns.map(|((x, &w), &b)| (x - mean) * scale * f64::from(w) + f64::from(b)));
    }
    close(&out, &wanted, 4e-6, &format!("layer norm on {}", set.name()));
    close(&rounded, &wanted, roundoff::<E>(), &format!("rounded layer norm on {}", set.name()));
    for row in 0..rows {
        let place = row * width..(row + 1) * width;
        let mut alone = x[place.clone()].to_vec();
        let addend = addend.map(|addend| &addend[place.clone()]);
        layer_norm::<E>(set, LayerNorm { x: &mut alone, addend, weight: &weight, bias: &bias, epsilon, rounded: None });
        assert_eq!(alone, out[place], "row {row} alone");
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]
    #[test]
    fn rows_get_the_mean_and_variance_that_they_should(
        rows in 0_usize..6,
        width in 1_usize..90,
        summed: bool,
        seed in 0_u64..1000,
    ) {
        for set in InstructionSet::available() {
            norm::<f32>(set, rows, width, (summed, seed));
            norm::<bf16>(set, rows, width, (summed, seed));
        }
    }
}

#[test]
fn the_mean_of_rows_is_taken_column_by_column() {
    let (rows, width) = (13, 37);
    let x = random::<f32>(rows * width, 5);
    let column = |column: usize| x.iter().skip(column).step_by(width).map(|&x| f64::from(x)).sum::<f64>();
    let wanted = (0..width).map(|index| column(index) / rows as f64).collect::<Vec<_>>();
    for set in InstructionSet::available() {
        let mut mean = vec![5.0; width];
        mean_row(set, &x, &mut mean);
        close(&mean, &wanted, 1e-6, &format!("mean on {}", set.name()));
    }
}
