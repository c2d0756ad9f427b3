//! One head's attention in AVX-512, on `f32` or on pairs of brain floats, for heads of whole vector registers.
//!
//! A step of the depth is one 32-bit number, as in packed panels: an `f32` or two neighbouring brain floats. Six queries
//! at a time are multiplied with up to 64 keys in registers, become weights, and take the sum of the values with them.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, __m512i, _mm256_storeu_si256, _mm512_add_ps, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_loadu_si512,
    _mm512_mask_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_permutex2var_epi16, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_store_ps, _mm512_store_si512, _mm512_storeu_ps, _mm512_sub_ps,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::f32::consts::LN_2;
use std::mem::transmute;

use super::{Head, HeadScratch, LANES, Line};
use crate::element::{Element, Rows, RowsMut, WeightFormat};
use crate::instructions::{InstructionSet, Level};

/// Queries of a tile. With four vectors of keys, 24 of the 32 registers hold sums.
const TILE: usize = 6;
/// Vectors of keys or of values that a tile multiplies.
const VECTORS: usize = 4;

/// Whether the kernels here can do a head of `width` numbers: rows of heads are read in whole registers.
pub(super) fn takes<E: Element>(set: InstructionSet, width: usize) -> bool {
    let whole = (width * size_of::<E>()).is_multiple_of(size_of::<Line>());
    whole
        && match E::FORMAT {
            WeightFormat::F32 => set.0 >= Level::Avx512,
            WeightFormat::Bf16 => set.0 >= Level::Avx512Bf16,
        }
}

/// Pointers to one head's rows and to memory for it.
#[derive(Clone, Copy)]
struct Operands {
    queries: *const u8,
    keys: *const u8,
    values: *const u8,
    /// Bytes from one token's row to the next.
    stride: usize,
    out: *mut u8,
    /// Bytes from one row of the result to the next.
    out_stride: usize,
    tokens: usize,
    /// Numbers of a row.
    width: usize,
    /// Lines [width in steps, tokens / 16].
    turned: *mut Line,
    /// Lines [tokens / 2, width / 16] of pairs, where values are pairs.
    pairs: *mut Line,
    /// Lines [6, tokens / 16].
    scores: *mut Line,
    /// The same, in the format of the values.
    weights: *mut Line,
}

/// As the portable one; panics unless [`takes`] says yes.
pub(super) fn attend_head<E: Element>(
    input: &Rows<'_, E>,
    head: Head,
    out: &mut RowsMut<'_, E>,
    scratch: &mut HeadScratch,
) {
    let bytes = size_of::<E>();
    let (tokens, width) = (input.rows, head.width);
    let blocks = tokens.div_ceil(LANES);
    scratch.keys.resize(blocks * LANES * (width * bytes / size_of::<Line>()), Line::default());
    scratch.values.resize(tokens.div_ceil(2) * (width / LANES), Line::default());
    scratch.scores.resize(TILE * blocks, Line::default());
    scratch.probabilities.resize(TILE * blocks, Line::default());
    let last = (tokens - 1) * input.stride + head.values + width;
    let out_last = (tokens - 1) * out.stride + head.queries + width;
    assert!(
        (width * bytes).is_multiple_of(size_of::<Line>()) && last <= input.values.len() && out_last <= out.values.len(),
        "a head does not fit its rows"
    );
    let operands = Operands {
        queries: input.values[head.queries..].as_ptr().cast(),
        keys: input.values[head.keys..].as_ptr().cast(),
        values: input.values[head.values..].as_ptr().cast(),
        stride: input.stride * bytes,
        out: out.values[head.queries..].as_mut_ptr().cast(),
        out_stride: out.stride * bytes,
        tokens,
        width,
        turned: scratch.keys.as_mut_ptr(),
        pairs: scratch.values.as_mut_ptr(),
        scores: scratch.scores.as_mut_ptr(),
        weights: scratch.probabilities.as_mut_ptr(),
    };
    // SAFETY: every row from each of the first columns has `width` numbers inside its slice, as asserted; memory has the
    // lines that `Operands` states; [`takes`] was asked, so the processor has the instructions.
    #[expect(unsafe_code, reason = "kernels on raw pointers into operands whose extent is checked above")]
    unsafe {
        match E::FORMAT {
            WeightFormat::F32 => attend_f32(operands),
            WeightFormat::Bf16 => attend_bf16(operands),
        }
    }
}

/// # Safety
/// The processor has AVX-512 F, BW, VL and BF16; `operands` point to what their fields say.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn attend_bf16(operands: Operands) {
    // SAFETY: passed on from the caller.
    unsafe { attend::<true>(operands) }
}

