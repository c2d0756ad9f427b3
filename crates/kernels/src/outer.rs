//! Sums of outer products of rows, aᵀ·b: the gradient of a low-rank matrix.

use crate::element::{Element, Rows, RowsMut};
use crate::exponential::multiply_add;
use crate::instructions::versions;

const LANES: usize = 16;
/// Rows of the result that stay in registers together.
const TILE: usize = 8;

#[inline(always)]
fn outer_sum_body<E: Element, const FMA: bool>(a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) {
    for first in (0..a.columns).step_by(TILE) {
        let rows = TILE.min(a.columns - first);
        let mut column = 0;
        while column + LANES <= b.columns {
            let mut sums = [[0.0_f32; LANES]; TILE];
            for row in 0..b.rows {
                let b = &b.values[row * b.stride + column..][..LANES];
                let mut wide = [0.0_f32; LANES];
                for lane in 0..LANES {
                    wide[lane] = b[lane].to_f32();
                }
                let a = &a.values[row * a.stride + first..][..rows];
                if rows == TILE {
                    for index in 0..TILE {
                        let factor = a[index].to_f32();
                        for lane in 0..LANES {
                            sums[index][lane] = multiply_add::<FMA>(factor, wide[lane], sums[index][lane]);
                        }
                    }
                } else {
                    for (sums, a) in sums.iter_mut().zip(a) {
                        let factor = a.to_f32();
                        for lane in 0..LANES {
                            sums[lane] = multiply_add::<FMA>(factor, wide[lane], sums[lane]);
                        }
                    }
                }
            }
            for (index, sums) in sums.iter().enumerate().take(rows) {
                let out = &mut out.values[(first + index) * out.stride + column..][..LANES];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
            column += LANES;
        }
        for column in column..b.columns {
            for index in first..first + rows {
                let products = (0..b.rows)
                    .map(|row| a.values[row * a.stride + index].to_f32() * b.values[row * b.stride + column].to_f32());
                out.values[index * out.stride + column] += products.sum::<f32>();
            }
        }
    }
}

versions! {
    /// Adds aᵀ·b to `out` [columns of a, columns of b], row after row; `a` [rows, few] is narrow. On this thread.
    ///
    /// Panics when shapes do not fit.
    pub fn outer_sum<E>(a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) = checked_body
}

#[inline(always)]
fn checked_body<E: Element, const FMA: bool>(a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) {
    assert!(
        a.rows == b.rows && out.rows == a.columns && out.columns == b.columns,
        "shapes of outer products do not fit"
    );
    outer_sum_body::<E, FMA>(a, b, out);
}
