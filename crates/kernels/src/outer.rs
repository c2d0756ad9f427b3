//! Sums of outer products of rows, aᵀ·b: the gradient of a low-rank matrix.

#[cfg(target_arch = "x86_64")]
use crate::element::WeightFormat;
use crate::element::{Element, Rows, RowsMut};
use crate::exponential::multiply_add;
use crate::instructions::{InstructionSet, versions};

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
    fn outer_sum_by_one<E>(a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) = outer_sum_body
}

/// Adds aᵀ·b to `out` [columns of a, columns of b], in the order of the rows; `a` [rows, few] is narrow. On this thread.
///
/// Panics when shapes do not fit.
pub fn outer_sum<E: Element>(set: InstructionSet, a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) {
    let fits = a.rows == b.rows && out.rows == a.columns && out.columns == b.columns;
    assert!(fits, "shapes of outer products do not fit");
    #[cfg(target_arch = "x86_64")]
    if set.has_brain_float_products() && E::FORMAT == WeightFormat::Bf16 {
        // SAFETY: the instruction set exists only where the processor has it; shapes were checked here and in the views.
        #[expect(unsafe_code, reason = "a kernel on raw pointers into checked views")]
        unsafe {
            pairs::outer_sum(a, b, out);
        }
        return;
    }
    outer_sum_by_one(set, a, b, out);
}

/// Brain floats two rows at a time.
#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, __mmask16, _mm256_maskz_loadu_epi16, _mm512_add_ps, _mm512_cvtepu16_epi32,
        _mm512_dpbf16_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_slli_epi32,
    };
    use std::mem::transmute;

    use super::{Element, LANES, Rows, RowsMut, TILE};

    /// Vectors of columns that stay in registers together.
    const VECTORS: usize = 3;
    /// Pairs of rows that are summed before the sums are written.
    const PAIRS: usize = 32;

    /// # Safety
    /// The processor has AVX-512 F, BW, VL and BF16; `E` is a brain float; `a` and `b` have the same number of rows, and
    /// `out` has their columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(unsafe_code, reason = "raw pointers into checked views; the caller promises the shapes")]
    pub(super) unsafe fn outer_sum<E: Element>(a: Rows<'_, E>, b: Rows<'_, E>, out: RowsMut<'_, f32>) {
        let mut factors = [[0_u32; TILE]; PAIRS];
        for row in (0..b.rows).step_by(2 * PAIRS) {
            let rows = (b.rows - row).min(2 * PAIRS);
            for first in (0..a.columns).step_by(TILE) {
                let height = TILE.min(a.columns - first);
                for (pair, factors) in factors.iter_mut().enumerate().take(rows.div_ceil(2)) {
                    for (index, factor) in factors.iter_mut().enumerate() {
                        let at = |row: usize| {
                            if index < height { a.values[row * a.stride + first + index].bits() } else { 0 }
                        };
                        let even = row + 2 * pair;
                        *factor = at(even) | if 2 * pair + 1 < rows { at(even + 1) << 16 } else { 0 };
                    }
                }
                let mut column = 0;
                while column < b.columns {
                    let columns = (b.columns - column).min(VECTORS * LANES);
                    // SAFETY: rows and columns lie inside the views.
                    unsafe {
                        let source = Source {
                            values: b.values.as_ptr().cast::<u16>().add(row * b.stride + column),
                            stride: b.stride,
                            rows,
                            columns,
                        };
                        let target = out.values.as_mut_ptr().add(first * out.stride + column);
                        match columns.div_ceil(LANES) {
                            1 => tile::<1>(&factors, source, (target, out.stride, height)),
                            2 => tile::<2>(&factors, source, (target, out.stride, height)),
                            _ => tile::<VECTORS>(&factors, source, (target, out.stride, height)),
                        }
                    }
                    column += VECTORS * LANES;
                }
            }
        }
    }

    /// Some columns of b.
    #[derive(Clone, Copy)]
    struct Source {
        values: *const u16,
        stride: usize,
        rows: usize,
        columns: usize,
    }

    /// # Safety
    /// As for [`outer_sum`]; the source has its rows and columns, the target (pointer, stride, height) rows of as many.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    #[expect(unsafe_code, reason = "raw pointers into checked views; the caller promises the shapes")]
    unsafe fn tile<const NV: usize>(factors: &[[u32; TILE]; PAIRS], source: Source, target: (*mut f32, usize, usize)) {
        let mask = |vector: usize| {
            let kept = (source.columns - vector * LANES).min(LANES);
            (0xffff_u32 >> (LANES - kept)) as __mmask16
        };
        let masks: [__mmask16; NV] = std::array::from_fn(mask);
        let mut sums = [[_mm512_setzero_ps(); NV]; TILE];
        // SAFETY: masks keep every access inside the columns, and rows beyond the last are not read.
        unsafe {
            for (pair, factors) in factors.iter().enumerate().take(source.rows.div_ceil(2)) {
                let even = source.values.add(2 * pair * source.stride);
                let both = 2 * pair + 1 < source.rows;
                let mut numbers = [_mm512_setzero_ps(); NV];
                for (vector, numbers) in numbers.iter_mut().enumerate() {
                    let load = |row: *const u16| {
                        let row = row.add(vector * LANES).cast::<i16>();
                        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(masks[vector], row))
                    };
                    let low = load(even);
                    let pairs = if both {
                        _mm512_or_si512(low, _mm512_slli_epi32::<16>(load(even.add(source.stride))))
                    } else {
                        low
                    };
                    *numbers = transmute::<__m512i, __m512>(pairs);
                }
                for (sums, &factor) in sums.iter_mut().zip(factors) {
                    let factor = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(factor.cast_signed()));
                    for (sum, &numbers) in sums.iter_mut().zip(&numbers) {
                        *sum = _mm512_dpbf16_ps(*sum, factor, transmute::<__m512, __m512bh>(numbers));
                    }
                }
            }
            let (out, stride, height) = target;
            for (index, sums) in sums.iter().enumerate().take(height) {
                for (vector, &sum) in sums.iter().enumerate() {
                    let place = out.add(index * stride + vector * LANES);
                    let old = _mm512_maskz_loadu_ps(masks[vector], place);
                    _mm512_mask_storeu_ps(place, masks[vector], _mm512_add_ps(old, sum));
                }
            }
        }
    }
}