/// # Safety
/// The processor has AVX-512 F, BW and VL; `operands` point to what their fields say.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn attend_f32(operands: Operands) {
    // SAFETY: passed on from the caller.
    unsafe { attend::<false>(operands) }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn attend<const BF16: bool>(operands: Operands) {
    // SAFETY: passed on from the caller; a tile never has more queries than are left.
    unsafe {
        turn_keys::<BF16>(operands);
        if BF16 {
            pair_values(operands);
        }
        for first in (0..operands.tokens).step_by(TILE) {
            match operands.tokens - first {
                1 => tile::<BF16, 1>(operands, first),
                2 => tile::<BF16, 2>(operands, first),
                3 => tile::<BF16, 3>(operands, first),
                4 => tile::<BF16, 4>(operands, first),
                5 => tile::<BF16, 5>(operands, first),
                _ => tile::<BF16, TILE>(operands, first),
            }
        }
    }
}

/// Steps of the depth of scores.
#[inline(always)]
fn steps<const BF16: bool>(width: usize) -> usize {
    if BF16 { width / 2 } else { width }
}

#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn turn_keys<const BF16: bool>(operands: Operands) {
    let blocks = operands.tokens.div_ceil(LANES);
    for block in 0..blocks {
        for part in 0..steps::<BF16>(operands.width) / LANES {
            // SAFETY: only rows of tokens are read, in parts of sixteen steps; `turned` has a line for each step and block.
            unsafe {
                let mut rows = [_mm512_setzero_si512(); LANES];
                for (lane, row) in rows.iter_mut().enumerate() {
                    let token = block * LANES + lane;
                    if token < operands.tokens {
                        let key = operands.keys.add(token * operands.stride + part * size_of::<Line>());
                        *row = _mm512_loadu_si512(key.cast());
                    }
                }
                for (step, column) in transposed(rows).into_iter().enumerate() {
                    let line = operands.turned.add((part * LANES + step) * blocks + block);
                    _mm512_store_si512(line.cast(), column);
                }
            }
        }
    }
}

/// Columns of a block of sixteen by sixteen numbers.
#[inline(always)]
#[expect(unsafe_code, reason = "instructions that the caller has")]
fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    // SAFETY: inlined only where AVX-512 F is enabled.
    unsafe {
        let mut twos = rows;
        for pair in 0..8 {
            let (a, b) = (rows[2 * pair], rows[2 * pair + 1]);
            (twos[2 * pair], twos[2 * pair + 1]) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        }
        // Each 128-bit quarter of `fours[4·i + j]` has column 4·quarter + j of rows 4·i to 4·i + 3.
        let mut fours = twos;
        for four in 0..4 {
            let [a, b, c, d] = [twos[4 * four], twos[4 * four + 1], twos[4 * four + 2], twos[4 * four + 3]];
            fours[4 * four] = _mm512_unpacklo_epi64(a, c);
            fours[4 * four + 1] = _mm512_unpackhi_epi64(a, c);
            fours[4 * four + 2] = _mm512_unpacklo_epi64(b, d);
            fours[4 * four + 3] = _mm512_unpackhi_epi64(b, d);
        }
        let mut columns = fours;
        for j in 0..4 {
            let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
            let (even_low, odd_low) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
            let (even_high, odd_high) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
            columns[j] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
            columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
            columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
            columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
        }
        columns
    }
}

/// Puts the values of two tokens beside each other; a last one without a partner gets zeros.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn pair_values(operands: Operands) {
    let vectors = operands.width / LANES;
    // Places of 16-bit numbers in two rows of 32: 0, 32, 1, 33 and so on.
    let places =
        |first: u16| std::array::from_fn::<u16, 32, _>(|index| first + index as u16 / 2 + 32 * (index as u16 & 1));
    let (low, high) = (places(0), places(16));
    // SAFETY: only rows of tokens are read, in whole registers; `pairs` has the lines for each pair. Arrays of 32 numbers of
    // 16 bits have the bits of a register.
    unsafe {
        let (low, high) = (transmute::<[u16; 32], __m512i>(low), transmute::<[u16; 32], __m512i>(high));
        for pair in 0..operands.tokens.div_ceil(2) {
            for part in 0..vectors / 2 {
                let value = operands.values.add(2 * pair * operands.stride + part * size_of::<Line>());
                let first = _mm512_loadu_si512(value.cast());
                let second = if 2 * pair + 1 < operands.tokens {
                    _mm512_loadu_si512(value.add(operands.stride).cast())
                } else {
                    _mm512_setzero_si512()
                };
                let line = operands.pairs.add(pair * vectors + 2 * part);
                _mm512_store_si512(line.cast(), _mm512_permutex2var_epi16(first, low, second));
                _mm512_store_si512(line.add(1).cast(), _mm512_permutex2var_epi16(first, high, second));
            }
        }
    }
}

/// Some queries from their products with the keys to their rows of the result.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn tile<const BF16: bool, const ROWS: usize>(operands: Operands, first: usize) {
    let blocks = operands.tokens.div_ceil(LANES);
    // SAFETY: tiles of scores and values stay within the blocks and the width.
    unsafe {
        let mut maxima = [_mm512_set1_ps(f32::NEG_INFINITY); ROWS];
        for block in (0..blocks).step_by(VECTORS) {
            match blocks - block {
                1 => score::<BF16, ROWS, 1>(operands, first, block, &mut maxima),
                2 => score::<BF16, ROWS, 2>(operands, first, block, &mut maxima),
                3 => score::<BF16, ROWS, 3>(operands, first, block, &mut maxima),
                _ => score::<BF16, ROWS, VECTORS>(operands, first, block, &mut maxima),
            }
        }
        let mut inverses = [_mm512_setzero_ps(); ROWS];
        for row in 0..ROWS {
            inverses[row] = weigh::<BF16>(operands, row, maxima[row]);
        }
        let vectors = operands.width / LANES;
        for vector in (0..vectors).step_by(VECTORS) {
            match vectors - vector {
                1 => gather::<BF16, ROWS, 1>(operands, first, vector, &inverses),
                2 => gather::<BF16, ROWS, 2>(operands, first, vector, &inverses),
                3 => gather::<BF16, ROWS, 3>(operands, first, vector, &inverses),
                _ => gather::<BF16, ROWS, VECTORS>(operands, first, vector, &inverses),
            }
        }
    }
}

/// One step of a sum of products.
#[inline(always)]
#[expect(unsafe_code, reason = "instructions that the caller has")]
fn multiply<const BF16: bool>(sum: __m512, a: __m512, b: __m512) -> __m512 {
    // SAFETY: inlined only where AVX-512 F, and with brain floats BF16, is enabled; the vector types have the same bits.
    unsafe {
        if BF16 {
            let bits = |value: __m512| transmute::<__m512i, __m512bh>(_mm512_castps_si512(value));
            _mm512_dpbf16_ps(sum, bits(a), bits(b))
        } else {
            _mm512_fmadd_ps(a, b, sum)
        }
    }
}

/// Products of the queries with sixteen keys for each of `NV` blocks, and the greatest of each row so far. Keys behind the
/// last token give minus infinity.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn score<const BF16: bool, const ROWS: usize, const NV: usize>(
    operands: Operands,
    first: usize,
    block: usize,
    maxima: &mut [__m512; ROWS],
) {
    let blocks = operands.tokens.div_ceil(LANES);
    // SAFETY: the queries' rows and the blocks' lines are there; `scores` has a line for each row and block.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); NV]; ROWS];
        let queries = operands.queries.add(first * operands.stride);
        for step in 0..steps::<BF16>(operands.width) {
            let mut keys = [_mm512_setzero_ps(); NV];
            for (vector, keys) in keys.iter_mut().enumerate() {
                *keys = _mm512_load_ps(operands.turned.add(step * blocks + block + vector).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let bits = queries.add(row * operands.stride + step * 4).cast::<i32>().read_unaligned();
                let query = _mm512_castsi512_ps(_mm512_set1_epi32(bits));
                for (sum, &keys) in sums.iter_mut().zip(&keys) {
                    *sum = multiply::<BF16>(*sum, query, keys);
                }
            }
        }
        let behind = blocks * LANES - operands.tokens;
        if block + NV == blocks && behind > 0 {
            let mask = !(0xffff_u16 >> behind);
            for sums in &mut sums {
                sums[NV - 1] = _mm512_mask_mov_ps(sums[NV - 1], mask, _mm512_set1_ps(f32::NEG_INFINITY));
            }
        }
        for (row, (sums, maximum)) in sums.iter().zip(maxima).enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                *maximum = _mm512_max_ps(*maximum, sum);
                _mm512_store_ps(operands.scores.add(row * blocks + block + vector).cast(), sum);
            }
        }
    }
}

/// Turns a row of scores into weights and returns one over their sum.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn weigh<const BF16: bool>(operands: Operands, row: usize, maximum: __m512) -> __m512 {
    let blocks = operands.tokens.div_ceil(LANES);
    // SAFETY: `scores` and `weights` have a line, or half of one, for each row and block.
    unsafe {
        // Powers of two instead of e: the factor goes into the scale.
        let scale = _mm512_set1_ps(std::f32::consts::LOG2_E / (operands.width as f32).sqrt());
        let maximum = _mm512_set1_ps(_mm512_reduce_max_ps(maximum));
        let mut sum = _mm512_setzero_ps();
        let scores = operands.scores.add(row * blocks);
        let weights = operands.weights.add(row * blocks);
        for block in 0..blocks {
            let score = _mm512_load_ps(scores.add(block).cast());
            let weight = power_of_two::<BF16>(_mm512_mul_ps(_mm512_sub_ps(score, maximum), scale));
            sum = _mm512_add_ps(sum, weight);
            if BF16 {
                let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(weight));
                _mm256_storeu_si256(weights.cast::<__m256i>().add(block), rounded);
            } else {
                _mm512_store_ps(weights.add(block).cast(), weight);
            }
        }
        _mm512_set1_ps(1.0 / _mm512_reduce_add_ps(sum))
    }
}

/// 2^x for x ≤ 0, within 1e-7 of itself, or within 1e-4 where the result is rounded to a brain float. Polynomials with the
/// least relative error on [-1/2, 1/2].
#[inline(always)]
#[expect(unsafe_code, reason = "instructions that the caller has")]
fn power_of_two<const BF16: bool>(x: __m512) -> __m512 {
    const FINE: [f32; 6] = [0.001_339_993_1, 0.009_618_489, 0.055_503_288, 0.240_226_47, LN_2, 1.0];
    const COARSE: [f32; 3] = [0.242_611_13, 0.693_261, 0.999_928_07];
    // SAFETY: inlined only where AVX-512 F is enabled.
    unsafe {
        let x = _mm512_max_ps(x, _mm512_set1_ps(-200.0));
        let whole = _mm512_roundscale_ps::<0>(x);
        let part = _mm512_sub_ps(x, whole);
        let (highest, coefficients) =
            if BF16 { (0.055_171_67, COARSE.as_slice()) } else { (0.000_153_458_12, FINE.as_slice()) };
        let mut sum = _mm512_set1_ps(highest);
        for &coefficient in coefficients {
            sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(coefficient));
        }
        _mm512_scalef_ps(sum, whole)
    }
}

/// Sums of the values under the rows' weights, `NV` vectors of columns, written as rows of the result.
#[inline(always)]
#[expect(unsafe_code, reason = "raw pointers into checked slices; the caller promises their extent")]
unsafe fn gather<const BF16: bool, const ROWS: usize, const NV: usize>(
    operands: Operands,
    first: usize,
    vector: usize,
    inverses: &[__m512; ROWS],
) {
    let blocks = operands.tokens.div_ceil(LANES);
    let vectors = operands.width / LANES;
    // SAFETY: values or their pairs have the vectors for each step, weights a number for each step; the result's rows are
    // there.
    unsafe {
        let (values, stride, steps) = if BF16 {
            let pairs = operands.pairs.cast::<u8>().cast_const();
            (pairs, vectors * size_of::<Line>(), operands.tokens.div_ceil(2))
        } else {
            (operands.values, operands.stride, operands.tokens)
        };
        let values = values.add(vector * size_of::<Line>());
        // Rows of brain floats fill half of their lines.
        let row_bytes = blocks * size_of::<Line>();
        let weights = operands.weights.cast::<u8>();
        let mut sums = [[_mm512_setzero_ps(); NV]; ROWS];
        for step in 0..steps {
            let mut lines = [_mm512_setzero_ps(); NV];
            for (index, line) in lines.iter_mut().enumerate() {
                let value = values.add(step * stride + index * size_of::<Line>());
                *line = _mm512_castsi512_ps(_mm512_loadu_si512(value.cast()));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let bits = weights.add(row * row_bytes + step * 4).cast::<i32>().read_unaligned();
                let weight = _mm512_castsi512_ps(_mm512_set1_epi32(bits));
                for (sum, &line) in sums.iter_mut().zip(&lines) {
                    *sum = multiply::<BF16>(*sum, weight, line);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = operands.out.add((first + row) * operands.out_stride);
            for (index, &sum) in sums.iter().enumerate() {
                let sum = _mm512_mul_ps(sum, inverses[row]);
                if BF16 {
                    let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sum));
                    _mm256_storeu_si256(out.add((vector + index) * LANES * 2).cast(), rounded);
                } else {
                    _mm512_storeu_ps(out.add((vector + index) * LANES * 4).cast(), sum);
                }
            }
        }
    }
}
